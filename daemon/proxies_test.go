package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"freshet.dev/broker"
	"freshet.dev/config"
)

// upstream is a service that says what it was sent, counts its connections, and holds a stream open.
type upstream struct {
	*httptest.Server
	connections atomic.Int64 // that are open
	opened      atomic.Int64
	hold        chan struct{} // ends the streams
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{hold: make(chan struct{})}
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Upgrade") != "":
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(c, rw)
		case strings.HasSuffix(r.URL.Path, "/stream"):
			fmt.Fprint(w, "begin ")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-u.hold:
			case <-r.Context().Done():
			}
			fmt.Fprint(w, "end")
		default:
			fmt.Fprintf(w, "%s %s", r.URL.Path, r.Header.Get("Authorization"))
		}
	}))
	u.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			u.opened.Add(1)
			u.connections.Add(1)
		case http.StateClosed, http.StateHijacked:
			u.connections.Add(-1)
		}
	}
	u.Start()
	t.Cleanup(u.Close)
	return u
}

// caller is a client that keeps its connections; a unix address is its path.
func caller(t *testing.T, unix string) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	if unix != "" {
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", unix)
		}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// send asks with a secret, and gives status and body; "nobody" where there is no answer.
func send(t *testing.T, c *http.Client, url, secret string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	resp, err := c.Do(req)
	if err != nil {
		return "nobody"
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return "cut"
	}
	return fmt.Sprint(resp.StatusCode, " ", string(b))
}

func status(answer string) string { return strings.Fields(answer)[0] }

// stream begins a request that the upstream holds, and returns what comes after its beginning.
func stream(t *testing.T, c *http.Client, url, secret string) (rest func() string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, len("begin "))); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return func() string {
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return "cut"
		}
		return string(b)
	}
}

// open is how many routes are not closed.
func (w *live) open() string {
	w.daemon.routes.mu.Lock()
	defer w.daemon.routes.mu.Unlock()
	return fmt.Sprint(len(w.daemon.routes.all))
}

func TestProxiesSignRequests(t *testing.T) {
	up, port := newUpstream(t), freePort(t)
	w := startLive(t, fileIdentity+`proxies:
  - {signer: bearer, name: a, listen: 'localhost:`+port+`', upstream: '`+up.URL+`/base', identity: api, secret: {file: DIR/door}, path: /a}
  - {signer: bearer, name: b, listen: '127.0.0.1:`+port+`', upstream: '`+up.URL+`', identity: api, secret: {file: DIR/door}, paths: [/v1/*]}
  - {signer: bearer, name: c, listen: 'unix:DIR/p.sock', upstream: '`+up.URL+`', identity: api, header: api-key}
audit: {file: DIR/audit}
`)
	tcp, unix := caller(t, ""), caller(t, filepath.Join(w.dir, "p.sock"))
	base := "http://127.0.0.1:" + port
	for _, test := range []struct {
		client    *http.Client
		url, door string
		want      string
	}{
		{tcp, base + "/a/x", door, "200 /base/x Bearer one"},
		{tcp, base + "/v1/x", door, "200 /v1/x Bearer one"},
		{tcp, base + "/v2/x", door, "403"},
		{tcp, base + "/v1/x", strings.Repeat("w", 32), "401"},
		{tcp, base + "/a/x", "", "401"},
		{unix, "http://localhost/x", "", "200 /x "}, // in another header
	} {
		if got := send(t, test.client, test.url, test.door); got != test.want && (len(test.want) > 3 || status(got) != test.want) {
			t.Errorf("%s: got %s, want %s", test.url, got, test.want)
		}
	}
	if s := w.daemon.String(); !strings.Contains(s, "proxy a, proxy b at 127.0.0.1:"+port) || !strings.Contains(s, "proxy c at unix:"+w.dir+"/p.sock") {
		t.Errorf("the ready line is %s", s)
	}
	users := w.daemon.broker.Status(broker.Caller{Door: "socket", Peer: true, UID: uint32(os.Getuid())}).Identities[0].UsedBy
	if got := fmt.Sprint(users); got != "[proxy:a proxy:b proxy:c]" {
		t.Errorf("the identity is used by %s", got)
	}
	scrape := httptest.NewRecorder()
	w.daemon.figures.Handler().ServeHTTP(scrape, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`freshet_proxy_requests_total{code="200",route="a"} 1`, `freshet_proxy_requests_total{code="403",route="b"} 1`,
		`freshet_proxy_requests_total{code="401",route="b"} 1`, `freshet_proxy_requests_total{code="200",route="c"} 1`,
	} {
		if !strings.Contains(scrape.Body.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	w.stop()
	if _, err := os.Lstat(filepath.Join(w.dir, "p.sock")); err == nil {
		t.Error("the socket is left")
	}
	told := make(map[string]bool)
	for _, r := range records(t, filepath.Join(w.dir, "audit")) {
		told[fmt.Sprint(r["event"], " ", r["caller"], " ", r["outcome"])] = true
		if r["event"] == "hand_out" {
			t.Errorf("a hand-out is recorded: %v", r)
		}
	}
	for _, want := range []string{
		"sign proxy:a <nil>", "request proxy:a:secret ok", "request proxy:a refused", "request proxy:b:secret refused",
		fmt.Sprintf("request proxy:c:uid:%d ok", os.Getuid()),
	} {
		if !told[want] {
			t.Errorf("the record lacks %q, and has %v", want, told)
		}
	}
}

func records(t *testing.T, path string) (all []map[string]any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// proxyAt is a configuration of one proxy with a secret, and more keys of it.
func proxyAt(port string, up *upstream, more string) string {
	return fileIdentity + "proxies: [{signer: bearer, name: p, listen: '127.0.0.1:" + port + "', upstream: '" + up.URL + "', identity: api, secret: {file: DIR/door}" + more + "}]\n"
}

func TestReloadKeepsRoutesThatHaveNotChanged(t *testing.T) {
	up, port := newUpstream(t), freePort(t)
	w := startLive(t, proxyAt(port, up, ""))
	c, base := caller(t, ""), "http://127.0.0.1:"+port
	for _, step := range []struct {
		text        string
		connections int64
	}{
		{"", 1},
		{proxyAt(port, up, ""), 1},
		{"# another line\n" + proxyAt(port, up, ", retries: 1"), 1},                                          // its default
		{strings.Replace(proxyAt(port, up, ""), "lifetime: 10h", "lifetime: 10h, allow: {uids: [1]}", 1), 1}, // who may use it over the socket
		{proxyAt(port, up, ", retries: 2"), 2},
		{proxyAt(port, up, ", retries: 2"), 2},
	} {
		if step.text != "" {
			w.configure(step.text)
			w.mustReload()
		}
		if got := send(t, c, base+"/x", door); got != "200 /x Bearer one" {
			t.Fatalf("got %s", got)
		}
		if got := up.opened.Load(); got != step.connections {
			t.Errorf("after %q: %d connections were made, want %d", step.text, got, step.connections)
		}
	}
	w.becomes("connections of the route of before", "1", func() string { return fmt.Sprint(up.connections.Load()) })
	if got := w.open(); got != "1" {
		t.Errorf("%s routes are open, want 1", got)
	}
}

func TestStreamsGoOnWhileRoutesAreReplaced(t *testing.T) {
	up, port := newUpstream(t), freePort(t)
	w := startLive(t, proxyAt(port, up, ""))
	c, base := caller(t, ""), "http://127.0.0.1:"+port
	kept := stream(t, c, base+"/stream", door)
	w.configure(proxyAt(port, up, "") + "# the same\n")
	w.mustReload()
	rotated := strings.Repeat("r", 32)
	old := stream(t, c, base+"/stream", door)
	w.write("door", rotated)
	w.becomes("the new secret", "200", func() string { return status(send(t, c, base+"/x", rotated)) })
	if got := status(send(t, c, base+"/x", door)); got != "401" {
		t.Errorf("the old secret gets %s", got)
	}
	if got := w.open(); got != "2" {
		t.Errorf("%s routes are open, want the old one for its streams, and the new one", got)
	}
	close(up.hold)
	for _, rest := range []func() string{kept, old} {
		if got := rest(); got != "end" {
			t.Errorf("a stream under way ended with %q", got)
		}
	}
	w.becomes("open routes once the streams have ended", "1", w.open)
}

func TestProxiesAddressesComeAndGo(t *testing.T) {
	up, port := newUpstream(t), freePort(t)
	unix := fileIdentity + "proxies: [{signer: bearer, listen: 'unix:DIR/p.sock', upstream: '" + up.URL + "', identity: api%s}]\n"
	w := startLive(t, fileIdentity)
	path := filepath.Join(w.dir, "p.sock")
	mode := func() string {
		info, err := os.Lstat(path)
		if err != nil {
			return "none"
		}
		return fmt.Sprint(info.Mode().Perm())
	}
	for range 2 {
		w.configure(fmt.Sprintf(unix, ""))
		w.mustReload()
		if got := send(t, caller(t, path), "http://localhost/x", ""); got != "200 /x Bearer one" || mode() != "-rw-------" {
			t.Errorf("at the socket of mode %s: %s", mode(), got)
		}
		// Everybody may connect where others are let in; the kernel names who comes.
		w.configure(fmt.Sprintf(unix, ", allow: {uids: [4242]}"))
		w.mustReload()
		if got := send(t, caller(t, path), "http://localhost/x", ""); status(got) != "403" || mode() != "-rw-rw-rw-" {
			t.Errorf("at the socket of mode %s, which is for another user: %s", mode(), got)
		}
		w.configure(proxyAt(port, up, ""))
		w.mustReload()
		if got := send(t, caller(t, ""), "http://127.0.0.1:"+port+"/x", door); got != "200 /x Bearer one" || mode() != "none" {
			t.Errorf("at the port: %s; the socket: %s", got, mode())
		}
	}
	// A socket of a daemon that has died is taken.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	w.configure(fmt.Sprintf(unix, ""))
	if _, err := w.daemon.Reload(); err == nil || !strings.Contains(err.Error(), "c.yaml:3:") || !strings.Contains(err.Error(), "another program listens there") {
		t.Errorf("where another program listens: %v", err)
	}
	l.Close()
	w.mustReload()
	if got := send(t, caller(t, path), "http://localhost/x", ""); got != "200 /x Bearer one" {
		t.Errorf("in place of a stale socket: %s", got)
	}
}

// TestAddressThatIsServedInAnotherWay has one port be an endpoint's, a proxy's, and a proxy's with TLS: it is never free meanwhile,
// and what is under way goes on.
func TestAddressThatIsServedInAnotherWay(t *testing.T) {
	up, port := newUpstream(t), freePort(t)
	w := startLive(t, proxyAt(port, up, ""))
	ca := newAuthority(t)
	ca.issue(w, "server", "127.0.0.1")
	c, base := caller(t, ""), "127.0.0.1:"+port
	rest := stream(t, c, "http://"+base+"/stream", door)
	w.configure(proxyAt(port, up, ", tls: {cert_file: DIR/server.crt, key_file: DIR/server.key}"))
	w.mustReload()
	if got := send(t, ca.client(t, ""), "https://"+base+"/x", door); got != "200 /x Bearer one" {
		t.Errorf("with TLS: %s", got)
	}
	if got := status(send(t, c, "http://"+base+"/x", door)); got == "200" {
		t.Errorf("without TLS: %s", got)
	}
	w.configure(fileIdentity + "endpoints: [{endpoint: oauth-token, listen: 127.0.0.1:" + port + ", identity: api, secret: {file: DIR/door}}]\n")
	w.mustReload()
	resp, err := http.Post("http://"+base+"/token", "application/x-www-form-urlencoded", strings.NewReader("grant_type=client_credentials&client_id=api&client_secret="+door))
	if got := read(t, resp, err); !strings.Contains(got, `"access_token":"one"`) {
		t.Errorf("as an endpoint: %s", got)
	}
	w.configure(proxyAt(port, up, ""))
	w.mustReload()
	if got := send(t, caller(t, ""), "http://"+base+"/x", door); got != "200 /x Bearer one" {
		t.Errorf("as a proxy again: %s", got)
	}
	close(up.hold)
	if got := rest(); got != "end" {
		t.Errorf("the stream under way ended with %q", got)
	}
	w.becomes("open routes", "1", w.open)
}

// upgrade begins an echo over a connection that is no HTTP server's any more.
func upgrade(t *testing.T, port string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", door)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", resp, err)
	}
	return c, r
}

// TestNothingOutlastsTheDrain ends what has no end of its own: by a reload that takes its address away, and by a shutdown.
func TestNothingOutlastsTheDrain(t *testing.T) {
	up, port := newUpstream(t), freePort(t)
	w := startLive(t, proxyAt(port, up, ""))
	endsWhatIsUnderWay(t, w, port, "reload", func() { w.configure(fileIdentity); w.mustReload() })
	w.configure(proxyAt(port, up, ""))
	w.mustReload()
	endsWhatIsUnderWay(t, w, port, "shutdown", w.stop)
}

func endsWhatIsUnderWay(t *testing.T, w *live, port, name string, end func()) {
	t.Helper()
	c, r := upgrade(t, port)
	rest := stream(t, caller(t, ""), "http://127.0.0.1:"+port+"/stream", door)
	fmt.Fprintln(c, "echo")
	if got, err := r.ReadString('\n'); got != "echo\n" || err != nil {
		t.Fatalf("%s: got %q, %v", name, got, err)
	}
	end()
	if err := c.SetReadDeadline(time.Now().Add(4 * drain)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadByte(); err == nil || os.IsTimeout(err) {
		t.Errorf("%s: the upgraded connection: %v", name, err)
	}
	if got := rest(); got != "cut" {
		t.Errorf("%s: the stream ended with %q", name, got)
	}
	w.becomes(name+": open routes", "0", w.open)
}

func TestConfigurationOfProxiesIsAllOrNothing(t *testing.T) {
	up, port, other := newUpstream(t), freePort(t), freePort(t)
	w := startLive(t, proxyAt(port, up, ""))
	ca := newAuthority(t)
	ca.issue(w, "server", "127.0.0.1")
	ca.issue(w, "another", "127.0.0.1")
	w.write("no.pem", "nothing")
	entry := func(more string) string {
		return "identities: {other: {source: file, path: DIR/token}}\nproxies: [{signer: bearer, listen: '127.0.0.1:" + other + "', upstream: 'https://127.0.0.1:1', identity: other, secret: {file: DIR/door}" + more + "}]\n"
	}
	for text, want := range map[string]string{
		entry(", ca_file: DIR/none"):                                                                      "proxies[0].ca_file: cannot be read: no such file or directory",
		entry(", ca_file: DIR/no.pem"):                                                                    "proxies[0].ca_file: no PEM certificate in it",
		entry(", tls: {cert_file: DIR/server.crt, key_file: DIR/another.key}"):                            "proxies[0].tls.cert_file: no certificate with the key in key_file: tls: private key does not match public key",
		entry(", tls: {cert_file: DIR/server.crt, key_file: DIR/none}"):                                   "proxies[0].tls.key_file: cannot be read: no such file or directory",
		entry(", tls: {cert_file: DIR/no.pem, key_file: DIR/server.key}"):                                 "proxies[0].tls.cert_file: no certificate with the key in key_file: tls: failed to find any PEM data in certificate input",
		strings.Replace(entry(""), "DIR/door", "DIR/token", 1):                                            "proxies[0].secret: shorter than 32 bytes",
		strings.Replace(entry(""), "signer: bearer", "signer: sigv4", 1):                                  "proxies[0].",
		strings.Replace(entry(""), "127.0.0.1:"+other, up.Listener.Addr().String(), 1):                    "proxies[0].listen: cannot listen at " + up.Listener.Addr().String() + ": address already in use",
		entry(", tls: {cert_file: DIR/server.crt, key_file: DIR/server.key, client_ca_file: DIR/no.pem}"): "proxies[0].tls.client_ca_file: no PEM certificate in it",
	} {
		w.configure(text)
		_, err := w.daemon.Reload()
		if err == nil || !strings.HasPrefix(err.Error(), w.dir+"/c.yaml:3:") || !strings.Contains(err.Error(), want) {
			t.Errorf("reload: got %v, want %s with its place", err, want)
		}
		cfg, err := config.Load(filepath.Join(w.dir, "c.yaml"), Kinds())
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(t.Context(), cfg); (err == nil || !strings.Contains(err.Error(), want)) && !strings.Contains(want, "listen") {
			t.Errorf("check: got %v, want %s", err, want)
		}
		cfg.Socket.Path = filepath.Join(w.dir, "second.sock")
		if d, err := Start(t.Context(), cfg, "test", slog.New(slog.DiscardHandler)); d != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("start: got %v, want %s", err, want)
		}
		if got := send(t, caller(t, ""), "http://127.0.0.1:"+port+"/x", door); got != "200 /x Bearer one" {
			t.Errorf("meanwhile: %s", got)
		}
		if l, err := net.Listen("tcp", "127.0.0.1:"+other); err != nil {
			t.Errorf("the new address is taken: %v", err)
		} else {
			l.Close()
		}
	}
	w.becomes("open routes", "1", w.open)
}

func TestWithheldIdentitySignsInProxies(t *testing.T) {
	up, port := newUpstream(t), freePort(t)
	withheld := func(yes bool) string {
		return strings.Replace(proxyAt(port, up, ""), "lifetime: 10h", fmt.Sprintf("lifetime: 10h, release: %v", !yes), 1)
	}
	w := startLive(t, withheld(true))
	for _, yes := range []bool{true, false, true} {
		w.configure(withheld(yes))
		w.mustReload()
		if _, err := w.token("api"); (err != nil) != yes {
			t.Errorf("withheld %v: over the socket: %v", yes, err)
		}
		if got := send(t, caller(t, ""), "http://127.0.0.1:"+port+"/x", door); got != "200 /x Bearer one" {
			t.Errorf("withheld %v: got %s", yes, got)
		}
	}
}

func TestProxyWarnings(t *testing.T) {
	cfg := load(t, twoIdentities+`proxies:
  - {signer: sigv4, service: s3, region: us-east-1, name: p, listen: 127.0.0.1:9, upstream: 'https://a.example', identity: api, secret: {env: DOOR}}
  - {signer: bearer, name: q, listen: 'unix:DIR/q', upstream: 'https://a.example', identity: api, secret: {env: DOOR}}
  - {signer: bearer, name: r, listen: 127.0.0.1:10, upstream: 'https://a.example', identity: api, secret: {env: DOOR}, tls: {cert_file: /c, key_file: /k}}
`)
	var got []string
	for _, w := range Warnings(cfg) {
		if strings.Contains(w, " proxy ") {
			got = append(got, w)
		}
	}
	want := []string{
		"c.yaml:7:5: proxy p: identity api yields bearer credentials, and sigv4 does not sign with such",
		"c.yaml:7:5: proxy p: while the daemon is down, any program on this machine can listen at 127.0.0.1:9 and be sent the proxy's secret",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
