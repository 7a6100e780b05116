package party

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// toxiproxyVersion builds in a quarter of a minute; its binary is called server.
const toxiproxyVersion = "v2.5.0"

// Toxiproxy is a running toxiproxy, which breaks TCP connections in the ways that networks do.
type Toxiproxy struct {
	api   string
	proc  *Process
	t     testing.TB
	lines int
}

// Toxics starts a toxiproxy, for the length of the test.
func Toxics(t testing.TB) *Toxiproxy {
	t.Helper()
	const module = "github.com/Shopify/toxiproxy/v2/cmd/server@" + toxiproxyVersion
	dir, err := installOnce("toxiproxy-"+toxiproxyVersion, func(dir string) error {
		cmd := exec.Command("go", "install", module)
		cmd.Env = append(os.Environ(), "GOBIN="+dir)
		return run(cmd)
	})
	if err != nil {
		unavailable(t, "toxiproxy", "go install "+module, err)
	}
	address := FreeAddress(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "server"), "-host", host, "-port", port)
	cmd.Env = append(os.Environ(), "LOG_LEVEL=warn")
	proc, err := Start(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	x := &Toxiproxy{api: "http://" + address, proc: proc, t: t}
	if err := proc.Poll(10*time.Second, func() error { return getJSON(x.api+"/proxies", &map[string]any{}) }); err != nil {
		t.Fatal(err)
	}
	return x
}

// Line is a way to a server, in order until something is done to it. Its methods are for the test's own goroutine.
type Line struct {
	// URL to use in place of the server's.
	URL string

	proxies *Toxiproxy
	name    string
	toxics  int
}

// Line makes a way to the server at the URL.
func (x *Toxiproxy) Line(server string) *Line {
	x.t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		x.t.Fatal(err)
	}
	x.lines++
	l := &Line{proxies: x, name: fmt.Sprint("line-", x.lines)}
	address := keptAddress(x.t)
	x.call(http.MethodPost, "/proxies", map[string]any{"name": l.name, "listen": address, "upstream": target.Host, "enabled": true})
	l.URL = "http://" + address
	return l
}

// Toxic is one of toxiproxy's; see its documentation for the types and their attributes.
type Toxic struct {
	Type       string
	Upstream   bool // it is the request that suffers; else the answer
	Attributes map[string]int
}

// Poison does something to the connections, those already open included.
func (l *Line) Poison(toxic Toxic) {
	l.proxies.t.Helper()
	l.toxics++
	stream := "downstream"
	if toxic.Upstream {
		stream = "upstream"
	}
	l.proxies.call(http.MethodPost, "/proxies/"+l.name+"/toxics", map[string]any{
		"name": l.toxic(l.toxics), "type": toxic.Type, "stream": stream, "toxicity": 1, "attributes": toxic.Attributes,
	})
}

// Cut ends every connection and has new ones refused.
func (l *Line) Cut() {
	l.proxies.t.Helper()
	l.enable(false)
}

// Heal puts the line in order.
func (l *Line) Heal() {
	l.proxies.t.Helper()
	for ; l.toxics > 0; l.toxics-- {
		l.proxies.call(http.MethodDelete, "/proxies/"+l.name+"/toxics/"+l.toxic(l.toxics), nil)
	}
	l.enable(true)
}

func (l *Line) enable(enabled bool) {
	l.proxies.t.Helper()
	l.proxies.call(http.MethodPost, "/proxies/"+l.name, map[string]any{"enabled": enabled})
}

func (l *Line) toxic(n int) string { return l.name + "-toxic-" + strconv.Itoa(n) }

// call makes a request of toxiproxy's API, which has to be granted.
func (x *Toxiproxy) call(method, path string, body any) {
	x.t.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		x.t.Fatal(err)
	}
	req, err := http.NewRequest(method, x.api+path, bytes.NewReader(content))
	if err != nil {
		x.t.Fatal(err)
	}
	req.Close = true // toxiproxy ends idle connections after 10 s, which a request may just be in the way of
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		x.t.Fatalf("%v\n%s", err, x.proc.Log())
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode/100 != 2 {
		x.t.Fatalf("toxiproxy: %s %s: %s: %s", method, path, resp.Status, answer)
	}
}

// keptAddress is a free loopback address that the kernel gives to nobody who asks for any port: a line that is cut gives its port up
// for a while and wants it back.
func keptAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000)))
		if err != nil {
			continue
		}
		defer listener.Close()
		return listener.Addr().String()
	}
	t.Fatal("no free port from 10000 to 29999")
	return ""
}
