package localapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"freshet.dev/broker"
	"freshet.dev/client"
	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
	"freshet.dev/localapi"
)

// bridged is what a bridge was opened with.
type bridged struct {
	caller broker.Caller
	spec   wire.MCP
}

// parrot is a bridge that says each line again, and tells when it is served no more, and closed.
type parrot struct{ ended, closed chan error }

func (p *parrot) Serve(ctx context.Context, rw io.ReadWriteCloser) error {
	stop := context.AfterFunc(ctx, func() { rw.Close() })
	defer stop()
	_, err := io.Copy(rw, rw)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	p.ended <- err
	return err
}

func (p *parrot) Close() { p.closed <- nil }

// bridgeServer answers requests for bridges with a parrot, and asks fail first.
func bridgeServer(t *testing.T, fail func() error) (s *served, opened chan bridged, p *parrot) {
	opened, p = make(chan bridged, 10), &parrot{make(chan error, 10), make(chan error, 10)}
	s = serve(t, 0o666, func(c *localapi.Config) {
		c.OpenMCP = func(_ context.Context, c broker.Caller, spec wire.MCP) (localapi.MCP, error) {
			if err := fail(); err != nil {
				return nil, err
			}
			opened <- bridged{c, spec}
			return p, nil
		}
		c.MCPTools = func(_ context.Context, c broker.Caller, spec wire.MCP) (json.RawMessage, error) {
			if err := fail(); err != nil {
				return nil, err
			}
			opened <- bridged{c, spec}
			return json.RawMessage(`[{"name":"a"}]`), nil
		}
		c.Approvals = func() []wire.Approval {
			return []wire.Approval{{ID: "abc", Tool: "drop", Arguments: json.RawMessage(`{"table":"planted"}`), Asked: time.Unix(1, 0).UTC(), Expires: time.Unix(2, 0).UTC()}}
		}
		c.Decide = func(id string, approve bool, by string) error {
			if id != "abc" {
				return freshet.Errorf(freshet.Invalid, "there is no such call").WithHint("list them")
			}
			opened <- bridged{spec: wire.MCP{Gateway: fmt.Sprint(id, " ", approve, " ", by)}}
			return nil
		}
	}, identity("id", new(issuer), broker.Policy{}))
	return s, opened, p
}

func none() error { return nil }

// say writes a line, and reads one.
func say(t *testing.T, conn io.ReadWriter, line string) string {
	t.Helper()
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(got)
}

func TestBridgesMessagesPassBothWays(t *testing.T) {
	s, opened, p := bridgeServer(t, none)
	empty := []string{}
	want := wire.MCP{
		URL: "https://mcp.example/mcp?v=1", Identity: "id", Signer: "sigv4", Settings: json.RawMessage(`{"service":"execute-api"}`), Tenant: "t", Scopes: []string{"s"},
		Audience: "a", Default: "main", Profiles: []wire.MCPProfile{{Name: "dev", Identity: "other"}}, Parameter: "aws_profile", Meta: map[string]string{"AWS_REGION": "us-east-1"},
		ReadOnly: true, Allow: &empty, Deny: []string{"x"}, Read: []string{"r"}, Write: []string{"w"}, Approve: "writes",
		Pin: json.RawMessage(`"` + strings.Repeat("p", 1<<20) + `"`), Retries: 2, Sessions: 3, SkipAuth: true, CAFile: "/ca.pem", Timeouts: wire.MCPTimeouts{Tool: "10m"},
	}
	conn, err := client.New(client.Config{Socket: s.path, Ancestry: []string{"outer"}}).OpenMCP(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	got := soon(t, "the bridge is opened", opened)
	if !reflect.DeepEqual(got.spec, want) {
		t.Errorf("it was opened with %+v", got.spec)
	}
	if c := got.caller; c.Door != "socket" || !c.Peer || c.UID != uint32(os.Getuid()) || c.PID != os.Getpid() || !reflect.DeepEqual(c.Ancestry, []string{"outer"}) {
		t.Errorf("it was opened for %+v", c)
	}
	for range 3 {
		if got := say(t, conn, `{"jsonrpc":"2.0"}`); got != `{"jsonrpc":"2.0"}` {
			t.Errorf("got %q", got)
		}
	}
	if len(p.ended)+len(p.closed) > 0 {
		t.Error("it has ended while its client lives")
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	soon(t, "its end", p.ended)
	soon(t, "its closing", p.closed)
}

// TestBridgesContextIsForItsOpening: who gives up on opening one must not end it later.
func TestBridgesContextIsForItsOpening(t *testing.T) {
	s, _, _ := bridgeServer(t, none)
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := client.New(client.Config{Socket: s.path}).OpenMCP(ctx, wire.MCP{URL: "https://mcp.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	for range 3 {
		say(t, conn, "x")
	}
}

// TestBridgesFirstMessageMayComeWithItsRequest: a client need not wait for the answer.
func TestBridgesFirstMessageMayComeWithItsRequest(t *testing.T) {
	s, _, _ := bridgeServer(t, none)
	conn, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	early := strings.Repeat("early ", 300)
	if _, err := fmt.Fprintf(conn, "POST /v1/mcp HTTP/1.1\r\nHost: x\r\nconnection: keep-alive, upgrade\r\nUpgrade: Freshet-MCP\r\nContent-Length: 2\r\n\r\n{}%s\n", early); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "freshet-mcp" || resp.Header.Get("Connection") != "Upgrade" {
		t.Fatalf("got %+v, %v", resp, err)
	}
	if got, err := in.ReadString('\n'); err != nil || got != early+"\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if got := say(t, conn, "late"); got != "late" {
		t.Errorf("got %q", got)
	}
}

func TestBridgeEndsWhenItsClientIsKilled(t *testing.T) {
	s, opened, p := bridgeServer(t, none)
	out, cmd := s.another("mcp", nil, "https://mcp.example")
	if !out.Scan() || out.Text() != "hello" {
		t.Fatalf("the client says %q", out.Text())
	}
	soon(t, "the bridge is opened", opened)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	soon(t, "its end", p.ended)
	soon(t, "its closing", p.closed)
}

func TestBridgesEndWithTheDaemon(t *testing.T) {
	s, _, p := bridgeServer(t, none)
	c := client.New(client.Config{Socket: s.path})
	var conns []io.ReadWriteCloser
	for range 3 {
		conn, err := c.OpenMCP(t.Context(), wire.MCP{URL: "https://mcp.example"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	close(s.ending)
	for _, conn := range conns {
		if err := soon(t, "its end", p.ended); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("its client reads %d bytes, %v", n, err)
		}
	}
}

func TestBridgeThatCannotBeOpenedIsAProblem(t *testing.T) {
	for kind, status := range map[freshet.Kind]int{freshet.Invalid: 400, freshet.Denied: 403, freshet.Unavailable: 503} {
		want := &freshet.Error{Kind: kind, Identity: "id", Why: "no", Hint: "do this", RetryAfter: 3 * time.Second}
		s, _, p := bridgeServer(t, func() error { return want })
		a := s.send("POST", "/v1/mcp", "{}", "Connection", "Upgrade", "Upgrade", "freshet-mcp")
		if a.status != status || a.doc["kind"] != string(kind) || a.doc["hint"] != "do this" || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s, want %d", kind, a.status, a.text, status)
		}
		c := client.New(client.Config{Socket: s.path})
		if _, err := c.OpenMCP(t.Context(), wire.MCP{}); !reflect.DeepEqual(freshet.AsError(err), want) {
			t.Errorf("%s: the client's error is %v", kind, err)
		}
		if _, err := c.MCPTools(t.Context(), wire.MCP{}); !reflect.DeepEqual(freshet.AsError(err), want) {
			t.Errorf("%s: the client's error is %v", kind, err)
		}
		if len(p.closed) > 0 {
			t.Errorf("%s: what was not opened is closed", kind)
		}
	}
}

// TestBridgesAreOpenedByWhatOthersAreAnsweredBy: a change of protocol passes the same checks as every request.
func TestBridgesAreOpenedByWhatOthersAreAnsweredBy(t *testing.T) {
	s, opened, _ := bridgeServer(t, none)
	for _, test := range []struct {
		method, path, body string
		header             []string
		status             int
		why                string
	}{
		{"POST", "/v1/mcp", "{}", nil, 426, "change of protocol"},
		{"POST", "/v1/mcp", "{}", []string{"Upgrade", "freshet-mcp"}, 426, "change of protocol"},
		{"POST", "/v1/mcp", "{}", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 426, "change of protocol"},
		{"GET", "/v1/mcp", "", []string{"Connection", "Upgrade", "Upgrade", "freshet-mcp"}, 405, "only POST"},
		{"POST", "/v1/mcp", "[]", []string{"Connection", "Upgrade", "Upgrade", "freshet-mcp"}, 400, "not the JSON object"},
		{"POST", "/v1/mcp", `{"typo":1}`, []string{"Connection", "Upgrade", "Upgrade", "freshet-mcp"}, 400, "not the JSON object"},
		{"POST", "/v1/mcp", `{"url":"` + strings.Repeat("x", 13<<20) + `"}`, []string{"Connection", "Upgrade", "Upgrade", "freshet-mcp"}, 400, "not the JSON object"},
		{"POST", "/v1/mcp", "{}", []string{"Connection", "Upgrade", "Upgrade", "freshet-mcp", "Origin", "https://page.example"}, 403, "web pages"},
		{"POST", "/v1/mcp", "{}", []string{"Connection", "Upgrade", "Upgrade", "freshet-mcp", "Freshet-Config", "another"}, 400, "another configuration"},
		{"POST", "/v1/mcp/tools", "{}", []string{"Origin", "https://page.example"}, 403, "web pages"},
		{"POST", "/v1/approvals/abc", `{"approve":true}`, []string{"Origin", "https://page.example"}, 403, "web pages"},
		{"POST", "/v1/approvals/abc", `{}`, nil, 400, "neither true nor false"},
		{"POST", "/v1/approvals/abc", `{"approve":1}`, nil, 400, "not the JSON object"},
	} {
		a := s.send(test.method, test.path, test.body, test.header...)
		if a.status != test.status || !strings.Contains(a.text, test.why) {
			t.Errorf("%s %s %v: got %d %s, want %d %s", test.method, test.path, test.header, a.status, a.text, test.status, test.why)
		}
	}
	if len(opened) > 0 {
		t.Error("one was opened")
	}
}

func TestBridgesToolsAreToldAsTheyAre(t *testing.T) {
	s, opened, _ := bridgeServer(t, none)
	tools, err := client.New(client.Config{Socket: s.path}).MCPTools(t.Context(), wire.MCP{Gateway: "g", Upstream: "u"})
	if err != nil || string(tools) != `[{"name":"a"}]` {
		t.Errorf("got %s, %v", tools, err)
	}
	if got := soon(t, "the question", opened); got.spec.Gateway != "g" || got.spec.Upstream != "u" {
		t.Errorf("asked for %+v", got.spec)
	}
}

func TestApprovalsAreDecidedByTheirIDs(t *testing.T) {
	s, opened, _ := bridgeServer(t, none)
	c := client.New(client.Config{Socket: s.path})
	all, err := c.Approvals(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != "abc" || string(all[0].Arguments) != `{"table":"planted"}` || !all[0].Expires.Equal(time.Unix(2, 0)) {
		t.Errorf("got %+v, %v", all, err)
	}
	for _, approve := range []bool{true, false} {
		if err := c.Decide(t.Context(), "abc", approve); err != nil {
			t.Error(err)
		}
		if got, want := soon(t, "a decision", opened).spec.Gateway, fmt.Sprintf("abc %v uid:%d", approve, os.Getuid()); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := c.Decide(t.Context(), "../abc", true); freshet.AsError(err).Kind != freshet.Invalid || freshet.AsError(err).Hint != "list them" {
		t.Errorf("got %v", err)
	}
	if a := s.send("POST", "/v1/approvals/other", `{"approve":true}`); a.status != 404 || a.doc["hint"] != "list them" {
		t.Errorf("got %d %s", a.status, a.text)
	}
}

// TestApprovalsAreTheOperatorsAlone: what others want to do is not shown to everybody, and nobody approves of their own.
func TestApprovalsAreTheOperatorsAlone(t *testing.T) {
	asRoot(t)
	s, opened, _ := bridgeServer(t, none)
	out, _ := s.another("approve", &syscall.Credential{Uid: nobody, Gid: nobody}, "abc")
	for range 2 {
		if !out.Scan() || !strings.HasPrefix(out.Text(), "403 ") || strings.Contains(out.Text(), "planted") {
			t.Errorf("another user is answered %q", out.Text())
		}
	}
	if len(opened) > 0 {
		t.Error("it was decided")
	}
}

func TestWithoutBridgesThereIsNothingAtTheirPaths(t *testing.T) {
	s := serve(t, 0o600, nil)
	for _, path := range []string{"/v1/mcp", "/v1/mcp/tools", "/v1/approvals", "/v1/approvals/x"} {
		if a := s.send("POST", path, "{}"); a.status != http.StatusNotFound || !strings.Contains(a.text, "there is nothing at this path") {
			t.Errorf("%s: got %d %s", path, a.status, a.text)
		}
	}
}
