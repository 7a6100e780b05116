package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/broker"
	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
	"freshet.dev/localapi"
	"freshet.dev/mcp"
	"freshet.dev/mcp/approval"
	"freshet.dev/mcp/tools"
	"freshet.dev/metrics"
	"freshet.dev/proxy"
)

// toolServer is an MCP server with tools that tell what they were sent, or wait.
type toolServer struct {
	*httptest.Server
	hold        chan struct{} // the tool "wait" waits for it
	held        chan struct{} // told when it does
	calls       atomic.Int64
	connections atomic.Int64
	wants       bool // an Authorization of any kind
}

func newToolServer(t *testing.T) *toolServer {
	t.Helper()
	u := &toolServer{hold: make(chan struct{}), held: make(chan struct{}, 100), wants: true}
	s := sdk.NewServer(&sdk.Implementation{Name: "up", Version: "1"}, nil)
	type nothing struct{}
	said := func(text string) (*sdk.CallToolResult, any, error) {
		u.calls.Add(1)
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}, nil, nil
	}
	sdk.AddTool(s, &sdk.Tool{Name: "whoami", Annotations: &sdk.ToolAnnotations{ReadOnlyHint: true}}, func(_ context.Context, r *sdk.CallToolRequest, _ nothing) (*sdk.CallToolResult, any, error) {
		return said("I am " + r.Extra.Header.Get("Authorization"))
	})
	sdk.AddTool(s, &sdk.Tool{Name: "wait"}, func(ctx context.Context, _ *sdk.CallToolRequest, _ nothing) (*sdk.CallToolResult, any, error) {
		u.held <- struct{}{}
		select {
		case <-u.hold:
		case <-ctx.Done():
		}
		return said("waited")
	})
	type table struct {
		Table string `json:"table"`
	}
	sdk.AddTool(s, &sdk.Tool{Name: "drop"}, func(_ context.Context, _ *sdk.CallToolRequest, in table) (*sdk.CallToolResult, any, error) {
		return said("dropped " + in.Table)
	})
	h := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, nil)
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u.wants && r.Header.Get("Authorization") == "" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	}))
	u.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			u.connections.Add(1)
		}
	}
	u.Start()
	t.Cleanup(u.CloseClientConnections)
	t.Cleanup(u.Close)
	return u
}

// bridgesOf are of identities as newProxies has them.
func bridgesOf(t *testing.T) (b *Bridges, self broker.Caller) {
	t.Helper()
	p, self, _ := newProxies(t)
	b = &Bridges{Broker: p.Broker, Version: "test"}
	t.Cleanup(b.Close)
	return b, self
}

// agent is an MCP client with one session of a bridge.
type agent struct {
	*testing.T
	session *sdk.ClientSession
	served  chan error // how the bridge's side ended
}

// join serves a client.
func join(t *testing.T, m localapi.MCP) *agent {
	t.Helper()
	near, far := net.Pipe()
	a := &agent{T: t, served: make(chan error, 1)}
	go func() {
		err := m.Serve(context.Background(), far)
		m.Close()
		a.served <- err
	}()
	var err error
	a.session, err = sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "1"}, nil).Connect(t.Context(), &sdk.IOTransport{Reader: near, Writer: near}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.session.Close() })
	return a
}

// call calls a tool, and gives its text, or "error: " and what it says.
func (a *agent) call(tool string, args map[string]any) string {
	a.Helper()
	return call(a.T, a.session, tool, args)
}

func call(t *testing.T, s *sdk.ClientSession, tool string, args map[string]any) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := s.CallTool(ctx, &sdk.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		return "failed: " + err.Error()
	}
	text := ""
	for _, c := range r.Content {
		if one, ok := c.(*sdk.TextContent); ok {
			text += one.Text
		}
	}
	if r.IsError {
		return "error: " + text
	}
	return text
}

// end waits for the end of the bridge's side.
func (a *agent) end() {
	a.Helper()
	_ = a.session.Close()
	select {
	case <-a.served:
	case <-time.After(20 * time.Second):
		a.Fatal("it does not end")
	}
}

func mustOpen(t *testing.T, b *Bridges, c broker.Caller, spec wire.MCP) localapi.MCP {
	t.Helper()
	m, err := b.Open(t.Context(), c, spec)
	if err != nil {
		t.Fatalf("%+v: %v", spec, err)
	}
	return m
}

// TestBridgeOfACallersOwnIsNamedByItsServer: whoever approves a call of it has to know of which server, and never sees a query.
func TestBridgeOfACallersOwnIsNamedByItsServer(t *testing.T) {
	b, self := bridgesOf(t)
	for url, want := range map[string]string{
		"https://a.example":                   "a.example",
		"https://a.example/":                  "a.example",
		"https://a.example:8443/mcp?key=hush": "a.example:8443/mcp",
		"https://a.example/mcp/":              "a.example/mcp/",
		"https://a.example/%20(prod)":         "a.example/%20(prod)",
	} {
		s, err := b.read(self, &wire.MCP{URL: url, Identity: "api"})
		if err != nil {
			t.Errorf("%s: %v", url, err)
		} else if u := s.upstreams[0]; u.name != want || u.profiles[0].name != "api" {
			t.Errorf("%s: got %s (%s), want %s (api)", url, u.name, u.profiles[0].name, want)
		}
	}
}

func TestBridgeSignsWithWhatTheIdentityConsistsOf(t *testing.T) {
	up := newToolServer(t)
	b, self := bridgesOf(t)
	signing := json.RawMessage(`{"service":"execute-api","region":"us-east-1"}`)
	for _, test := range []struct {
		spec wire.MCP
		want string
	}{
		{wire.MCP{Identity: "api"}, "I am Bearer tok"},
		{wire.MCP{Identity: "api", Signer: "bearer"}, "I am Bearer tok"},
		{wire.MCP{Identity: "keys", Settings: signing}, "I am AWS4-HMAC-SHA256 Credential="},
		{wire.MCP{Identity: "keptkeys", Settings: signing, Signer: "sigv4"}, "I am AWS4-HMAC-SHA256 Credential="},
		{wire.MCP{Identity: "keptkeys", Settings: signing}, "I am AWS4-HMAC-SHA256 Credential="},
		{wire.MCP{Identity: "tenants", Tenant: "other"}, "I am Bearer ey"},
		{wire.MCP{Identity: "api", SkipAuth: true}, "I am Bearer tok"}, // there is one, so it is used
	} {
		test.spec.URL = up.URL + "/mcp?version=1"
		a := join(t, mustOpen(t, b, self, test.spec))
		if got := a.call("whoami", nil); !strings.HasPrefix(got, test.want) {
			t.Errorf("%+v: got %s", test.spec, got)
		}
		a.end()
	}
	if len(b.sessions) > 0 || len(b.quota.open) > 0 {
		t.Errorf("once closed there are %d sessions, %v are counted", len(b.sessions), b.quota.open)
	}
}

// TestBridgeIsOpenedWhileTheIssuerIsDown: the agent starts, and its call says what is wrong; once it is not, the next one is served.
func TestBridgeIsOpenedWhileTheIssuerIsDown(t *testing.T) {
	up := newToolServer(t)
	var asked atomic.Int64
	var logged atomic.Bool
	source := freshet.SourceFunc(func(context.Context, freshet.Request) (*freshet.Credential, error) {
		if asked.Add(1); !logged.Load() {
			return nil, freshet.Errorf(freshet.LoginNeeded, "nobody is logged in").WithHint("run az login")
		}
		return freshet.NewBearer("late", "", freshet.Validity{Lifetime: time.Hour})
	})
	self := broker.Caller{Door: "socket", Peer: true, UID: uint32(os.Getuid())}
	br, err := broker.New(broker.Config{Owner: self.UID, Identities: []broker.Identity{{IdentityConfig: freshet.IdentityConfig{Name: "id", Version: "1", Kind: "test", Source: source}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer br.Close(context.Background())
	b := &Bridges{Broker: br}
	defer b.Close()
	m := mustOpen(t, b, self, wire.MCP{URL: up.URL, Identity: "id"})
	if asked.Load() > 0 || up.connections.Load() > 0 {
		t.Error("something is asked before the agent wants anything")
	}
	a := join(t, m)
	for range 2 {
		if got := a.call("whoami", nil); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "nobody is logged in") || !strings.Contains(got, "run az login") {
			t.Errorf("got %s", got)
		}
	}
	logged.Store(true)
	br.Changed("id")
	got := ""
	for deadline := time.Now().Add(20 * time.Second); got != "I am Bearer late" && time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		got = a.call("whoami", nil)
	}
	if got != "I am Bearer late" {
		t.Errorf("got %s", got)
	}
}

// TestBridgeIsOpenedWhileTheServerIsDown: its calls say so.
func TestBridgeIsOpenedWhileTheServerIsDown(t *testing.T) {
	b, self := bridgesOf(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	a := join(t, mustOpen(t, b, self, wire.MCP{URL: "http://" + l.Addr().String(), Identity: "api"}))
	if got := a.call("whoami", nil); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "refused") {
		t.Errorf("got %s", got)
	}
}

func TestBridgesThatAreNotOpened(t *testing.T) {
	b, self := bridgesOf(t)
	stranger := broker.Caller{Door: "socket", Peer: true, UID: 4242}
	kept := json.RawMessage(`{"service":"sts","region":"us-east-1"}`)
	for _, test := range []struct {
		caller broker.Caller
		spec   wire.MCP
		kind   freshet.Kind
		why    string
	}{
		{self, wire.MCP{URL: "http://a.example"}, freshet.Invalid, "url: http to another host"},
		{self, wire.MCP{URL: "https://u:p@a.example"}, freshet.Invalid, "url: a URL with a name or password"},
		{self, wire.MCP{URL: "https://a.example/x?y#z"}, freshet.Invalid, "url: a URL with a fragment"},
		{self, wire.MCP{Identity: "typo"}, freshet.Invalid, "unknown identity"},
		{self, wire.MCP{Identity: "-"}, freshet.Invalid, "identity: is not there"},
		{self, wire.MCP{Profiles: []wire.MCPProfile{{Name: "dev", Identity: "typo"}}}, freshet.Invalid, "unknown identity"},
		{self, wire.MCP{Profiles: []wire.MCPProfile{{Name: "api", Identity: "keys"}}}, freshet.Invalid, "profiles[0]: there are two"},
		{self, wire.MCP{Profiles: []wire.MCPProfile{{Name: "dev"}}}, freshet.Invalid, "profiles[0]: has no name, or no identity"},
		{self, wire.MCP{Signer: "sigv3"}, freshet.Invalid, "signer: unknown signer"},
		{self, wire.MCP{Signer: "sigv4"}, freshet.Invalid, "signer: sigv4 does not sign with bearer credentials"},
		{self, wire.MCP{Settings: json.RawMessage(`{"service":"s3"}`)}, freshet.Invalid, "settings: not those of the signer bearer"},
		{self, wire.MCP{Identity: "keys", Signer: "sigv4"}, freshet.Invalid, "service: "},
		{self, wire.MCP{Scopes: []string{""}}, freshet.Invalid, "scopes: one is empty"},
		{self, wire.MCP{Approve: "some"}, freshet.Invalid, "approve: neither"},
		{self, wire.MCP{Deny: []string{"a*b"}}, freshet.Invalid, "deny"},
		{self, wire.MCP{Retries: 11}, freshet.Invalid, "retries: "},
		{self, wire.MCP{Sessions: 101}, freshet.Invalid, "sessions: "},
		{self, wire.MCP{Parameter: "a b"}, freshet.Invalid, "parameter: "},
		{self, wire.MCP{Timeouts: wire.MCPTimeouts{Tool: "5"}}, freshet.Invalid, "timeouts.tool: not a duration"},
		{self, wire.MCP{Timeouts: wire.MCPTimeouts{Read: "-1s"}}, freshet.Invalid, "timeouts.read: not a duration"},
		{self, wire.MCP{Pin: json.RawMessage(`"no"`)}, freshet.Invalid, "pin: not a snapshot"},
		{self, wire.MCP{Meta: map[string]string{"progressToken": "x"}}, freshet.Invalid, "meta: has a key that is the protocol's own"},
		{self, wire.MCP{CAFile: "relative"}, freshet.Invalid, "ca_file: not an absolute path"},
		{stranger, wire.MCP{Identity: "-", SkipAuth: true}, freshet.Denied, "without an identity"},
		{stranger, wire.MCP{CAFile: "/etc/shadow"}, freshet.Denied, "ca_file: only the daemon's own user"},
		{stranger, wire.MCP{Identity: "keys"}, freshet.Denied, "policy does not let uid 4242 use it"},
		{self, wire.MCP{Identity: "kept"}, freshet.Denied, "never handed out"},
		{self, wire.MCP{Identity: "keptkeys", Signer: "sigv4", Settings: kept}, freshet.Denied, "never handed out"},
		{self, wire.MCP{Upstream: "x"}, freshet.Invalid, "upstream: "},
		{self, wire.MCP{Gateway: "typo", URL: "-", Identity: "-"}, freshet.Invalid, `no bridge of the configuration is called "typo"`},
		{self, wire.MCP{Gateway: "typo", Identity: "-"}, freshet.Invalid, "the configuration says"},
	} {
		if test.spec.URL == "" {
			test.spec.URL = "https://a.example/mcp"
		}
		if test.spec.Identity == "" {
			test.spec.Identity = "api"
		}
		for _, field := range []*string{&test.spec.URL, &test.spec.Identity} {
			*field = strings.TrimPrefix(*field, "-")
		}
		m, err := b.Open(t.Context(), test.caller, test.spec)
		if err == nil {
			m.Close()
		}
		if e, ok := errors.AsType[*freshet.Error](err); !ok || e.Kind != test.kind || !strings.Contains(e.Why, test.why) {
			t.Errorf("%+v: got %v, want %s %s", test.spec, err, test.kind, test.why)
		}
	}
	if len(b.sessions)+len(b.quota.open) > 0 {
		t.Errorf("there are %d sessions, %v are counted", len(b.sessions), b.quota.open)
	}
}

// TestKeptIdentityIsRefusedOnceItsTypeIsKnown: of this source it is not before the first call.
func TestKeptIdentityIsRefusedOnceItsTypeIsKnown(t *testing.T) {
	up := newToolServer(t)
	cfg := load(t, "identities:\n  kept: {source: lab, type: bearer, release: false}\n")
	br, err := Broker(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer br.Close(context.Background())
	b := &Bridges{Broker: br}
	defer b.Close()
	a := join(t, mustOpen(t, b, broker.Caller{Door: "socket", Peer: true, UID: uint32(os.Getuid())}, wire.MCP{URL: up.URL, Identity: "kept"}))
	if got := a.call("whoami", nil); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "never handed out") || !strings.Contains(got, "mcp:") {
		t.Errorf("got %s", got)
	}
	a.end()
}

// TestEqualBridgesShareTheirConnections, and only those of one user.
func TestEqualBridgesShareTheirConnections(t *testing.T) {
	up := newToolServer(t)
	b, self := bridgesOf(t)
	spec := wire.MCP{URL: up.URL, Identity: "api"}
	var agents []*agent
	for range 20 {
		agents = append(agents, join(t, mustOpen(t, b, self, spec)))
	}
	for _, a := range agents {
		if got := a.call("whoami", nil); got != "I am Bearer tok" {
			t.Fatalf("got %s", got)
		}
	}
	first := agents[0]
	other := self
	other.UID = 4242 // whom the identity's policy knows too
	grouped := self
	grouped.GIDs = []uint32{7}
	within := self
	within.Ancestry = []string{"x"}
	m := mustOpen(t, b, other, spec)
	defer m.Close()
	for _, c := range []broker.Caller{grouped, within} {
		defer mustOpen(t, b, c, spec).Close()
	}
	b.mu.Lock()
	bridges := make(map[*bridge]int)
	for s := range b.sessions {
		bridges[s.bridge]++
	}
	b.mu.Unlock()
	if len(bridges) != 4 || bridges[m.(*bridgeSession).bridge] != 1 {
		t.Errorf("sessions by bridge: %v", bridges)
	}
	if m.(*bridgeSession).bridge.accounts[0].door == nil || m.(*bridgeSession).bridge.accounts[0].opener.UID != 4242 {
		t.Error("the other user's door is not its own")
	}
	for _, a := range agents[1:] {
		a.end()
	}
	if got := first.call("whoami", nil); got != "I am Bearer tok" {
		t.Errorf("after the others' end: %s", got)
	}
}

// TestPolicyHoldsForBridgesThatAreOpen: who may not use an identity any more, does not.
func TestPolicyHoldsForBridgesThatAreOpen(t *testing.T) {
	up := newToolServer(t)
	w := startLive(t, fileIdentity)
	self := broker.Caller{Door: "socket", Peer: true, UID: uint32(os.Getuid())}
	a := join(t, mustOpen(t, w.daemon.bridges, self, wire.MCP{URL: up.URL, Identity: "api"}))
	if got := a.call("whoami", nil); got != "I am Bearer one" {
		t.Fatalf("got %s", got)
	}
	w.configure(strings.Replace(fileIdentity, "api: {", "api: {allow: {uids: [4242]}, ", 1))
	if _, err := w.daemon.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := a.call("whoami", nil); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "no longer") {
		t.Errorf("got %s", got)
	}
}

func TestBridgeWithoutAnIdentity(t *testing.T) {
	up := newToolServer(t)
	b, self := bridgesOf(t)
	a := join(t, mustOpen(t, b, self, wire.MCP{URL: up.URL, SkipAuth: true}))
	if got := a.call("whoami", nil); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, "--as IDENTITY") {
		t.Errorf("of a server that wants a credential: %s", got)
	}
	up.wants = false
	a = join(t, mustOpen(t, b, self, wire.MCP{URL: up.URL, SkipAuth: true}))
	if got := a.call("whoami", nil); got != "I am " {
		t.Errorf("of a server that wants none: %s", got)
	}
}

// TestBridgeGoesWithoutACredentialUntilThereIsOne, where that is wanted, and what the identity consists of is not known.
func TestBridgeGoesWithoutACredentialUntilThereIsOne(t *testing.T) {
	up := newToolServer(t)
	up.wants = false
	var logged atomic.Bool
	source := freshet.SourceFunc(func(context.Context, freshet.Request) (*freshet.Credential, error) {
		if !logged.Load() {
			return nil, freshet.Errorf(freshet.LoginNeeded, "nobody is logged in")
		}
		return freshet.NewBearer("late", "", freshet.Validity{Lifetime: time.Hour})
	})
	self := broker.Caller{Door: "socket", Peer: true, UID: uint32(os.Getuid())}
	br, err := broker.New(broker.Config{Owner: self.UID, Identities: []broker.Identity{{IdentityConfig: freshet.IdentityConfig{Name: "id", Version: "1", Kind: "test", Source: source}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer br.Close(context.Background())
	b := &Bridges{Broker: br}
	defer b.Close()
	a := join(t, mustOpen(t, b, self, wire.MCP{URL: up.URL, Identity: "id", SkipAuth: true}))
	if got := a.call("whoami", nil); got != "I am " {
		t.Errorf("got %s", got)
	}
	logged.Store(true)
	br.Changed("id")
	got := ""
	for deadline := time.Now().Add(20 * time.Second); got != "I am Bearer late" && time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		got = a.call("whoami", nil)
	}
	if got != "I am Bearer late" {
		t.Errorf("got %s", got)
	}
}

func TestUsersBridgesAreBounded(t *testing.T) {
	b, self := bridgesOf(t)
	spec := wire.MCP{URL: "https://a.example", Identity: "api"}
	var all []localapi.MCP
	for range maxBridges {
		all = append(all, mustOpen(t, b, self, spec))
	}
	if _, err := b.Open(t.Context(), self, spec); freshet.AsError(err).Kind != freshet.Unavailable || !strings.Contains(err.Error(), "512") {
		t.Errorf("got %v", err)
	}
	other := self
	other.UID = 4242
	mustOpen(t, b, other, spec).Close()
	for range 2 { // a second time does nothing
		all[0].Close()
	}
	mustOpen(t, b, self, spec).Close()
	if _, err := b.Open(t.Context(), self, wire.MCP{}); freshet.AsError(err).Kind != freshet.Invalid {
		t.Errorf("got %v", err)
	}
	for _, m := range all[1:] {
		m.Close()
	}
	if len(b.quota.open) > 0 {
		t.Errorf("counted %v", b.quota.open)
	}
}

func TestBridgesToolsAreTold(t *testing.T) {
	up := newToolServer(t)
	b, self := bridgesOf(t)
	doc, err := b.Tools(t.Context(), self, wire.MCP{URL: up.URL, Identity: "api", Allow: new([]string)})
	if err != nil {
		t.Fatal(err)
	}
	var list []*sdk.Tool
	if err := json.Unmarshal(doc, &list); err != nil || len(list) != 3 {
		t.Errorf("got %s, %v", doc, err)
	}
	// What they were is what they are to be: the next call holds them to it.
	pin := tools.Take(list[:1]).Encode()
	a := join(t, mustOpen(t, b, self, wire.MCP{URL: up.URL, Identity: "api", Pin: pin}))
	told, err := a.session.ListTools(t.Context(), nil)
	if err != nil || len(told.Tools) != 1 || told.Tools[0].Name != list[0].Name {
		t.Errorf("of those pinned the agent sees %+v, %v", told, err)
	}
	if _, err := b.Tools(t.Context(), self, wire.MCP{URL: "http://127.0.0.1:1", Identity: "api"}); freshet.AsError(err).Kind != freshet.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestBridgesEndTogether(t *testing.T) {
	up := newToolServer(t)
	b, self := bridgesOf(t)
	a := join(t, mustOpen(t, b, self, wire.MCP{URL: up.URL, Identity: "api"}))
	a.call("whoami", nil)
	idle := mustOpen(t, b, self, wire.MCP{URL: up.URL, Identity: "api"})
	var closing sync.WaitGroup
	closing.Go(b.Close)
	select {
	case <-a.served:
	case <-time.After(20 * time.Second):
		t.Fatal("a session does not end")
	}
	idle.Close()
	closing.Wait()
	if _, err := b.Open(t.Context(), self, wire.MCP{URL: up.URL, Identity: "api"}); freshet.AsError(err).Kind != freshet.Unavailable {
		t.Errorf("once closed: %v", err)
	}
}

// TestBridgesRequestsAreToldOf: each request to the server with whose it was, whatever the agent's was.
func TestBridgesRequestsAreToldOf(t *testing.T) {
	up := newToolServer(t)
	b, self := bridgesOf(t)
	events := make(chan proxy.Event, 100)
	b.Requests = func(e proxy.Event) { events <- e }
	a := join(t, mustOpen(t, b, self, wire.MCP{URL: up.URL, Identity: "api"}))
	a.call("whoami", nil)
	a.end()
	if e := <-events; e.Route != "mcp" || e.Identity != "api" || e.Caller != fmt.Sprintf("uid:%d", self.UID) || e.Status != 200 {
		t.Errorf("got %+v", e)
	}
}

// TestApprovalServesTheIdentityItWasGivenFor, whatever else is the same.
func TestApprovalServesTheIdentityItWasGivenFor(t *testing.T) {
	up := newToolServer(t)
	b, self := bridgesOf(t)
	b.Approvals, b.Wait = approval.NewStore(approval.Config{}), time.Millisecond
	agentOf := func(identity string) *agent {
		spec := wire.MCP{URL: up.URL, Identity: identity, Default: "default", Approve: "all"}
		if identity == "" {
			spec.SkipAuth = true
		}
		return join(t, mustOpen(t, b, self, spec))
	}
	up.wants = false
	one, other := agentOf("api"), agentOf("")
	args := map[string]any{"table": "t"}
	if got := one.call("drop", args); !strings.Contains(got, "freshet approve") {
		t.Fatalf("got %s", got)
	}
	if err := b.Approvals.Decide(b.Pending()[0].ID, true, "uid:0"); err != nil {
		t.Fatal(err)
	}
	if got := other.call("drop", args); !strings.Contains(got, "freshet approve") {
		t.Errorf("another identity's call: got %s", got)
	}
	if got := one.call("drop", args); got != "dropped t" {
		t.Errorf("the approved call: got %s", got)
	}
}

// TestServersOfCallersOwnAreNoSeries: whoever opens bridges to many hosts leaves the configuration's bridges their figures.
func TestServersOfCallersOwnAreNoSeries(t *testing.T) {
	m := metrics.New("v1")
	observe := bridgeFigures(m)
	for i := range 500 {
		observe(mcp.Event{Bridge: ownBridge, Upstream: fmt.Sprint("host", i), Method: "ping", Outcome: "ok"})
	}
	observe(mcp.Event{Bridge: "tools", Upstream: "aws", Method: "ping", Outcome: "ok"})
	scrape := httptest.NewRecorder()
	m.Handler().ServeHTTP(scrape, httptest.NewRequest("GET", "/metrics", nil))
	if text := scrape.Body.String(); strings.Contains(text, "host1") || !strings.Contains(text, `upstream="aws"`) {
		t.Errorf("got %s", text)
	}
}

// TestFilesThatAreNoFilesHoldNobodyUp: a pipe is waited for by nobody, its own caller included.
func TestFilesThatAreNoFilesHoldNobodyUp(t *testing.T) {
	b, self := bridgesOf(t)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() {
		_, err := b.Open(context.Background(), self, wire.MCP{URL: "https://a.example/mcp", Identity: "api", CAFile: pipe})
		done <- err
		_, err = readPin(pipe, "")
		done <- err
	}()
	for range 2 {
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), "not a regular file") {
				t.Errorf("got %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it waits")
		}
	}
}
