package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/broker"
	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
	"freshet.dev/mcp/tools"
	"freshet.dev/proxy"
)

// web is an MCP client over HTTP, which shows a secret.
func web(t *testing.T, url, unix, secret string) (*sdk.ClientSession, error) {
	t.Helper()
	c := caller(t, unix)
	c.Transport.(*http.Transport).DisableKeepAlives = true // net/http's server waits five seconds for one that was dialled to spare
	c.Transport = showing{c.Transport, secret}
	s, err := sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "1"}, nil).Connect(t.Context(), &sdk.StreamableClientTransport{
		Endpoint: url, HTTPClient: c, MaxRetries: -1,
	}, nil)
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

type showing struct {
	http.RoundTripper
	secret string
}

func (s showing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if s.secret != "" {
		r.Header.Set("Authorization", "Bearer "+s.secret)
	}
	return s.RoundTripper.RoundTrip(r)
}

func mustWeb(t *testing.T, url, unix, secret string) *sdk.ClientSession {
	t.Helper()
	s, err := web(t, url, unix, secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ourselves is the caller that this test's process is at the daemon's socket.
func ourselves() broker.Caller {
	return broker.Caller{Door: "socket", Peer: true, UID: uint32(os.Getuid()), PID: os.Getpid()}
}

func TestGatewayServesAgentsWithItsOwnIdentity(t *testing.T) {
	up, port := newToolServer(t), freePort(t)
	w := startLive(t, fileIdentity+`mcp:
  - name: tools
    listen: 127.0.0.1:`+port+`
    secret: {file: DIR/door}
    upstreams: [{url: '`+up.URL+`', identity: api, signer: bearer}]
  - name: quiet
    listen: unix:DIR/m.sock
    path: /quiet
    upstreams: [{url: '`+up.URL+`', identity: api, tools: {deny: [drop]}}]
  - name: named
    upstreams: [{url: '`+up.URL+`', identity: api, read_only: true}]
audit: {file: DIR/audit}
`)
	url := "http://127.0.0.1:" + port + "/mcp"
	s := mustWeb(t, url, "", door)
	if got := call(t, s, "whoami", nil); got != "I am Bearer one" {
		t.Errorf("got %s", got)
	}
	for _, secret := range []string{"", strings.Repeat("w", 32), "one"} {
		if s, err := web(t, url, "", secret); err == nil {
			t.Errorf("%q is let in: %s", secret, call(t, s, "whoami", nil))
		}
	}
	for path, want := range map[string]string{"/mcp": "401", "/none": "401", "/": "401"} {
		if got := send(t, caller(t, ""), "http://127.0.0.1:"+port+path, ""); status(got) != want {
			t.Errorf("%s: got %s", path, got)
		}
	}
	unix := filepath.Join(w.dir, "m.sock")
	s = mustWeb(t, "http://localhost/quiet", unix, "")
	if got := call(t, s, "whoami", nil); got != "I am Bearer one" {
		t.Errorf("got %s", got)
	}
	if got := call(t, s, "drop", map[string]any{"table": "a"}); !strings.HasPrefix(got, "error: ") || up.calls.Load() != 2 {
		t.Errorf("got %s", got)
	}
	a := join(t, mustOpen(t, w.daemon.bridges, ourselves(), wire.MCP{Gateway: "named"}))
	if got := a.call("whoami", nil); got != "I am Bearer one" {
		t.Errorf("got %s", got)
	}
	if got := a.call("drop", map[string]any{"table": "a"}); !strings.HasPrefix(got, "error: ") || up.calls.Load() != 3 {
		t.Errorf("got %s", got)
	}
	scrape := httptest.NewRecorder()
	w.daemon.figures.Handler().ServeHTTP(scrape, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`freshet_mcp_requests_total{bridge="tools",method="tools/call",outcome="ok",upstream="tools"} 1`,
		`freshet_mcp_requests_total{bridge="named",method="tools/call",outcome="refused",upstream="named"} 1`,
		`freshet_mcp_sessions{bridge="named"} 1`, `freshet_proxy_requests_total{code="200",route="mcp tools"}`,
	} {
		if !strings.Contains(scrape.Body.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if s := w.daemon.String(); !strings.Contains(s, "mcp tools at 127.0.0.1:"+port) || !strings.Contains(s, "mcp quiet at unix:"+unix) || strings.Contains(s, "mcp named") {
		t.Errorf("the ready line is %s", s)
	}
	a.end()
	w.stop()
	told := make(map[string]bool)
	for _, r := range records(t, filepath.Join(w.dir, "audit")) {
		told[fmt.Sprint(r["event"], " ", r["caller"], " ", r["bridge"], " ", r["tool"], " ", r["identity"], " ", r["outcome"])] = true
		if r["event"] == "hand_out" {
			t.Errorf("a hand-out is recorded: %v", r)
		}
	}
	uid := os.Getuid()
	for _, want := range []string{
		"call mcp:secret tools whoami api ok", fmt.Sprintf("call mcp:uid:%d quiet drop api refused", uid), fmt.Sprintf("call mcp:uid:%d named whoami api ok", uid),
	} {
		if !told[want] {
			t.Errorf("the record lacks %q, and has %v", want, told)
		}
	}
}

func TestGatewayIsOpenedByNameByWhomItAllows(t *testing.T) {
	up := newToolServer(t)
	w := startLive(t, fileIdentity+`mcp:
  - {name: ours, allow: {uids: [4242]}, upstreams: [{url: '`+up.URL+`', identity: api}]}
  - {name: mine, upstreams: [{url: '`+up.URL+`', identity: api}]}
`)
	b := w.daemon.bridges
	member, stranger := ourselves(), ourselves()
	member.UID, stranger.UID = 4242, 4243
	a := join(t, mustOpen(t, b, member, wire.MCP{Gateway: "ours", ReadOnly: true}))
	if got := a.call("whoami", nil); got != "I am Bearer one" {
		t.Errorf("got %s", got)
	}
	if got := a.call("drop", map[string]any{"table": "a"}); !strings.HasPrefix(got, "error: ") {
		t.Errorf("though its agent wants to read alone: %s", got)
	}
	for _, test := range []struct {
		caller broker.Caller
		name   string
	}{{member, "mine"}, {stranger, "ours"}, {stranger, "mine"}, {stranger, "none"}} {
		m, err := b.Open(t.Context(), test.caller, wire.MCP{Gateway: test.name})
		if err == nil {
			m.Close()
		}
		e := freshet.AsError(err)
		if e == nil || e.Kind != freshet.Invalid || strings.Contains(e.Hint, "mine") || strings.Replace(e.Why, test.name, "X", 1) != `no bridge of the configuration is called "X", or it is not for you` {
			t.Errorf("uid %d at %s: got %v", test.caller.UID, test.name, err)
		}
	}
	if _, err := b.Open(t.Context(), ourselves(), wire.MCP{Gateway: "mine", SkipAuth: true}); freshet.AsError(err).Kind != freshet.Invalid {
		t.Errorf("a caller says what it does: %v", err)
	}
	if doc, err := b.Tools(t.Context(), ourselves(), wire.MCP{Gateway: "ours"}); err != nil || !strings.Contains(string(doc), `"drop"`) {
		t.Errorf("got %s, %v", doc, err)
	}
	if _, err := b.Tools(t.Context(), member, wire.MCP{Gateway: "ours"}); freshet.AsError(err).Kind != freshet.Denied {
		t.Errorf("somebody else sees what is left out: %v", err)
	}
	// Once it is not theirs any more, their sessions end.
	w.configure(fileIdentity + `mcp:
  - {name: ours, upstreams: [{url: '` + up.URL + `', identity: api}]}
`)
	if _, err := w.daemon.Reload(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.served:
	case <-time.After(20 * time.Second):
		t.Error("the session goes on")
	}
	if _, err := b.Open(t.Context(), member, wire.MCP{Gateway: "ours"}); err == nil {
		t.Error("it is opened")
	}
}

// TestUnchangedGatewayKeepsItsSessions through a reload, and through a change of the secret; a changed one does not.
func TestUnchangedGatewayKeepsItsSessions(t *testing.T) {
	up, port := newToolServer(t), freePort(t)
	text := func(more string) string {
		return fileIdentity + `mcp:
  - name: tools
    listen: 127.0.0.1:` + port + `
    secret: {file: DIR/door}
    upstreams: [{url: '` + up.URL + `', identity: api` + more + `}]
`
	}
	w := startLive(t, text(""))
	url := "http://127.0.0.1:" + port + "/mcp"
	s := mustWeb(t, url, "", door)
	a := join(t, mustOpen(t, w.daemon.bridges, ourselves(), wire.MCP{Gateway: "tools"}))
	for i, change := range []func(){func() {}, func() { w.configure("# another comment\n" + text("")) }} {
		change()
		if _, err := w.daemon.Reload(); err != nil {
			t.Fatal(err)
		}
		if got := call(t, s, "whoami", nil); got != "I am Bearer one" {
			t.Errorf("%d, over HTTP: got %s", i, got)
		}
		if got := a.call("whoami", nil); got != "I am Bearer one" {
			t.Errorf("%d, by its name: got %s", i, got)
		}
	}
	another := strings.Repeat("n", 40)
	w.write("door", another)
	w.becomes("the new secret", "ok", func() string {
		if _, err := web(t, url, "", another); err != nil {
			return err.Error()
		}
		return "ok"
	})
	if got := a.call("whoami", nil); got != "I am Bearer one" {
		t.Errorf("after a change of the secret: got %s", got)
	}
	s = mustWeb(t, url, "", another)
	w.configure(text(", read_only: true"))
	if _, err := w.daemon.Reload(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.served:
	case <-time.After(20 * time.Second):
		t.Error("a session of the policy before goes on")
	}
	w.becomes("the session over HTTP", "over", func() string {
		if got := call(t, s, "drop", map[string]any{"table": "a"}); strings.HasPrefix(got, "failed: ") || strings.HasPrefix(got, "error: ") {
			return "over"
		}
		return "goes on"
	})
	if got := call(t, mustWeb(t, url, "", another), "drop", map[string]any{"table": "a"}); !strings.HasPrefix(got, "error: ") {
		t.Errorf("a new session: got %s", got)
	}
}

// TestPinFileIsFollowed: what it holds is in force once it changes, and a file that is no snapshot changes nothing.
func TestPinFileIsFollowed(t *testing.T) {
	up := newToolServer(t)
	b, self := bridgesOf(t)
	doc, err := b.Tools(t.Context(), self, wire.MCP{URL: up.URL, Identity: "api"})
	if err != nil {
		t.Fatal(err)
	}
	var list []*sdk.Tool
	if err := json.Unmarshal(doc, &list); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pin := filepath.Join(dir, "pin.json")
	if err := os.WriteFile(pin, tools.Take(list).Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := startLive(t, fileIdentity+`mcp:
  - {name: tools, upstreams: [{url: '`+up.URL+`', identity: api, pin: `+pin+`}]}
`)
	seen := func() string {
		m, err := w.daemon.bridges.Open(t.Context(), ourselves(), wire.MCP{Gateway: "tools"})
		if err != nil {
			return err.Error()
		}
		a := join(t, m)
		defer a.end()
		told, err := a.session.ListTools(t.Context(), nil)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(len(told.Tools))
	}
	if got := seen(); got != "3" {
		t.Fatalf("got %s", got)
	}
	write := func(b []byte) {
		if err := os.WriteFile(pin+".new", b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(pin+".new", pin); err != nil {
			t.Fatal(err)
		}
	}
	write(tools.Take(list[:1]).Encode())
	w.becomes("the tools", "1", seen)
	write([]byte("no snapshot"))
	w.becomes("status", "wrong", func() string {
		if w.daemon.status().ConfigError != "" {
			return "wrong"
		}
		return "right"
	})
	if got := seen(); got != "1" {
		t.Errorf("got %s", got)
	}
}

func TestGatewaysThatCannotBeAreNotServed(t *testing.T) {
	up := newToolServer(t)
	for _, test := range []struct{ entry, why string }{
		{"{name: a, upstreams: [{url: 'URL', identity: api, signer: sigv4, service: execute-api, region: us-east-1, pin: DIR/none}]}", "pin: cannot be read"},
		{"{name: a, upstreams: [{url: 'URL', identity: api, pin: DIR/token}]}", "pin: not a snapshot"},
		{"{name: a, upstreams: [{url: 'URL', identity: keys}]}", "service: "},
		{"{name: a, upstreams: [{url: 'https://a.example', identity: api, ca_file: DIR/token}]}", "ca_file: no PEM certificate"},
		{"{name: a, upstreams: [{url: 'URL', identity: api}], allow: {groups: [no-such-group]}}", "allow.groups: "},
		{"{name: a, listen: 'unix:DIR/m', secret: {file: DIR/token}, upstreams: [{url: 'URL', identity: api}]}", "secret: shorter"},
	} {
		cfg := load(t, "identities:\n  api: {source: file, path: DIR/token}\n  keys: {source: aws-profile, profile: x}\nmcp:\n  - "+strings.ReplaceAll(test.entry, "URL", up.URL)+"\n")
		err := Check(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), test.why) || !strings.Contains(err.Error(), "c.yaml:") || !strings.Contains(err.Error(), "mcp[0]") {
			t.Errorf("%s: got %v", test.entry, err)
		}
	}
}

// TestDaemonsEndAnswersWhatIsUnderWay over HTTP, though a stream that has no end of its own is open beside it.
func TestDaemonsEndAnswersWhatIsUnderWay(t *testing.T) {
	up, port := newToolServer(t), freePort(t)
	w := startLive(t, fileIdentity+`mcp:
  - {name: tools, listen: '127.0.0.1:`+port+`', secret: {file: DIR/door}, upstreams: [{url: '`+up.URL+`', identity: api}]}
`)
	s := mustWeb(t, "http://127.0.0.1:"+port+"/mcp", "", door)
	answered := make(chan string, 1)
	go func() { answered <- call(t, s, "wait", nil) }()
	<-up.held
	stopped := make(chan struct{})
	began := time.Now()
	go func() { defer close(stopped); w.stop() }()
	w.becomes("the bridges", "closed", func() string { // not by a connection: net/http gives one that says nothing five seconds
		b := w.daemon.bridges
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.closed {
			return "closed"
		}
		return "open"
	})
	close(up.hold)
	if got := <-answered; got != "waited" {
		t.Errorf("got %s", got)
	}
	<-stopped
	if took := time.Since(began); took > drain {
		t.Errorf("it took %v", took)
	}
}

func TestCallsWaitForAnOperatorsWord(t *testing.T) {
	up := newToolServer(t)
	w := startLive(t, fileIdentity+`mcp:
  - {name: tools, upstreams: [{url: '`+up.URL+`', identity: api, approve: writes}], approvals: {wait: 30s}}
audit: {file: DIR/audit}
`)
	a := join(t, mustOpen(t, w.daemon.bridges, ourselves(), wire.MCP{Gateway: "tools"}))
	if got := a.call("whoami", nil); got != "I am Bearer one" {
		t.Errorf("what reads waits for nobody: got %s", got)
	}
	for _, test := range []struct {
		approve bool
		want    string
	}{{true, "dropped t"}, {false, "error: "}} {
		answered := make(chan string, 1)
		go func() { answered <- a.call("drop", map[string]any{"table": "t"}) }()
		w.becomes("what waits", "1", func() string { return fmt.Sprint(len(w.daemon.bridges.Pending())) })
		p := w.daemon.bridges.Pending()[0]
		if p.Bridge != "tools" || p.Upstream != "tools (api)" || p.Tool != "drop" || p.Caller != fmt.Sprintf("uid:%d", os.Getuid()) || !strings.Contains(string(p.Arguments), `"t"`) {
			t.Errorf("it is shown as %+v", p)
		}
		if err := w.daemon.api.Decide(p.ID, test.approve, "uid:0"); err != nil {
			t.Fatal(err)
		}
		if got := <-answered; !strings.HasPrefix(got, test.want) {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
	scrape := httptest.NewRecorder()
	w.daemon.figures.Handler().ServeHTTP(scrape, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{`freshet_mcp_approvals_total{outcome="asked"} 2`, `freshet_mcp_approvals_total{outcome="used"} 1`, `freshet_mcp_approvals_total{outcome="denied"} 1`} {
		if !strings.Contains(scrape.Body.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	w.stop()
	var told []string
	for _, r := range records(t, filepath.Join(w.dir, "audit")) {
		if r["event"] == "approval" {
			told = append(told, fmt.Sprint(r["outcome"], " ", r["bridge"], " ", r["tool"], " ", r["by"]))
			if r["caller"] != fmt.Sprintf("mcp:uid:%d", os.Getuid()) {
				t.Errorf("it is recorded of %v", r["caller"])
			}
		}
	}
	slices.Sort(told) // who decides and who waits tell of it at one time
	if got := strings.Join(told, ", "); got != "approved tools drop uid:0, asked tools drop <nil>, asked tools drop <nil>, denied tools drop uid:0, used tools drop uid:0" {
		t.Errorf("recorded: %s", got)
	}
}

// TestConfigureServesACommandsOwnBridges: without a daemon, a bridge is opened by its name too.
func TestConfigureServesACommandsOwnBridges(t *testing.T) {
	up := newToolServer(t)
	cfg := load(t, fileIdentity+`mcp:
  - {name: tools, upstreams: [{url: '`+up.URL+`', identity: api}]}
`)
	br, err := Broker(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer br.Close(context.Background())
	b := &Bridges{Broker: br}
	if err := b.Configure(cfg); err != nil {
		t.Fatal(err)
	}
	a := join(t, mustOpen(t, b, ourselves(), wire.MCP{Gateway: "tools"}))
	if got := a.call("whoami", nil); got != "I am Bearer tok" {
		t.Errorf("got %s", got)
	}
	b.Close()
	select {
	case <-a.served:
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}

// TestReloadLeavesTheOverseersTheirSessions, who may open every bridge, also those that name other users.
func TestReloadLeavesTheOverseersTheirSessions(t *testing.T) {
	up := newToolServer(t)
	conf := fileIdentity + `mcp:
  - {name: ours, allow: {uids: [%d]}, upstreams: [{url: '` + up.URL + `', identity: api}]}
`
	w := startLive(t, fmt.Sprintf(conf, 4242))
	a := join(t, mustOpen(t, w.daemon.bridges, ourselves(), wire.MCP{Gateway: "ours"}))
	w.configure(fmt.Sprintf(conf, 4243))
	if _, err := w.daemon.Reload(); err != nil {
		t.Fatal(err)
	}
	w.daemon.bridges.mu.Lock()
	for s := range w.daemon.bridges.sessions {
		if s.ctx.Err() != nil {
			t.Error("it has ended")
		}
	}
	w.daemon.bridges.mu.Unlock()
	if got := a.call("whoami", nil); got != "I am Bearer one" {
		t.Errorf("got %s", got)
	}
}

// TestSessionIsNotBegunOnceItsBridgeHasGone: a reload may come between the question whether a caller may, and the session.
func TestSessionIsNotBegunOnceItsBridgeHasGone(t *testing.T) {
	up := newToolServer(t)
	conf := fileIdentity + `mcp:
  - {name: ours, allow: {uids: [%d]}, upstreams: [{url: '` + up.URL + `', identity: api}]}
`
	w := startLive(t, fmt.Sprintf(conf, 4242))
	b := w.daemon.bridges
	member := ourselves()
	member.UID = 4242
	entered := func() *bridgeSession {
		s := &bridgeSession{of: b, caller: member, cancel: func() {}}
		if err := s.join(wire.MCP{Gateway: "ours"}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.bridge.leave)
		return s
	}
	s := entered()
	w.configure(fmt.Sprintf(conf, 4243))
	if _, err := w.daemon.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := s.begin(); err == nil {
		b.live.Done()
		t.Error("it is begun, though it is not for its caller any more")
	}
}

// TestStreamEndsWithWhatItWasLetInBy: a stream has no end of its own, and a replaced secret is to be worth nothing.
func TestStreamEndsWithWhatItWasLetInBy(t *testing.T) {
	up, port := newToolServer(t), freePort(t)
	conf := fileIdentity + `mcp:
  - {name: tools, listen: '127.0.0.1:` + port + `', secret: {file: DIR/door}, upstreams: [{url: '` + up.URL + `', identity: api}]}
`
	w := startLive(t, conf)
	url := "http://127.0.0.1:" + port + "/mcp"
	ask := func(method, session, body string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Authorization": {"Bearer " + door}, "Accept": {"application/json, text/event-stream"}, "Content-Type": {"application/json"}}
		if session != "" {
			r.Header.Set("Mcp-Session-Id", session)
			r.Header.Set("Mcp-Protocol-Version", "2025-06-18")
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	hello := ask("POST", "", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}`)
	session := hello.Header.Get("Mcp-Session-Id")
	ask("POST", session, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	stream := ask("GET", session, "")
	if session == "" || stream.StatusCode != http.StatusOK {
		t.Fatalf("session %q, the stream is answered %s", session, stream.Status)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, stream.Body)
		ended <- err
	}()
	w.configure("# a comment changes nothing\n" + conf)
	if _, err := w.daemon.Reload(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
		t.Fatal("it has ended, though its secret is the same")
	case <-time.After(200 * time.Millisecond):
	}
	w.write("door", strings.Repeat("n", 40))
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}

// TestCallOutlivesWhatItWasLetInByForAWhile, since it has begun, and a stream does not.
func TestCallOutlivesWhatItWasLetInByForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := &bridge{web: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
		g := gate{name: "tools", path: "/mcp", callers: proxy.Callers{Secret: "one"}}
		old := newShownGate(g, waits)
		began, ended := time.Now(), make(chan string, 2)
		for _, method := range []string{"GET", "POST"} {
			go func() {
				old.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "/mcp", nil))
				ended <- fmt.Sprint(method, " after ", time.Since(began))
			}()
		}
		synctest.Wait()
		g.callers.Secret = "two"
		(&front{gates: []*shownGate{newShownGate(g, waits)}}).succeed(&front{gates: []*shownGate{old}})
		for _, want := range []string{"GET after 0s", fmt.Sprint("POST after ", drain)} {
			if got := <-ended; got != want {
				t.Errorf("it ends: %s, want %s", got, want)
			}
		}
	})
}

// TestPinsAreNoLargerThanWhatIsRead everywhere.
func TestPinsAreNoLargerThanWhatIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(file, make([]byte, tools.MaxBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readPin(file, ""); err == nil || !strings.Contains(err.Error(), "larger than 2 MiB") {
		t.Errorf("got %v", err)
	}
}

// TestPinThatOthersCanWriteIsWarnedOf, as they could have agents get other tools.
func TestPinThatOthersCanWriteIsWarnedOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := load(t, fileIdentity+`mcp:
  - {name: tools, upstreams: [{url: 'https://mcp.example/mcp', identity: api, pin: '`+file+`'}]}
`)
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o644: false, 0o664: true, 0o646: true} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(Warnings(cfg), "\n")
		if strings.Contains(got, "mcp tools: pin: others can write "+file) != want {
			t.Errorf("%o: got %q", mode, got)
		}
	}
}
