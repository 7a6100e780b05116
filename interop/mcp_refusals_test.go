package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// clients are the ways in which the tests of refusals look at a bridge: one SDK of each era, over stdio.
var clients = []struct{ sdk, version string }{{"sdk", ""}, {"client", stateless}}

// eachClient runs a test with an agent of each era.
func (b *bridge) eachClient(t *testing.T, edit func(*agentSettings), args []string, test func(t *testing.T, a *agent)) {
	t.Helper()
	for _, c := range clients {
		t.Run(c.sdk, func(t *testing.T) {
			s := b.stdio(overDaemon, args...)
			if s.Version = c.version; edit != nil {
				edit(&s)
			}
			a := startAgent(t, c.sdk, s)
			test(t, a)
			a.close(t)
		})
	}
}

func bare(s *agentSettings) { s.Bare = true }

// patient has a client wait less long than the SDKs do of their own accord, which is a minute: who is told later is told nothing.
func patient(o *op) { o.Timeout = 40_000 }

// wantToolError holds a call to an error that the model can read, which has all the words.
func wantToolError(t *testing.T, o outcome, words ...string) {
	t.Helper()
	if o.Error != nil || o.Result["isError"] != true {
		t.Errorf("got %s, want a tool error", o.text())
	}
	for _, word := range words {
		if !strings.Contains(o.text(), word) {
			t.Errorf("got %q, want %q in it", o.text(), word)
		}
	}
}

// wantError holds a request to an error of JSON-RPC that does not say that its parameters are wrong.
func wantError(t *testing.T, o outcome, words ...string) {
	t.Helper()
	if o.Error == nil || o.Error.Code == float64(-32602) {
		t.Errorf("got %s, want an error, and not of the parameters", o.text())
	}
	for _, word := range words {
		if !strings.Contains(o.text(), word) {
			t.Errorf("got %q, want %q in it", o.text(), word)
		}
	}
}

// TestMCPRefusals has real clients meet all that can keep a call from being made: each is told what is the matter and what to do, in a way
// that a model reads.
func TestMCPRefusals(t *testing.T) {
	t.Parallel()
	b := newBridge(t, 30*time.Second, false)
	server := party.MCPEverything(t)
	c := b.bearer(t, server.URL)
	late := party.FreeAddress(t)
	socket := filepath.Join(socketDir(t), "mcp.sock")
	if err := os.Chmod(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	b.serve(t, fmt.Sprintf(`
  late: {source: oauth2, token_url: "http://%[1]s/token", client_id: agent, auth: post, client_secret: {file: %[2]q}, resource: %[3]s}
  login: {source: azure-cli, program: %[4]q, config_dir: %[5]q}
`, late, writeSecret(t, filepath.Join(t.TempDir(), "secret"), "secret"), mcpResource, party.AzureCLI(t), t.TempDir()), fmt.Sprintf(`
  - {name: tools, listen: "@LISTEN@", secret: {file: "@SECRET@"}, upstreams: [{url: %[1]q, identity: token}]}
  - {name: brief, listen: "@LISTEN@", path: /brief, secret: {file: "@SECRET@"}, upstreams: [{url: %[1]q, identity: token, approve: writes}], approvals: {wait: 200ms, expire: 2s}}
  - {name: shared, listen: "unix:%[2]s", allow: {uids: [0, 65534]}, upstreams: [{url: %[1]q, identity: token}]}
`, c.URL, socket))
	const write = "toggle-simulated-logging"

	t.Run("429", func(t *testing.T) {
		b.eachClient(t, nil, []string{c.URL, "--as", "token"}, func(t *testing.T, a *agent) {
			if o := a.do(t, read("tools/list", nil)); len(o.names("tools")) < 13 {
				t.Fatalf("before: %s", o.text())
			}
			c.stages(func(w http.ResponseWriter, r *http.Request, m rpc) bool {
				if m.Method != "tools/list" && m.Method != "tools/call" {
					return false
				}
				w.Header().Set("Retry-After", "40")
				http.Error(w, "slow down", http.StatusTooManyRequests)
				return true
			})
			defer c.stages(nil)
			o := a.do(t, read("tools/list", nil))
			wantError(t, o, "429", "try again in")
			if data, ok := o.Error.Data.(map[string]any); !ok || data["retry_after"] == nil {
				t.Errorf("data: got %v, want retry_after", o.Error.Data)
			}
			wantToolError(t, a.call(t, "echo", map[string]any{"message": "hi"}), "429", "try again in")
			c.stages(nil)
			if o := a.call(t, "echo", map[string]any{"message": "hi"}); o.text() != "Echo: hi" {
				t.Errorf("after: %s", o.text())
			}
		})
	})
	t.Run("a token that is refused once", func(t *testing.T) {
		b.eachClient(t, nil, []string{c.URL, "--as", "token"}, func(t *testing.T, a *agent) {
			if o := a.call(t, "echo", map[string]any{"message": "hi"}); o.text() != "Echo: hi" {
				t.Fatalf("before: %s", o.text())
			}
			once := make(chan struct{}, 1)
			once <- struct{}{}
			c.stages(func(w http.ResponseWriter, r *http.Request, m rpc) bool {
				if m.Method != "tools/call" {
					return false
				}
				select {
				case <-once:
					w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
					http.Error(w, "no", http.StatusUnauthorized)
					return true
				default:
					return false
				}
			})
			defer c.stages(nil)
			before := b.idp.Counts()["agent"].Successes
			if o := a.call(t, "echo", map[string]any{"message": "hi"}); o.text() != "Echo: hi" {
				t.Errorf("got %s", o.text())
			}
			if got := b.idp.Counts()["agent"].Successes - before; got != 1 {
				t.Errorf("the issuer was asked %d times, want once", got)
			}
		})
	})
	t.Run("a session that is lost", func(t *testing.T) {
		b.eachClient(t, nil, []string{c.URL, "--as", "token"}, func(t *testing.T, a *agent) {
			if o := a.call(t, "echo", map[string]any{"message": "hi"}); o.text() != "Echo: hi" {
				t.Fatalf("before: %s", o.text())
			}
			a.do(t, read("tools/list", nil)) // which says that echo reads
			begun := c.count("initialize")
			gone := ""
			c.stages(func(w http.ResponseWriter, r *http.Request, m rpc) bool {
				session := r.Header.Get("Mcp-Session-Id")
				if gone == "" && m.Method == "tools/call" {
					gone = session
				}
				if session == "" || session != gone {
					return false
				}
				http.Error(w, "no such session", http.StatusNotFound)
				return true
			})
			defer c.stages(nil)
			if o := a.call(t, "echo", map[string]any{"message": "again"}); o.text() != "Echo: again" {
				t.Errorf("got %s", o.text())
			}
			if got := c.count("initialize") - begun; got != 1 {
				t.Errorf("%d sessions were begun, want one", got)
			}
		})
	})
	t.Run("a login that is needed", func(t *testing.T) {
		b.eachClient(t, nil, []string{c.URL, "--as", "login"}, func(t *testing.T, a *agent) {
			wantToolError(t, a.call(t, "echo", map[string]any{"message": "hi"}), "az login")
			wantError(t, a.do(t, read("tools/list", nil)), "az login")
		})
	})
	t.Run("an issuer that is down at the start", func(t *testing.T) {
		var agents []*agent
		for _, client := range clients {
			s := b.stdio(overDaemon, c.URL, "--as", "late")
			s.Version = client.version
			a := startAgent(t, client.sdk, s)
			wantToolError(t, a.do(t, with(tool("echo", map[string]any{"message": "hi"}), patient)), "late")
			wantError(t, a.do(t, with(read("tools/list", nil), patient)), "late")
			agents = append(agents, a)
		}
		_, port, _ := strings.Cut(late, ":")
		number := 0
		if _, err := fmt.Sscan(port, &number); err != nil {
			t.Fatal(err)
		}
		idp := party.OIDC(t, party.OIDCConfig{Port: number, TTL: b.life, Clients: []party.OIDCClient{party.PostClient("agent", "secret")}, Audiences: map[string]string{mcpResource: "mcp"}})
		keys := keysOf(t, idp)
		first, second := bearerJudge(b.keys, b.idp.Issuer), bearerJudge(keys, idp.Issuer)
		c.judges(func(r *http.Request, body []byte) (string, error) {
			if version, err := second(r, body); err == nil {
				return version, nil
			}
			return first(r, body)
		})
		for _, a := range agents {
			err := party.Poll(40*time.Second, func() error {
				if o := a.do(t, with(tool("echo", map[string]any{"message": "hi"}), patient)); o.text() != "Echo: hi" {
					return errors.New(o.text())
				}
				return nil
			})
			if err != nil {
				t.Errorf("once it is up: %v", err)
			}
			a.close(t)
		}
	})
	t.Run("a tool that takes too long", func(t *testing.T) {
		b.eachClient(t, nil, []string{c.URL, "--as", "token", "--tool-timeout", "1s"}, func(t *testing.T, a *agent) {
			o := a.do(t, with(tool("trigger-long-running-operation", map[string]any{"duration": 30, "steps": 60}), func(o *op) { o.Progress = true }))
			wantToolError(t, o, "1s")
			if o.Took > 15_000 {
				t.Errorf("it took %d ms", o.Took)
			}
			if o := a.call(t, "echo", map[string]any{"message": "hi"}); o.text() != "Echo: hi" {
				t.Errorf("after: %s", o.text())
			}
		})
	})
	t.Run("read-only", func(t *testing.T) {
		b.eachClient(t, nil, []string{c.URL, "--as", "token", "--read-only", "--read-tool", "trigger-sampling-*", "--write-tool", "get-env"}, func(t *testing.T, a *agent) {
			names := a.do(t, read("tools/list", nil)).names("tools")
			if !slices.Contains(names, "echo") || !slices.Contains(names, "trigger-sampling-request") || slices.Contains(names, write) || slices.Contains(names, "get-env") {
				t.Errorf("tools: got %v", names)
			}
			before := c.count("tools/call")
			for _, name := range []string{write, "get-env", "none"} {
				wantToolError(t, a.call(t, name, nil), "operator")
			}
			if got := c.count("tools/call") - before; got != 0 {
				t.Errorf("the server was called %d times", got)
			}
			if o := a.call(t, "echo", map[string]any{"message": "hi"}); o.text() != "Echo: hi" {
				t.Errorf("echo: %s", o.text())
			}
		})
	})
	t.Run("an allowlist that is empty", func(t *testing.T) {
		b.eachClient(t, nil, []string{c.URL, "--as", "token", "--allow-tool", ""}, func(t *testing.T, a *agent) {
			if o := a.do(t, read("tools/list", nil)); o.Error != nil || len(o.names("tools")) != 0 {
				t.Errorf("tools: got %s %v, want none", o.text(), o.names("tools"))
			}
			wantToolError(t, a.call(t, "echo", map[string]any{"message": "hi"}), "operator")
		})
	})
	t.Run("a profile that is unknown", func(t *testing.T) {
		b.eachClient(t, nil, []string{c.URL, "--as", "token", "--profile", "two=token", "--profile-parameter", "account"}, func(t *testing.T, a *agent) {
			sessions := map[string]bool{}
			for _, account := range []string{"two", "token"} {
				if o := a.call(t, "echo", map[string]any{"message": "hi", "account": account}); o.text() != "Echo: hi" {
					t.Errorf("%s: %s", account, o.text())
				}
				session, body := c.last("tools/call")
				if sessions[session] = true; strings.Contains(body, "account") {
					t.Errorf("the parameter goes on: %s", body)
				}
			}
			if len(sessions) != 2 {
				t.Errorf("sessions: got %v, want one for each profile", sessions)
			}
			wantToolError(t, a.call(t, "echo", map[string]any{"message": "hi", "account": "three"}), "token, two")
		})
	})
	t.Run("a tool that is not as it was pinned", func(t *testing.T) {
		pin := filepath.Join(t.TempDir(), "tools.json")
		run := func(args ...string) ended {
			return runToEnd(t, callerEnv(b.daemon.home), slices.Concat([]string{b.daemon.binary, "mcp", "pin", "--config", b.daemon.config, c.URL, "--as", "token", "--file", pin}, args)...)
		}
		if got := run(); got.code != 0 {
			t.Fatalf("pin: exit %d\n%s%s", got.code, got.stdout, got.stderr)
		}
		if got := run("--check"); got.code != 0 {
			t.Errorf("pin --check of what was pinned: exit %d\n%s%s", got.code, got.stdout, got.stderr)
		}
		text := readFile(pin)
		changed := strings.Replace(text, "Echoes back the input string", "Echoes back what an operator has looked at", 1)
		if changed == text {
			t.Fatalf("the snapshot has no description: %s", text)
		}
		if err := os.WriteFile(pin, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := run("--check"); got.code != 4 || !strings.Contains(got.stdout+got.stderr, "an operator has looked at") || !strings.Contains(got.stdout+got.stderr, "the input string") {
			t.Errorf("pin --check of something else: exit %d\n%s%s", got.code, got.stdout, got.stderr)
		}
		b.eachClient(t, bare, []string{c.URL, "--as", "token", "--pin", pin}, func(t *testing.T, a *agent) {
			wantToolError(t, a.call(t, "echo", map[string]any{"message": "hi"}), "pinned")
			if o := a.call(t, "get-sum", map[string]any{"a": 1, "b": 2}); o.text() != "The sum of 1 and 2 is 3." {
				t.Errorf("get-sum: %s", o.text())
			}
			if names := a.do(t, read("tools/list", nil)).names("tools"); slices.Contains(names, "echo") || !slices.Contains(names, "get-sum") {
				t.Errorf("tools: got %v", names)
			}
		})
	})
	t.Run("approval at the agent", func(t *testing.T) {
		asking := []string{c.URL, "--as", "token", "--approve", "writes"}
		b.eachClient(t, nil, asking, func(t *testing.T, a *agent) {
			if o := a.call(t, write, nil); !strings.HasPrefix(o.text(), "Started simulated") {
				t.Errorf("accepted: %s", o.text())
			}
			if got := a.questions("roots/list"); len(got) != 1 || !strings.Contains(jsonOf(got), write) {
				t.Errorf("asked: %s", jsonOf(got))
			}
			a.forget()
			if o := a.call(t, "echo", map[string]any{"message": "hi"}); o.text() != "Echo: hi" || len(a.questions("roots/list")) > 0 {
				t.Errorf("a tool that reads: %s, asked %v", o.text(), a.questions("roots/list"))
			}
		})
		b.eachClient(t, func(s *agentSettings) { s.Answer = map[string]any{"action": "decline"} }, asking, func(t *testing.T, a *agent) {
			before := c.count("tools/call")
			wantToolError(t, a.call(t, write, nil))
			if got := c.count("tools/call") - before; got != 0 {
				t.Errorf("declined: the server was called")
			}
		})
	})
	t.Run("approval by the operator", func(t *testing.T) {
		b.eachClient(t, bare, []string{c.URL, "--as", "token", "--approve", "writes"}, func(t *testing.T, a *agent) {
			before := c.count("tools/call")
			came := a.start(t, callOf(write, map[string]any{"by": a.ready["version"]})) // a decision is for the same arguments
			id := b.pending(t, write)
			if got := c.count("tools/call") - before; got != 0 {
				t.Errorf("the server was called before anybody approved")
			}
			if got := b.approve(t, id); got.code != 0 {
				t.Errorf("approve: exit %d\n%s%s", got.code, got.stdout, got.stderr)
			}
			if o := <-came; !strings.HasPrefix(o.text(), "Started simulated") {
				t.Errorf("approved: %s", o.text())
			}
			if got := b.approve(t, id); got.code == 0 {
				t.Errorf("approve, once more: %s%s", got.stdout, got.stderr)
			}
			before = c.count("tools/call")
			came = a.start(t, callOf(write, map[string]any{"again by": a.ready["version"]}))
			if got := b.approve(t, "--deny", b.pending(t, write)); got.code != 0 {
				t.Errorf("deny: exit %d\n%s%s", got.code, got.stdout, got.stderr)
			}
			wantToolError(t, <-came)
			if got := c.count("tools/call") - before; got != 0 {
				t.Errorf("denied: the server was called")
			}
		})
		if audit := readFile(b.daemon.audit); !strings.Contains(audit, "approved") || !strings.Contains(audit, "denied") {
			t.Error("the audit log does not say who approved and denied")
		}
	})
	t.Run("approval that comes too late", func(t *testing.T) {
		settings := b.http("/brief")
		settings.Bare = true
		a := startAgent(t, "sdk", settings)
		wantToolError(t, a.call(t, write, nil), "freshet approve")
		id := b.pending(t, write)
		err := party.Poll(20*time.Second, func() error {
			if got := runToEnd(t, callerEnv(b.daemon.home), b.daemon.binary, "approve", "--config", b.daemon.config); strings.Contains(got.stdout, id) {
				return errors.New(got.stdout)
			}
			return nil
		})
		if err != nil {
			t.Errorf("it waits still: %v", err)
		}
		if got := b.approve(t, id); got.code == 0 {
			t.Errorf("approve: exit 0: %s", got.stdout)
		}
		wantToolError(t, a.call(t, write, nil), "freshet approve")
		if got := b.approve(t, b.pending(t, write)); got.code != 0 {
			t.Errorf("approve: exit %d\n%s%s", got.code, got.stdout, got.stderr)
		}
		if o := a.call(t, write, nil); !strings.HasPrefix(o.text(), "Started simulated") {
			t.Errorf("called again once it is approved: %s", o.text())
		}
		a.close(t)
	})
	t.Run("gateway", func(t *testing.T) {
		good := b.http("/mcp")
		for name, headers := range map[string]map[string]string{
			"without a secret":     {},
			"with a wrong secret":  {"Authorization": "Bearer wrong-" + b.secret},
			"from a page":          {"Authorization": "Bearer " + b.secret, "Origin": "http://evil.example"},
			"for somebody else":    {"Authorization": "Bearer " + b.secret, "X-Forwarded-For": "192.0.2.1"},
			"with another scheme":  {"Authorization": "Basic " + b.secret},
			"with an empty bearer": {"Authorization": "Bearer "},
		} {
			for _, client := range clients {
				before := c.count("")
				if _, failed := tryAgent(t, client.sdk, agentSettings{URL: good.URL, Headers: headers, Version: client.version}); failed == nil {
					t.Errorf("%s, %s: it is let in", name, client.sdk)
				} else if strings.Contains(fmt.Sprint(failed), b.secret) {
					t.Errorf("%s: the secret is told: %v", name, failed)
				}
				if c.count("") != before {
					t.Errorf("%s: the server was asked", name)
				}
			}
		}
		// Who is not let in does not learn which paths there are.
		answers := map[string]bool{}
		for _, path := range []string{"/mcp", "/none", "/brief", "/"} {
			resp, err := http.Post("http://"+b.gateway+path, "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			answers[resp.Status] = true
		}
		if !reflect.DeepEqual(answers, map[string]bool{"401 Unauthorized": true}) {
			t.Errorf("paths that are there and that are not: got %v", answers)
		}
	})
	t.Run("a session of another caller", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("needs root, to be two users")
		}
		curl := party.Curl(t)
		post := func(uid uint32, session, body string) (status, came string) {
			t.Helper()
			args := []string{"-sS", "-D", "-", "--max-time", "20", "--unix-socket", socket, "-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream", "-d", body}
			if session != "" {
				args = append(args, "-H", "Mcp-Session-Id: "+session)
			}
			cmd := exec.Command(curl, append(args, "http://localhost/mcp")...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("curl: %v\n%s", err, out)
			}
			line, _, _ := strings.Cut(string(out), "\r\n")
			return strings.Fields(line)[1], string(out)
		}
		status, came := post(0, "", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}`)
		_, rest, found := strings.Cut(strings.ToLower(came), "mcp-session-id: ")
		if status != "200" || !found {
			t.Fatalf("initialize: %s", came)
		}
		lower, _, _ := strings.Cut(rest, "\r\n")
		session := came[strings.Index(strings.ToLower(came), lower):][:len(lower)]
		post(0, session, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		const list = `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
		const nobody = 65534
		if status, came := post(nobody, session, list); status == "200" || strings.Contains(came, "echo") {
			t.Errorf("another user: %s", came)
		}
		if status, came := post(0, session, list); status != "200" || !strings.Contains(came, `"echo"`) {
			t.Errorf("its own user, after that: %s", came)
		}
	})
	t.Run("an address that is not safe", func(t *testing.T) {
		for _, client := range clients {
			s := b.stdio(overDaemon, "http://mcp.example.com/mcp", "--as", "token")
			s.Version = client.version
			a, failed := tryAgent(t, client.sdk, s)
			if failed == nil {
				t.Errorf("%s: http is taken", client.sdk)
			}
			if client.sdk == "client" {
				continue // it looks at a first process of its own, and shows nothing of what that says
			}
			err := party.Poll(10*time.Second, func() error {
				if !strings.Contains(a.proc.Log(), "https") {
					return errors.New("https is not named")
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v: %s", client.sdk, err, a.proc.Log())
			}
		}
	})
	if strangers := c.strangers(); len(strangers) > 0 {
		t.Errorf("%d requests were not signed as they should be: %q", len(strangers), strangers)
	}
}

// pending waits until a call of a tool waits for the operator, and returns its id.
func (b *bridge) pending(t *testing.T, tool string) (id string) {
	t.Helper()
	err := party.Poll(20*time.Second, func() error {
		got := runToEnd(t, callerEnv(b.daemon.home), b.daemon.binary, "approve", "--config", b.daemon.config, "--json")
		var all struct {
			Approvals []struct{ ID, Tool string }
		}
		if err := json.Unmarshal([]byte(got.stdout), &all); err != nil {
			return fmt.Errorf("%w: %s%s", err, got.stdout, got.stderr)
		}
		for _, each := range all.Approvals {
			if each.Tool == tool {
				id = each.ID
				return nil
			}
		}
		return errors.New("nothing waits")
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// approve is freshet approve.
func (b *bridge) approve(t *testing.T, args ...string) ended {
	t.Helper()
	return runToEnd(t, callerEnv(b.daemon.home), append([]string{b.daemon.binary, "approve", "--config", b.daemon.config}, args...)...)
}
