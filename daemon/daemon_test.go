package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"freshet.dev/broker"
	"freshet.dev/config"
	"freshet.dev/freshet"
)

const door = "0123456789abcdef0123456789abcdef"

// load reads a configuration whose socket is in a short folder of the test's own.
func load(t *testing.T, text string) *config.File {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("DOOR", door)
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("tok"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("c.yaml", []byte("version: 1\n"+strings.ReplaceAll(text, "DIR", dir)), Kinds())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start runs a configuration until the test ends.
func start(t *testing.T, cfg *config.File) *Daemon {
	t.Helper()
	d, err := Start(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Serve(ctx, func() {}) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(3 * drain):
			t.Error("Serve does not end")
		}
	})
	return d
}

// freePort is a port that nobody listens at. It is none of those that the system gives to whoever asks for any, as to every
// outgoing connection: a test that gives it up for a moment would not have it back.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

const twoIdentities = `
identities:
  api: {source: file, path: DIR/token, lifetime: 1h}
  keys: {source: process, command: [echo, '{"Version":1,"AccessKeyId":"AKID","SecretAccessKey":"s"}']}
`

// TestEndpointsShareAnAddress spells one address in two ways: both dialects are served there.
func TestEndpointsShareAnAddress(t *testing.T) {
	port := freePort(t)
	cfg := load(t, twoIdentities+fmt.Sprintf(`
endpoints:
  - {endpoint: oauth-token, listen: '127.0.0.1:%[1]s', identity: api, secret: {env: DOOR}}
  - {endpoint: aws-container, listen: 'localhost:%[1]s', identity: keys, secret: {env: DOOR}}
`, port))
	d := start(t, cfg)
	if want := "oauth-token, aws-container at 127.0.0.1:" + port; !strings.Contains(d.String(), want) {
		t.Errorf("got %q, want %q in it", d, want)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"api"}, "client_secret": {door}}
	resp, err := http.PostForm("http://localhost:"+port+"/token", form)
	if got := read(t, resp, err); !strings.Contains(got, `"access_token":"tok"`) {
		t.Errorf("oauth-token: got %s", got)
	}
	req, err := http.NewRequest("GET", "http://127.0.0.1:"+port+"/creds", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", door)
	resp, err = http.DefaultClient.Do(req)
	if got := read(t, resp, err); !strings.Contains(got, `"AccessKeyId":"AKID"`) {
		t.Errorf("aws-container: got %s", got)
	}
}

func read(t *testing.T, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Status + " " + string(b)
}

// TestMetricsOnLoopbackAreNotForPages scrapes as Prometheus does, and as a page does whose host's name means this machine.
func TestMetricsOnLoopbackAreNotForPages(t *testing.T) {
	d := start(t, load(t, twoIdentities+"metrics: {listen: 127.0.0.1:0}\n"))
	at := "http://" + d.metrics.listener.Addr().String()
	for _, test := range []struct{ path, host, origin, want string }{
		{"/metrics", "", "", "200 OK"},
		{"/metrics", "evil.example", "", "403 Forbidden"},
		{"/metrics", "", "http://evil.example", "403 Forbidden"},
		{"/", "", "", "404 Not Found"},
		{"/v1/status", "", "", "404 Not Found"},
	} {
		req, err := http.NewRequest("GET", at+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.host != "" {
			req.Host = test.host
		}
		if test.origin != "" {
			req.Header.Set("Origin", test.origin)
		}
		resp, err := http.DefaultClient.Do(req)
		got := read(t, resp, err)
		if !strings.HasPrefix(got, test.want) || strings.Contains(got, "freshet_build_info") != (test.want == "200 OK") {
			t.Errorf("%+v: got %.200s", test, got)
		}
	}
}

// TestFailedStartLeavesNothing fails at each step of a start: socket, port and audit are free again.
func TestFailedStartLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free := freePort(t)
	for name, text := range map[string]string{
		"endpoint's port": "endpoints:\n  - {endpoint: oauth-token, listen: '127.0.0.1:" + free + "', identity: api, secret: {env: DOOR}}\n" +
			"  - {endpoint: aws-container, listen: '" + taken.Addr().String() + "', identity: keys, secret: {env: DOOR}}\n",
		"metrics' port":     "metrics: {listen: '" + taken.Addr().String() + "'}\n",
		"endpoint's secret": "endpoints:\n  - {endpoint: oauth-token, listen: '127.0.0.1:" + free + "', identity: api, secret: {command: ['false']}}\n",
		"short secret":      "endpoints:\n  - {endpoint: oauth-token, listen: '127.0.0.1:" + free + "', identity: api, secret: {command: [echo, short]}}\n",
		"audit":             "audit: {file: DIR/no/such/folder}\n",
		"socket's folder":   "socket: {path: DIR/no/such/folder}\n",
		"socket's group":    "socket: {group: no-such-group}\n",
	} {
		t.Run(name, func(t *testing.T) {
			cfg := load(t, twoIdentities+text)
			d, err := Start(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
			if err == nil || d != nil {
				t.Fatalf("got %v, %v, want an error alone", d, err)
			}
			if _, err := os.Stat(SocketPath(cfg)); err == nil {
				t.Error("the socket is left")
			}
			l, err := net.Listen("tcp", "127.0.0.1:"+free)
			if err != nil {
				t.Errorf("the first endpoint's port is still taken: %v", err)
			} else {
				l.Close()
			}
			// The same socket can be taken at once.
			start(t, load(t, twoIdentities))
		})
	}
}

// TestServeEndsWhenAServerStops closes a listener under a running daemon: it ends, and says so.
func TestServeEndsWhenAServerStops(t *testing.T) {
	d, err := Start(t.Context(), load(t, twoIdentities+"metrics: {listen: 127.0.0.1:0}\n"), "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d.metrics.listener.Close()
	if err := d.Serve(t.Context(), func() {}); err == nil || freshet.AsError(err).Kind != freshet.Unavailable {
		t.Errorf("got %v, want an error of kind unavailable", err)
	}
}

// TestCheckSaysWhatServingWould compares what check finds with what a start does.
func TestCheckSaysWhatServingWould(t *testing.T) {
	for text, want := range map[string]string{
		"endpoints:\n  - {endpoint: aws-container, listen: 127.0.0.1:0, identities: [api, keys], secret: {env: DOOR}}\n": "c.yaml:7:52: endpoints[0].identities: this dialect serves one identity",
		"endpoints:\n  - {endpoint: aws-container, listen: 127.0.0.1:0, identity: keys, secret: {env: SHORT}}\n":         "c.yaml:7:68: endpoints[0].secret: shorter than 32 bytes",
		"socket: {group: no-such-group}\n": "socket.group: group: unknown group no-such-group",
		"metrics: {listen: 127.0.0.1:0}\n": "",
	} {
		cfg := load(t, twoIdentities+text)
		t.Setenv("SHORT", "short")
		for what, err := range map[string]error{"Check": Check(t.Context(), cfg), "Start": startAndEnd(t, cfg)} {
			if got := fmt.Sprint(err); got != want && (err != nil || want != "") {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
		}
	}
}

func startAndEnd(t *testing.T, cfg *config.File) error {
	d, err := Start(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	return d.Serve(ended, func() {})
}

func TestCheckRunsNothing(t *testing.T) {
	cfg := load(t, `
identities:
  helper: {source: process, command: [touch, DIR/ran]}
  api: {source: oauth2, token_url: 'http://127.0.0.1:9/token', client_id: a, client_secret: {command: [touch, DIR/ran]}}
endpoints:
  - {endpoint: oauth-token, listen: 127.0.0.1:0, identity: api, secret: {command: [touch, DIR/ran]}}
audit: {file: DIR/ran}
`)
	if err := Check(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(cfg.Audit.File); err == nil {
		t.Error("something ran")
	}
}

// TestBrokerTakesTheWholeIdentity checks that what a configuration says of an identity reaches the broker.
func TestBrokerTakesTheWholeIdentity(t *testing.T) {
	cfg := load(t, `
identities:
  input: {source: file, path: DIR/token, release: false}
  role:
    source: aws-web-identity
    from: input
    role_arn: arn:aws:iam::123456789012:role/a
    region: us-east-1
  api:
    source: oauth2
    token_url: http://127.0.0.1:9/token
    client_id: a
    client_secret: {env: DOOR}
    scopes: [b, a]
    audience: default
    audiences: [default, other]
    allow: {uids: [7], groups: ['8']}
    refresh: {at: 40%, timeout: 5s}
    limit: {concurrency: 3, rate: 90/m}
`)
	var got []broker.Identity
	for i := range cfg.Identities {
		id, err := identity(&cfg.Identities[i], nil)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, id)
	}
	input, role, api := got[0], got[1], got[2]
	if !input.Policy.Withheld || role.Policy.Withheld || role.From != "input" || role.Kind != "aws-web-identity" {
		t.Errorf("got %+v from %q, %+v", input.Policy, role.From, role.Policy)
	}
	if api.RefreshAt != 0.4 || api.Timeout != 5*time.Second || api.Concurrency != 3 || api.Rate != 1.5 || api.Pin || api.Version == "" || api.Source == nil {
		t.Errorf("got refresh at %v within %v, %d at a time", api.RefreshAt, api.Timeout, api.Concurrency)
	}
	if got, want := fmt.Sprint(api.Defaults, api.Policy), "request scopes=[b a] audience=default {[7] [8] false [] [b a] [default other]}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUnknownGroupOfAnIdentity(t *testing.T) {
	cfg := load(t, "identities:\n  api: {source: file, path: DIR/token, allow: {groups: [no-such-group]}}\n")
	_, err := Broker(cfg, Options{})
	if err == nil || !strings.HasPrefix(err.Error(), "c.yaml:3:") || !strings.Contains(err.Error(), "identities.api.allow.groups") {
		t.Errorf("got %v, want an error with its place", err)
	}
}

func TestWarnings(t *testing.T) {
	cfg := load(t, twoIdentities+"endpoints:\n  - {endpoint: aws-container, listen: 127.0.0.1:9, identity: api, secret: {env: DOOR}}\n"+
		"mcp:\n  - {name: tools, listen: 127.0.0.1:10, secret: {env: DOOR}, upstreams: [{url: 'https://a.example', identity: api, signer: sigv4, service: x, region: us-east-1}]}\n")
	got := strings.Join(Warnings(cfg), "\n")
	for _, want := range []string{
		"c.yaml:5:3: identities.keys: ",
		"c.yaml:7:5: endpoint aws-container: identity api yields bearer credentials, and this dialect carries aws alone",
		"c.yaml:7:5: endpoint aws-container: while the daemon is down, any program on this machine can listen at 127.0.0.1:9 ",
		"c.yaml:9:5: mcp tools: identity api yields bearer credentials, and sigv4 does not sign with such",
		"c.yaml:9:5: mcp tools: while the daemon is down, any program on this machine can listen at 127.0.0.1:10 ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}
