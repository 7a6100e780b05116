package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"freshet.dev/broker"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
	"freshet.dev/proxy"
)

const adHocIdentities = `identities:
  api: {source: file, path: DIR/token, allow: {uids: [UID, 4242]}}
  keys: {source: lab, type: aws}
  kept: {source: file, path: DIR/token, release: false}
  keptkeys: {source: lab, type: aws, release: false}
  tenants: {source: lab, type: bearer, tenant: home, tenants: [home, other]}
`

// newProxies opens routes for identities of several kinds.
func newProxies(t *testing.T) (p *Proxies, self broker.Caller, cfg *config.File) {
	t.Helper()
	uid := uint32(os.Getuid())
	cfg = load(t, strings.ReplaceAll(adHocIdentities, "UID", fmt.Sprint(uid)))
	b, err := Broker(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &Proxies{Broker: b}, broker.Caller{Door: "socket", Peer: true, UID: uid}, cfg
}

func TestRouteOfACallersOwn(t *testing.T) {
	up := newUpstream(t)
	p, self, _ := newProxies(t)
	events := make(chan proxy.Event, 10)
	p.Observe = func(e proxy.Event) { events <- e }
	o, err := p.Open(t.Context(), self, wire.Proxy{Upstream: up.URL + "/base", Identity: "api", Paths: []string{"/x"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := o.Opened
	if !strings.HasPrefix(at.URL, "http://127.0.0.1:") || len(at.Secret) < 43 || at.Signer != "bearer" || at.Type != freshet.Bearer {
		t.Errorf("opened %+v", at)
	}
	c := caller(t, "")
	for _, test := range []struct{ path, secret, want string }{
		{"/x", at.Secret, "200 /base/x Bearer tok"}, {"/y", at.Secret, "403"}, {"/x", "", "401"}, {"/x", door, "401"},
	} {
		if got := send(t, c, at.URL+test.path, test.secret); got != test.want && (len(test.want) > 3 || status(got) != test.want) {
			t.Errorf("%s: got %s, want %s", test.path, got, test.want)
		}
		if e := <-events; e.Route != "ad-hoc" || fmt.Sprint(e.Status) != test.want[:3] {
			t.Errorf("%s: got event %+v", test.path, e)
		}
	}
	o.Close()
	if got := send(t, c, at.URL+"/x", at.Secret); got != "nobody" || len(p.open) != 0 {
		t.Errorf("once closed: %s, and counts %v", got, p.open)
	}
}

func TestRoutesSignWithWhatTheIdentityConsistsOf(t *testing.T) {
	up := newUpstream(t)
	p, self, _ := newProxies(t)
	s3 := json.RawMessage(`{"service":"s3","region":"us-east-1"}`)
	for _, test := range []struct {
		spec   wire.Proxy
		signer string
		sent   string // to the upstream
	}{
		{wire.Proxy{Identity: "api"}, "bearer", "Bearer tok"},
		{wire.Proxy{Identity: "api", Signer: "bearer", Settings: json.RawMessage(`{"header":"api-key"}`)}, "bearer", ""},
		{wire.Proxy{Identity: "keys", Settings: s3}, "sigv4", "AWS4-HMAC-SHA256 Credential="},
		{wire.Proxy{Identity: "keptkeys", Settings: s3, Signer: "sigv4"}, "sigv4", "AWS4-HMAC-SHA256 Credential="},
		{wire.Proxy{Identity: "tenants", Tenant: "other"}, "bearer", "Bearer ey"},
		{wire.Proxy{Identity: "api", Secret: strings.Repeat("s", 32)}, "bearer", "Bearer tok"},
	} {
		test.spec.Upstream = up.URL
		o, err := p.Open(t.Context(), self, test.spec, 0)
		if err != nil {
			t.Errorf("%+v: %v", test.spec, err)
			continue
		}
		secret := o.Opened.Secret
		if (secret == "") != (test.spec.Secret != "") || o.Opened.Signer != test.signer {
			t.Errorf("%+v: opened %+v", test.spec, o.Opened)
		}
		if secret == "" {
			secret = test.spec.Secret
		}
		if got := send(t, caller(t, ""), o.Opened.URL+"/x", secret); !strings.HasPrefix(got, "200 /x "+test.sent) || test.sent == "" && got != "200 /x " {
			t.Errorf("%+v: got %s", test.spec, got)
		}
		o.Close()
	}
}

func TestRoutesThatAreNotOpened(t *testing.T) {
	p, self, _ := newProxies(t)
	stranger := broker.Caller{Door: "socket", Peer: true, UID: 4242}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	bad := filepath.Join(dir, "bad.pem")
	if err := os.WriteFile(bad, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		caller broker.Caller
		spec   wire.Proxy
		kind   freshet.Kind
		why    string
	}{
		{self, wire.Proxy{Upstream: "http://a.example"}, freshet.Invalid, "upstream: http to another host"},
		{self, wire.Proxy{Upstream: "https://a.example?x"}, freshet.Invalid, "upstream: a URL with a query"},
		{self, wire.Proxy{Upstream: "https://u:p@a.example"}, freshet.Invalid, "upstream: a URL with a name or password"},
		{self, wire.Proxy{Identity: "typo"}, freshet.Invalid, "unknown identity"},
		{self, wire.Proxy{Signer: "sigv3"}, freshet.Invalid, "signer: unknown signer"},
		{self, wire.Proxy{Signer: "sigv4"}, freshet.Invalid, "signer: sigv4 does not sign with bearer credentials"},
		{self, wire.Proxy{Settings: json.RawMessage(`{"service":"s3"}`)}, freshet.Invalid, "settings: not those of the signer bearer"},
		{self, wire.Proxy{Settings: json.RawMessage(`[]`)}, freshet.Invalid, "settings: not those of the signer bearer"},
		{self, wire.Proxy{Settings: json.RawMessage(`{"header":"a b"}`)}, freshet.Invalid, "header: "},
		{self, wire.Proxy{Identity: "keys"}, freshet.Invalid, "service: "},
		{self, wire.Proxy{Secret: "short"}, freshet.Invalid, "secret: shorter than 32 bytes"},
		{self, wire.Proxy{Listen: "0.0.0.0:0"}, freshet.Invalid, "listen: other machines can reach"},
		{self, wire.Proxy{Listen: "nowhere"}, freshet.Invalid, "listen: not an address and port"},
		{self, wire.Proxy{Listen: taken.Addr().String()}, freshet.Invalid, "listen: cannot listen at"},
		{self, wire.Proxy{Listen: "unix:relative"}, freshet.Invalid, "listen: not an absolute path"},
		{self, wire.Proxy{Methods: []string{"get"}}, freshet.Invalid, "methods[0]: "},
		{self, wire.Proxy{Paths: []string{"/a", "b"}}, freshet.Invalid, "paths[1]: "},
		{self, wire.Proxy{CAFile: bad}, freshet.Invalid, "ca_file: no PEM certificate in it"},
		{self, wire.Proxy{CAFile: "bad.pem"}, freshet.Invalid, "ca_file: not an absolute path"},
		{self, wire.Proxy{Scopes: []string{""}}, freshet.Invalid, "scopes: "},
		{self, wire.Proxy{Identity: "tenants", Tenant: "third"}, freshet.Denied, "tenant"},
		{self, wire.Proxy{Identity: "kept"}, freshet.Denied, "release: false"},
		{self, wire.Proxy{Identity: "keptkeys", Settings: json.RawMessage(`{"service":"sts","region":"eu-north-1"}`)}, freshet.Denied, "release: false"},
		{self, wire.Proxy{Identity: "kept", Signer: "bearer"}, freshet.Denied, "release: false"},
		{stranger, wire.Proxy{Identity: "keys"}, freshet.Denied, "policy does not let uid 4242"},
		{broker.Caller{Door: "socket", UID: self.UID}, wire.Proxy{}, freshet.Denied, "policy does not let"},
		{stranger, wire.Proxy{Listen: "unix:" + dir + "/s"}, freshet.Denied, "listen: only the daemon's own user"},
		{stranger, wire.Proxy{Listen: "127.0.0.1:80"}, freshet.Denied, "listen: only the daemon's own user"},
		{stranger, wire.Proxy{CAFile: bad}, freshet.Denied, "ca_file: only the daemon's own user"},
	} {
		if test.spec.Upstream == "" {
			test.spec.Upstream = "https://a.example"
		}
		if test.spec.Identity == "" {
			test.spec.Identity = "api"
		}
		o, err := p.Open(t.Context(), test.caller, test.spec, 0)
		if err == nil {
			o.Close()
			t.Errorf("%+v: opened", test.spec)
			continue
		}
		if e := freshet.AsError(err); e.Kind != test.kind || !strings.Contains(e.Error(), test.why) {
			t.Errorf("%+v: got %v, want %s (%s)", test.spec, err, test.why, test.kind)
		}
		if test.spec.Identity == "kept" && !strings.Contains(freshet.AsError(err).Hint, "proxies:") {
			t.Errorf("hint %q", freshet.AsError(err).Hint)
		}
		if _, err := os.Lstat(filepath.Join(dir, "s")); err == nil {
			t.Error("a socket is there")
		}
	}
	if len(p.open) != 0 {
		t.Errorf("counts %v", p.open)
	}
}

// TestUnixRouteIsForItsOpener opens one at a path: its opener needs no secret, and nobody else gets in with one.
func TestUnixRouteIsForItsOpener(t *testing.T) {
	up := newUpstream(t)
	p, self, _ := newProxies(t)
	path := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "route")
	for _, secret := range []string{"", door} {
		o, err := p.Open(t.Context(), self, wire.Proxy{Upstream: up.URL, Identity: "api", Listen: "unix:" + path, Secret: secret}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if o.Opened.URL != "unix:"+path || o.Opened.Secret != "" {
			t.Errorf("opened %+v", o.Opened)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("got %v, %v", info, err)
		}
		if got := send(t, caller(t, path), "http://localhost/x", secret); got != "200 /x Bearer tok" {
			t.Errorf("got %s", got)
		}
		if got := send(t, caller(t, path), "http://localhost/x", "wrong"); secret != "" && status(got) != "401" {
			t.Errorf("with a wrong secret: got %s", got)
		}
		o.Close()
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket is left")
		}
	}
}

func TestRoutesOfOneUserAreBounded(t *testing.T) {
	p, self, _ := newProxies(t)
	spec := wire.Proxy{Upstream: "https://a.example", Identity: "api"}
	var closers []func()
	for range maxRoutes {
		o, err := p.Open(t.Context(), self, spec, 0)
		if err != nil {
			t.Fatal(err)
		}
		closers = append(closers, o.Close)
	}
	if _, err := p.Open(t.Context(), self, spec, 0); !errors.Is(err, freshet.Unavailable) {
		t.Errorf("one more: got %v, want it refused", err)
	}
	o, err := p.Open(t.Context(), broker.Caller{Door: "socket", Peer: true, UID: 4242}, spec, 0)
	if err != nil {
		t.Fatalf("another user: %v", err)
	}
	o.Close()
	closers[0]()
	if o, err = p.Open(t.Context(), self, spec, 0); err != nil {
		t.Errorf("after one has ended: %v", err)
	} else {
		o.Close()
	}
	for _, c := range closers[1:] {
		c()
	}
	if len(p.open) != 0 {
		t.Errorf("counts %v", p.open)
	}
}

// TestRouteEndsWithWhatIsUnderWay closes a route while a stream and an upgraded connection are open: both end, and nothing is left
// running.
func TestRouteEndsWithWhatIsUnderWay(t *testing.T) {
	up := newUpstream(t)
	p, self, _ := newProxies(t)
	before := runtime.NumGoroutine()
	o, err := p.Open(t.Context(), self, wire.Proxy{Upstream: up.URL, Identity: "api", Secret: door}, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := caller(t, "")
	rest := stream(t, c, o.Opened.URL+"/stream", door)
	_, r := upgrade(t, o.Opened.URL[strings.LastIndexByte(o.Opened.URL, ':')+1:])
	o.Close()
	if got := rest(); got != "cut" {
		t.Errorf("the stream ended with %q", got)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the upgraded connection is open")
	}
	c.CloseIdleConnections()
	left := func() int { return runtime.NumGoroutine() - before }
	for deadline := time.Now().Add(20 * time.Second); left() > 0 && time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
	}
	if left() > 0 {
		stacks := make([]byte, 1<<16)
		t.Errorf("%d goroutines are left:\n%s", left(), stacks[:runtime.Stack(stacks, true)])
	}
}

// TestRouteFollowsThePolicy takes the right to an identity away from who opened a route, then withholds the identity.
func TestRouteFollowsThePolicy(t *testing.T) {
	up := newUpstream(t)
	p, self, cfg := newProxies(t)
	opener := broker.Caller{Door: "socket", Peer: true, UID: 4242}
	o, err := p.Open(t.Context(), opener, wire.Proxy{Upstream: up.URL, Identity: "api"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	own, err := p.Open(t.Context(), self, wire.Proxy{Upstream: up.URL, Identity: "keys", Settings: json.RawMessage(`{"service":"s3","region":"us-east-1"}`)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	change := func(name string, f func(*broker.Policy)) {
		t.Helper()
		ids, err := identities(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range ids {
			if ids[i].Name == name {
				f(&ids[i].Policy)
			}
		}
		if _, err := p.Broker.Reconfigure(ids); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(at wire.ProxyOpened) string { return status(send(t, caller(t, ""), at.URL+"/x", at.Secret)) }
	for _, step := range []struct {
		what     string
		identity string
		change   func(*broker.Policy)
		api      string
	}{
		{"at first", "", nil, "200"},
		{"the opener may not use it any more", "api", func(p *broker.Policy) { p.UIDs = []uint32{self.UID} }, "403"},
		{"the opener may again", "", nil, "200"},
		{"it is never handed out", "api", func(p *broker.Policy) { p.Withheld = true }, "403"},
		{"what signs alone is never handed out", "keys", func(p *broker.Policy) { p.Withheld = true }, "200"},
	} {
		change(step.identity, step.change)
		if got := ask(o.Opened); got != step.api {
			t.Errorf("%s: got %s, want %s", step.what, got, step.api)
		}
		if got := ask(own.Opened); got != "200" {
			t.Errorf("%s: another route got %s", step.what, got)
		}
	}
}

// TestDaemonOpensRoutes asks a daemon for one over its socket, and ends with it.
func TestDaemonOpensRoutes(t *testing.T) {
	up := newUpstream(t)
	w := startLive(t, fileIdentity+"audit: {file: DIR/audit}\n")
	socket := caller(t, w.daemon.path)
	body, err := json.Marshal(wire.Proxy{Upstream: up.URL, Identity: "api"})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := socket.Post("http://freshet/v1/proxies", "application/json", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var o wire.ProxyOpened
	if err := json.NewDecoder(resp.Body).Decode(&o); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	if got := send(t, caller(t, ""), o.URL+"/x", o.Secret); got != "200 /x Bearer one" {
		t.Errorf("got %s", got)
	}
	w.stop()
	if got := send(t, caller(t, ""), o.URL+"/x", o.Secret); got != "nobody" {
		t.Errorf("once the daemon has ended: %s", got)
	}
	told := make(map[string]bool)
	for _, r := range records(t, filepath.Join(w.dir, "audit")) {
		told[fmt.Sprint(r["event"], " ", r["caller"])] = true
	}
	// Whoever chose the upstream can have the token: it is a hand-out.
	for _, want := range []string{"hand_out route:1", "request route:1:secret"} {
		if !told[want] {
			t.Errorf("the record lacks %q, and has %v", want, told)
		}
	}
}
