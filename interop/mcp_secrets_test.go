package interop

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// TestMCPTellsNoSecret records each byte that agents are sent, over stdio and HTTP, and all that freshet logs at its most talkative, through
// successes and every kind of failure: no token, no key, no client's secret is in them, and of the gateway's own secret neither.
func TestMCPTellsNoSecret(t *testing.T) {
	t.Parallel()
	b := newBridge(t, 10*time.Second, true)
	server := party.MCPStateless(t, true)
	var (
		mu   sync.Mutex
		seen = map[string]bool{} // tokens that came to the upstream
	)
	remember := func(c *check) *check {
		inner := c.judge
		c.judges(func(r *http.Request, body []byte) (string, error) {
			mu.Lock()
			seen[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] = true
			mu.Unlock()
			return inner(r, body)
		})
		return c
	}
	tokens, signatures := remember(b.bearer(t, server.URL)), b.sigv4(t, server.URL)
	signing := fmt.Sprintf("identity: keys, signer: sigv4, service: %s, region: %s", mcpService, mcpRegion)
	b.serve(t, "", fmt.Sprintf(`
  - {name: tokens, listen: "@LISTEN@", path: /tokens, secret: {file: "@SECRET@"}, upstreams: [{url: %q, identity: token}]}
  - {name: keys, listen: "@LISTEN@", path: /keys, secret: {file: "@SECRET@"}, upstreams: [{url: %q, %s}]}
  - {name: two, listen: "@LISTEN@", path: /two, secret: {file: "@SECRET@"}, upstreams: [{name: tokens, url: %q, identity: token}, {name: keys, url: %q, %s}]}
`, tokens.URL, signatures.URL, signing, tokens.URL, signatures.URL, signing))
	line := newRelay(t, b.gateway)
	dir := t.TempDir()

	type talker struct {
		sdk string
		s   agentSettings
	}
	var talkers []talker
	stdio := func(way, name string, args ...string) agentSettings {
		s := b.stdio(way, append(args, "--log-level", "debug")...)
		// Between the client and freshet stands tee, which keeps what passes.
		s.Command = append([]string{"sh", "-c", `out=$1 err=$2; shift 2; "$@" 2>>"$err" | tee -a "$out"`, "sh", filepath.Join(dir, name+".out"), filepath.Join(dir, name+".err")}, s.Command...)
		return s
	}
	aws := []string{signatures.URL, "--as", "keys", "--service", mcpService, "--region", mcpRegion}
	for i, way := range []string{overDaemon, overAlone} {
		talkers = append(talkers, talker{"sdk", stdio(way, fmt.Sprint("tokens", i), tokens.URL, "--as", "token")}, talker{"client", stdio(way, fmt.Sprint("keys", i), aws...)})
	}
	for _, path := range []string{"/tokens", "/keys", "/two"} {
		s := b.http(path)
		s.URL = line.url + path
		talkers = append(talkers, talker{"sdk", s}, talker{"client", s})
	}
	var said strings.Builder
	for _, each := range talkers {
		if each.sdk == "client" {
			each.s.Version = stateless
		}
		a := startAgent(t, each.sdk, each.s)
		prefix := ""
		if strings.HasSuffix(each.s.URL, "/two") {
			prefix = "keys_"
		}
		a.do(t, read("tools/list", nil))
		if o := a.call(t, prefix+"echo", map[string]any{"message": "hi"}); o.text() != "Echo: hi" {
			t.Errorf("%v: %s", each.s, o.text())
		}
		a.call(t, prefix+"meta", nil)
		a.call(t, prefix+"none", nil)
		for _, status := range []int{401, 403, 429, 500, 302} {
			refuse := func(w http.ResponseWriter, r *http.Request, m rpc) bool {
				if m.Method != "tools/call" {
					return false
				}
				// A server that tells what it was shown, in every place that somebody might pass on.
				shown := r.Header.Get("Authorization") + " " + r.Header.Get("X-Amz-Security-Token")
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="`+strings.ReplaceAll(shown, `"`, "")+`"`)
				w.Header().Set("Location", "http://127.0.0.1:1/?"+strings.ReplaceAll(shown, " ", "+"))
				http.Error(w, shown, status)
				return true
			}
			tokens.stages(refuse)
			signatures.stages(refuse)
			o := a.call(t, prefix+"echo", map[string]any{"message": "hi"})
			if o.Result["isError"] != true {
				t.Errorf("%d: got %s, want a tool error", status, o.text())
			}
			tokens.stages(nil)
			signatures.stages(nil)
		}
		a.close(t)
		said.WriteString(a.output())
		said.WriteString(a.proc.Log())
	}
	_, failed := tryAgent(t, "sdk", agentSettings{URL: line.url + "/tokens", Headers: map[string]string{"Authorization": "Bearer x" + b.secret}})
	if failed == nil {
		t.Error("a wrong secret is let in")
	}
	b.daemon.stop(t)

	secrets := append(b.sts.secrets(), b.secret)
	mu.Lock()
	defer mu.Unlock()
	for token := range seen {
		if token != "" {
			secrets = append(secrets, token, token[strings.LastIndexByte(token, '.')+1:])
		}
	}
	if len(secrets) < 6 {
		t.Fatalf("only %d secrets are known", len(secrets))
	}
	places := map[string]string{"the agents' output": said.String(), "the gateway's answers": line.all(), "the daemon's log": b.daemon.proc.Log(), "the audit log": readFile(b.daemon.audit)}
	for _, pattern := range []string{"*.out", "*.err"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			places[filepath.Base(file)] = readFile(file)
		}
	}
	for place, text := range places {
		if len(text) == 0 {
			t.Errorf("%s: nothing was recorded", place)
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				at := strings.Index(text, secret)
				t.Errorf("%s: a secret of %d letters, after %q", place, len(secret), text[max(0, at-200):at])
				break
			}
		}
	}
	t.Logf("%d secrets, %d places", len(secrets), len(places))
}
