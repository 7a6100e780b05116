package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// agent is an MCP client whose server is freshet mcp.
type mcpAgent struct {
	*sdk.ClientSession
	w      *world
	cmd    *exec.Cmd
	stderr *buffer
}

// agent starts freshet mcp and connects to it, as an MCP client does.
func (w *world) agent(o *sdk.ClientOptions, args ...string) *mcpAgent {
	w.Helper()
	a := &mcpAgent{w: w, cmd: w.command("freshet", append([]string{"mcp"}, args...)...), stderr: new(buffer)}
	a.cmd.Stderr = a.stderr
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	a.ClientSession, err = sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "1"}, o).Connect(ctx, &sdk.CommandTransport{Command: a.cmd}, nil)
	if err != nil {
		w.Fatalf("%v: %v; it said:\n%s", a.cmd.Args, err, a.stderr)
	}
	w.Cleanup(func() { _ = a.ClientSession.Close() })
	return a
}

// call calls a tool and returns its text.
func (a *mcpAgent) call(tool string, arguments map[string]any) (text string, failed bool) {
	a.w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	r, err := a.CallTool(ctx, &sdk.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		return "error: " + err.Error(), true
	}
	for _, c := range r.Content {
		if t, ok := c.(*sdk.TextContent); ok {
			text += t.Text
		}
	}
	return text, r.IsError
}

// tools are the names of the tools that an agent sees.
func (a *mcpAgent) tools() (names []string) {
	a.w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := a.ListTools(ctx, nil)
	if err != nil {
		a.w.Errorf("tools/list: %v; it said:\n%s", err, a.stderr)
		return nil
	}
	for _, t := range list.Tools {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names
}

const mcpConfig = proxyConfig + `  down: {source: process, command: [sh, -c, 'echo log in first >&2; exit 1'], lifetime: 1h}
`

func withBridges(t *testing.T, f func(w *world, s *mcpServer)) {
	t.Parallel()
	for _, mode := range []string{"daemon", "private"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("keys.json", proxyKeys)
			w.write("c.yaml", mcpConfig)
			if mode == "daemon" {
				w.serve()
			}
			f(w, newMCPServer(t, "tok"))
		})
	}
}

// TestAgentUsesToolsWithoutAKey drives freshet mcp as an MCP client does.
func TestAgentUsesToolsWithoutAKey(t *testing.T) {
	withBridges(t, func(w *world, s *mcpServer) {
		a := w.agent(nil, s.URL, "--as", "hello", "--metadata", "team=a=b", "--metadata", "x=y")
		if got := a.tools(); !slices.Equal(got, []string{"hang", "read_it", "write_it"}) {
			w.Errorf("it sees %q", got)
		}
		if text, failed := a.call("write_it", map[string]any{"n": 1}); text != "did write_it" || failed || !slices.Equal(s.called(), []string{`write_it {"n":1}`}) {
			w.Errorf("got %q, %v; the server %q", text, failed, s.called())
		}
		if m := s.lastMeta(); m["team"] != "a=b" || m["x"] != "y" {
			w.Errorf("the server saw _meta %v", m)
		}
		read := w.agent(nil, s.URL, "--as", "hello", "--read-only", "--deny-tool", "x*")
		if got := read.tools(); !slices.Equal(got, []string{"read_it"}) {
			w.Errorf("with --read-only it sees %q", got)
		}
		if text, failed := read.call("write_it", nil); !failed || len(s.called()) != 1 {
			w.Errorf("with --read-only: got %q, %v", text, failed)
		}
		if got := w.agent(nil, s.URL, "--as", "hello", "--allow-tool", "").tools(); len(got) != 0 {
			w.Errorf("with an empty list it sees %q", got)
		}
		if got := w.agent(nil, s.URL, "--profile", "hello", "--allow-tool", "w*").tools(); !slices.Equal(got, []string{"write_it"}) {
			w.Errorf("with --allow-tool it sees %q", got)
		}
	})
}

// TestBridgeOfTheConfigurationGoesByItsName: with the tools of several servers, and each pinned by its own name.
func TestBridgeOfTheConfigurationGoesByItsName(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"daemon", "private"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w, s := newWorld(t), newMCPServer(t, "tok")
			w.write("keys.json", proxyKeys)
			w.write("c.yaml", mcpConfig+"mcp:\n  - name: both\n    upstreams:\n      - {name: a, url: "+s.URL+", identity: hello}\n      - {name: b, url: "+s.URL+", identity: hello, tools: {allow: [write_it]}}\n")
			if mode == "daemon" {
				w.serve()
			}
			if got := w.agent(nil, "both").tools(); !slices.Equal(got, []string{"a_hang", "a_read_it", "a_write_it", "b_write_it"}) {
				t.Errorf("it sees %q", got)
			}
			if got := w.agent(nil, "both", "--read-only").tools(); !slices.Equal(got, []string{"a_read_it"}) {
				t.Errorf("with --read-only it sees %q", got)
			}
			if out, _ := w.freshet(0, "mcp", "pin", "both", "--upstream", "b"); !strings.Contains(out, "does read_it") {
				t.Errorf("pin: got %q", out)
			}
			if _, stderr := w.freshet(2, "mcp", "pin", "both"); !strings.Contains(stderr, "several servers") {
				t.Errorf("pin without --upstream: got %q", stderr)
			}
			if _, stderr := w.freshet(2, "mcp", "pin", "both", "--upstream", "nope"); !strings.Contains(stderr, `both has no server "nope"`) || !strings.Contains(stderr, "--upstream: a, b\n") {
				t.Errorf("pin of a server that is none: got %q", stderr)
			}
			if _, stderr := w.freshet(2, "mcp", "pin", "neither"); !strings.Contains(stderr, "\nhint: there are: both\n") {
				t.Errorf("pin of a bridge that is none: got %q", stderr)
			}
			if out, _ := w.freshet(0, "__complete", "mcp", ""); !strings.Contains(out, "\nhttps://\nboth\n") {
				t.Errorf("completion: got %q", out)
			}
			if out, _ := w.freshet(0, "check"); !strings.HasSuffix(out, "1 bridge\n") {
				t.Errorf("check: got %q", out)
			}
		})
	}
}

// TestAgentStartsWhileAllIsDown: neither the issuer nor the server is needed for that, and the call says what is wrong.
func TestAgentStartsWhileAllIsDown(t *testing.T) {
	withBridges(t, func(w *world, s *mcpServer) {
		a := w.agent(nil, s.URL, "--as", "down", "--tool-timeout", "2")
		if text, failed := a.call("read_it", nil); !failed || strings.HasPrefix(text, "error: ") {
			w.Errorf("the issuer is down: got %q, %v", text, failed)
		}
		c := w.agent(nil, s.URL, "--as", "withheld")
		if text, failed := c.call("read_it", nil); !failed || !strings.Contains(text, "release: false") {
			w.Errorf("a denial: got %q, %v", text, failed)
		}
		b := w.agent(nil, "http://127.0.0.1:1/mcp", "--as", "hello", "--retries", "0")
		if text, failed := b.call("read_it", nil); !failed {
			w.Errorf("the server is down: got %q, %v", text, failed)
		}
	})
}

// TestMCPEndsWithItsAgent: at the end of its input and at a signal, with exit code 0, and also while a call hangs.
func TestMCPEndsWithItsAgent(t *testing.T) {
	withBridges(t, func(w *world, s *mcpServer) {
		for _, how := range []string{"input", "SIGTERM", "SIGINT"} {
			cmd := w.command("freshet", "mcp", s.URL, "--as", "hello")
			in, err := cmd.StdinPipe()
			if err != nil {
				w.Fatal(err)
			}
			before := len(s.called())
			r := w.begin(cmd)
			fmt.Fprintln(in, initialize+"\n"+initialized+"\n"+`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hang","arguments":{}}}`)
			w.await("the call hangs", func() bool { return len(s.called()) > before })
			switch how {
			case "input":
				in.Close()
			case "SIGTERM":
				r.signal(syscall.SIGTERM)
			case "SIGINT":
				r.signal(syscall.SIGINT)
			}
			if code := r.wait(); code != 0 || r.stderr.String() != "" {
				w.Errorf("%s: got exit code %d, %q", how, code, r.stderr.String())
			}
			for line := range strings.Lines(r.stdout.String()) {
				if !strings.HasPrefix(line, `{"jsonrpc":"2.0",`) {
					w.Errorf("%s: standard output has %q", how, line)
				}
			}
		}
	})
}

// TestAgentOutlivesTheDaemon: a call under way is answered, once, and what comes next goes to the next daemon.
func TestAgentOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", mcpConfig)
	s := newMCPServer(t, "tok")
	d := w.serve()
	a := w.agent(nil, s.URL, "--as", "hello")
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		before := len(s.called())
		type outcome struct {
			text   string
			failed bool
		}
		under := make(chan outcome, 1)
		go func() {
			text, failed := a.call("hang", nil)
			under <- outcome{text, failed}
		}()
		w.await("the call is under way", func() bool { return len(s.called()) == before+1 })
		d.signal(end)
		d.wait()
		got := <-under
		if !got.failed || end == syscall.SIGKILL && !strings.Contains(got.text, "nobody knows whether it ran") {
			t.Errorf("%v: got %+v", end, got)
		}
		d = w.serve()
		if text, failed := a.call("read_it", nil); failed || text != "did read_it" {
			t.Errorf("%v: afterwards: got %q, %v; it said:\n%s", end, text, failed, a.stderr)
		}
		if n := len(s.called()); n != before+2 {
			t.Errorf("%v: the server was called %d times, want 2", end, n-before)
		}
	}
}

// TestAgentGoesOnWithoutADaemon: one that does not come back is done without.
func TestAgentGoesOnWithoutADaemon(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a daemon that does not come")
	}
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", mcpConfig)
	s := newMCPServer(t, "tok")
	d := w.serve()
	a := w.agent(nil, s.URL, "--as", "hello", "--log-level", "info")
	a.tools()
	d.signal(syscall.SIGKILL)
	d.wait()
	if text, failed := a.call("read_it", nil); failed || text != "did read_it" {
		t.Errorf("got %q, %v; it said:\n%s", text, failed, a.stderr)
	}
	if !strings.Contains(a.stderr.String(), "this process is the bridge itself") {
		t.Errorf("it said:\n%s", a.stderr)
	}
}

// TestCallWaitsForAnOperator: freshet approve shows it whole, and lets it go on, or not.
func TestCallWaitsForAnOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", mcpConfig)
	s := newMCPServer(t, "tok")
	w.serve()
	a := w.agent(nil, s.URL, "--as", "hello", "--approve", "writes")
	if text, failed := a.call("read_it", nil); failed {
		t.Errorf("what reads need not be approved: got %q", text)
	}
	if out, stderr := w.freshet(0, "approve"); out != "" || stderr != "freshet: no call waits for an approval\n" {
		t.Errorf("nothing waits: got %q, %q", out, stderr)
	}
	if out, stderr := w.freshet(0, "approve", "--all"); out != "" || stderr != "freshet: no call waits for an approval\n" {
		t.Errorf("nothing waits, of all: got %q, %q", out, stderr)
	}
	if _, stderr := w.freshet(2, "approve", ""); !strings.Contains(stderr, "an ID is empty") {
		t.Errorf("an empty ID: got %q", stderr)
	}
	for _, word := range []string{"approve", "deny"} {
		before := len(s.called())
		done := make(chan string, 1)
		go func() {
			text, failed := a.call("write_it", map[string]any{"name": "all\x1b[2J", "word": word})
			done <- fmt.Sprint(text, failed)
		}()
		var id string
		w.await("it waits", func() bool {
			out, err := w.command("freshet", "approve").Output()
			rows := strings.Split(strings.TrimSpace(string(out)), "\n")
			if err != nil || len(rows) != 2 {
				return false
			}
			id = strings.Fields(rows[1])[0]
			if !strings.Contains(rows[1], strings.TrimPrefix(s.URL, "http://")+" (hello)") || !strings.Contains(rows[1], "write_it") || !strings.HasSuffix(rows[1], `{"name":"all\u001b[2J","word":"`+word+`"}`) {
				t.Errorf("it shows %q", rows[1])
			}
			return true
		})
		if out, _ := w.freshet(0, "approve", "--json"); !strings.HasPrefix(out, `{"approvals":[{"id":"`+id+`","bridge":`) || strings.Count(out, "\n") != 1 {
			t.Errorf("JSON: got %q", out)
		}
		if out, _ := w.freshet(0, "__complete", "approve", ""); !strings.HasPrefix(out, id+"\twrite_it for ") {
			t.Errorf("completion: got %q", out)
		}
		args := map[string][]string{"approve": {"approve", id}, "deny": {"approve", "--deny", id}}[word]
		said := map[string]string{"approve": "approved", "deny": "refused"}[word]
		if out, stderr := w.freshet(0, args...); out != "" || stderr != "freshet: "+id+": "+said+"\n" {
			t.Errorf("%s: got %q, %q", word, out, stderr)
		}
		got := <-done
		if word == "approve" && (got != "did write_itfalse" || len(s.called()) != before+1) || word == "deny" && (!strings.HasSuffix(got, "true") || len(s.called()) != before) {
			t.Errorf("%s: got %q; the server %q", word, got, s.called())
		}
		if _, stderr := w.freshet(2, "approve", id, "nosuch"); strings.Count(stderr, "\nhint: ") == 0 || strings.Count(stderr, "freshet: ") != 2 || !strings.Contains(stderr, id+": ") || !strings.Contains(stderr, "nosuch: ") {
			t.Errorf("twice: got %q", stderr)
		}
	}
}

// TestApproveNeedsADaemon.
func TestApproveNeedsADaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", mcpConfig)
	if out, stderr := w.freshet(5, "approve", "x"); out != "" || !strings.Contains(stderr, "no daemon is running") || !strings.Contains(stderr, "\nhint: ") {
		t.Errorf("got %q, %q", out, stderr)
	}
	s := newMCPServer(t, "tok")
	a := w.agent(nil, s.URL, "--as", "hello", "--approve", "all")
	if text, failed := a.call("write_it", nil); !failed || !strings.Contains(text, "no daemon") || !strings.Contains(text, "freshet serve") || len(s.called()) != 0 {
		t.Errorf("a bridge of its own: got %q, %v", text, failed)
	}
}

// TestPinnedToolsAreWrittenDown: the file is made, compared with and written anew, and drift is refused by the bridge.
func TestPinnedToolsAreWrittenDown(t *testing.T) {
	withBridges(t, func(w *world, s *mcpServer) {
		pin := func(code int, args ...string) (string, string) {
			return w.freshet(code, append([]string{"mcp", "pin", s.URL, "--as", "hello"}, args...)...)
		}
		if _, stderr := pin(2, "--file", "pin.json", "--check"); !strings.Contains(stderr, "no such file") {
			w.Errorf("--check without a file: %q", stderr)
		}
		printed, _ := pin(0)
		if out, stderr := pin(0, "--file", "pin.json"); out != "" || stderr != "freshet: pin.json: 3 tools written\n" || w.read("pin.json") != printed || !strings.Contains(printed, "does write_it") {
			w.Errorf("got %q, %q, and the file\n%s", out, stderr, w.read("pin.json"))
		}
		if info, err := os.Stat(w.path("pin.json")); err != nil || info.Mode().Perm() != 0o644 {
			w.Errorf("%v, %v", info, err)
		}
		if out, stderr := pin(0, "--file", "pin.json", "--check"); out != "" || !strings.Contains(stderr, "as in it (3 tools)") {
			w.Errorf("no drift: %q, %q", out, stderr)
		}
		s.sdk.AddTool(&sdk.Tool{Name: "write_it", Description: "does \x1b[2J more", InputSchema: map[string]any{"type": "object"}}, func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			return nil, errors.New("it was called")
		})
		for _, args := range [][]string{{"--check"}, {}} {
			out, stderr := pin(4, append([]string{"--file", "pin.json"}, args...)...)
			if !strings.HasPrefix(out, "write_it: changed\n") || !strings.Contains(out, "more") || strings.Contains(out, "\x1b") || !strings.Contains(stderr, "1 tool is not as in it") || !strings.Contains(stderr, "--update") || w.read("pin.json") != printed {
				w.Errorf("drift, %q: got %q, %q", args, out, stderr)
			}
		}
		a := w.agent(nil, s.URL, "--as", "hello", "--pin", "pin.json")
		if got := a.tools(); !slices.Equal(got, []string{"hang", "read_it"}) {
			w.Errorf("pinned: it sees %q", got)
		}
		if text, failed := a.call("write_it", nil); !failed || strings.Contains(text, "it was called") || strings.Contains(text, "more") || !strings.Contains(text, "description") {
			w.Errorf("pinned: got %q", text)
		}
		if out, stderr := pin(0, "--file", "pin.json", "--update"); !strings.HasPrefix(out, "write_it: changed\n") || stderr != "freshet: pin.json: 3 tools written\n" || w.read("pin.json") == printed {
			w.Errorf("--update: got %q, %q", out, stderr)
		}
		if left, _ := os.ReadDir(w.dir); slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".freshet-") }) {
			w.Errorf("%v is left", left)
		}
	})
}

// TestPinnedToolsAreWrittenWhereTheFileIsNotThere: the configuration names it before it can be, and what says so says how it is written.
func TestPinnedToolsAreWrittenWhereTheFileIsNotThere(t *testing.T) {
	t.Parallel()
	w, s := newWorld(t), newMCPServer(t, "tok")
	w.write("keys.json", proxyKeys)
	entry := "{name: tools, upstreams: [{name: a, url: " + s.URL + ", identity: hello, pin: " + w.path("pin.json") + "}]}\n"
	written := "freshet mcp pin " + s.URL + " --as hello --file " + w.path("pin.json") + " --config " + w.path("c.yaml")
	kept := strings.Replace(mcpConfig, "hello: {", "hello: {release: false, ", 1)
	for config, hint := range map[string]string{mcpConfig: written, kept: strings.Replace(written, s.URL+" --as hello", "tools", 1)} {
		w.write("c.yaml", config+"mcp:\n  - "+entry)
		for _, args := range [][]string{{"mcp", "tools"}, {"serve"}} {
			if _, stderr := w.freshet(2, args...); !strings.Contains(stderr, "pin: cannot be read") || !strings.Contains(stderr, "write it first: "+hint+"\n") {
				t.Errorf("%q: got %q, want %q", args, stderr, hint)
			}
		}
	}
	w.write("c.yaml", mcpConfig+"mcp:\n  - "+entry)
	if _, stderr := w.freshet(0, "mcp", "pin", "tools", "--file", "pin.json"); stderr != "freshet: pin.json: 3 tools written\n" {
		t.Errorf("by its name: got %q", stderr)
	}
	pinned := w.read("pin.json")
	if err := os.Remove(w.path("pin.json")); err != nil {
		t.Fatal(err)
	}
	if w.freshet(0, strings.Fields(written)[1:]...); w.read("pin.json") != pinned {
		t.Errorf("as the hint has it:\n%s\nby its name:\n%s", w.read("pin.json"), pinned)
	}
	w.serve()
	if got := w.agent(nil, "tools").tools(); !slices.Equal(got, []string{"hang", "read_it", "write_it"}) {
		t.Errorf("with the file it sees %q", got)
	}
	if err := os.Remove(w.path("pin.json")); err != nil {
		t.Fatal(err)
	}
	// A daemon that has the bridge goes on with it.
	if w.freshet(0, "mcp", "pin", "tools", "--file", "pin.json"); w.read("pin.json") != pinned {
		t.Errorf("by the daemon:\n%s", w.read("pin.json"))
	}
}

// TestBridgesThatCannotBeAreRefused at once, and not by the first call.
func TestBridgesThatCannotBeAreRefused(t *testing.T) {
	withBridges(t, func(w *world, s *mcpServer) {
		w.write("bad.json", "{")
		for _, test := range []struct {
			args []string
			code int
			want string
		}{
			{nil, 2, "URL or NAME is missing"},
			{[]string{s.URL}, 2, "--as is missing"},
			{[]string{"http://mcp.example.com/mcp", "--as", "hello"}, 2, "URL: http to another host"},
			{[]string{"https://me:pw@mcp.example.com/mcp", "--as", "hello"}, 2, "URL: a URL with a name or password in it"},
			{[]string{s.URL, "--as", "nobody"}, 2, `unknown identity "nobody"`},
			{[]string{s.URL, "--as", "hello", "--profile", "="}, 2, `--profile: "=" is not NAME=IDENTITY`},
			{[]string{s.URL, "--as", "hello", "--profile", "keys,keys"}, 2, `--profile: two are named "keys"`},
			{[]string{s.URL, "--as", "hello", "--profile-parameter", "p"}, 2, "--profile-parameter goes with a --profile"},
			{[]string{s.URL, "--as", "hello", "--metadata", "a"}, 2, `--metadata: "a" is not KEY=VALUE`},
			{[]string{s.URL, "--as", "hello", "--retries", "11"}, 2, "--retries: want 0 to 10"},
			{[]string{s.URL, "--as", "hello", "--sessions", "0"}, 2, "--sessions: want 1 to 100"},
			{[]string{s.URL, "--as", "hello", "--tool-timeout", "0"}, 2, "want a duration of at most"},
			{[]string{s.URL, "--as", "hello", "--log-level", "loud"}, 2, `--log-level: unknown level "loud"`},
			{[]string{s.URL, "--as", "hello", "--approve", "some"}, 2, `--approve: unknown word "some"`},
			{[]string{s.URL, "--as", "hello", "--approve", ""}, 2, `--approve: unknown word ""`},
			{[]string{s.URL, "--as", "hello", "--pin", ""}, 2, "--pin is empty"},
			{[]string{s.URL, "--as", "hello", "--profile", "keys", "--profile-parameter", "a b"}, 2, "--profile-parameter: want an argument's name"},
			{[]string{s.URL, "--as", "hello", "--allow-tool", "a*b"}, 2, "--allow-tool: a * that is not at the end"},
			{[]string{s.URL, "--as", "hello", "--pin", "none"}, 2, "--pin none: no such file"},
			{[]string{s.URL, "--as", "hello", "--pin", "bad.json"}, 2, "--pin bad.json: "},
			{[]string{s.URL, "--as", "hello", "--signer", "magic"}, 2, `unknown signer "magic"`},
			{[]string{s.URL, "--as", "hello", "--header", "a", "--service", "s3"}, 2, "a header is a setting of the signer bearer"},
			{[]string{s.URL, "--as", "keys", "--signer", "sigv4", "--region", "us-east-1"}, 2, "--service: the upstream's host does not tell which it is"},
			{[]string{s.URL, "--as", "hello", "--ca-file", "none"}, 2, "ca_file: cannot be read"},
			{[]string{"example.com/mcp", "--as", "hello"}, 2, "not a URL: write https://example.com/mcp\n"},
			{[]string{"me:pw@example.com", "--as", "hello"}, 2, "not a URL: write https://example.com\n"},
			{[]string{"pin", "http://127.0.0.1:1/mcp", "--as", "hello"}, 5, "connection refused\nhint: see whether the URL is right, and the server runs\n"},
			{[]string{s.URL, "--as", "hello", "more"}, 2, `one argument too many: "more"`},
			{[]string{"tools", "--as", "hello"}, 2, "--as goes with a URL: tools is an entry of mcp:"},
			{[]string{"tools"}, 2, "tools"},
			{[]string{"pin", s.URL, "--as", "hello", "--check"}, 2, "--file is missing"},
			{[]string{"pin", s.URL, "--as", "hello", "--file", "f", "--check", "--update"}, 2, "--check and --update are either or"},
			{[]string{"pin", s.URL, "--as", "hello", "--upstream", "x"}, 2, "--upstream goes with an entry"},
		} {
			out, stderr := w.freshet(test.code, append([]string{"mcp"}, test.args...)...)
			if out != "" || !strings.Contains(stderr, test.want) || !strings.Contains(stderr, "\nhint: ") || strings.Contains(stderr, "pw@") {
				w.Errorf("%q: got %q, %q, want %s and a hint", test.args, out, stderr, test.want)
			}
		}
	})
}

// What the fronts of many agents may take beside one daemon. Measured on Linux with Go 1.26, of 259: see docs/mcp.md.
const (
	frontPrivate = 8 << 20  // of one front, memory that is no other process's
	frontsPSS    = 16 << 20 // of one front, with its share of what all have in common, which is the program's file
)

// TestFrontsAreThin starts many idle fronts beside one daemon, and adds up what the kernel says they hold.
func TestFrontsAreThin(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("starts many processes, and measures their memory")
	}
	w := newWorld(t)
	w.write("c.yaml", mcpConfig)
	s := newMCPServer(t, "tok")
	bin := w.path("freshet")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	d := w.begin(&exec.Cmd{Path: bin, Args: []string{"freshet", "serve"}, Dir: w.dir, Env: w.env})
	d.says("freshet: ready: ")
	before := w.memory(d.cmd.Process.Pid)
	n := 16
	if many := os.Getenv("FRESHET_TEST_FRONTS"); many != "" {
		var err error
		if n, err = strconv.Atoi(many); err != nil {
			t.Fatal(err)
		}
	}
	var fronts []*running
	for range n {
		cmd := &exec.Cmd{Path: bin, Args: []string{"freshet", "mcp", s.URL, "--as", "hello"}, Dir: w.dir, Env: w.env}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		r := w.begin(cmd)
		fmt.Fprintln(in, initialize+"\n"+initialized+"\n"+listTwo)
		fronts = append(fronts, r)
	}
	var all memory
	for _, r := range fronts {
		w.await("an answer", func() bool { return strings.Count(r.stdout.String(), "\n") >= 2 })
	}
	for _, r := range fronts {
		m := w.memory(r.cmd.Process.Pid)
		all.rss, all.pss, all.private = all.rss+m.rss, all.pss+m.pss, all.private+m.private
	}
	after := w.memory(d.cmd.Process.Pid)
	t.Logf("each of %d fronts: RSS %d KiB, PSS %d KiB, private %d KiB; the daemon: RSS %d KiB, %d KiB before them; in all PSS %d MiB", n, all.rss/n>>10, all.pss/n>>10, all.private/n>>10, after.rss>>10, before.rss>>10, (all.pss+after.pss)>>20)
	if all.private/n > frontPrivate || all.pss/n > frontsPSS || all.private == 0 {
		t.Errorf("a front has %d KiB of its own and %d KiB with its share, want at most %d and %d", all.private/n>>10, all.pss/n>>10, frontPrivate>>10, frontsPSS>>10)
	}
}

// memory is what a process holds, in bytes.
type memory struct{ rss, pss, private int }

func (w *world) memory(pid int) (m memory) {
	w.Helper()
	for line := range strings.Lines(w.procFile(pid, "smaps_rollup")) {
		name, rest, _ := strings.Cut(line, ":")
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
		if err != nil {
			continue
		}
		switch n <<= 10; name {
		case "Rss":
			m.rss = n
		case "Pss":
			m.pss = n
		case "Private_Clean", "Private_Dirty":
			m.private += n
		}
	}
	return m
}

// TestPinThatIsAPipeIsNotWaitedFor: nobody may ever write to it.
func TestPinThatIsAPipeIsNotWaitedFor(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, _, err := readSnapshot("--pin", pipe)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "is not a regular file") {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it waits")
	}
}
