package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"freshet.dev/internal/guard"
)

// upstream notes the requests that reach it.
type upstream struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

func newUpstream(t *testing.T) *upstream {
	u := new(upstream)
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.seen = append(u.seen, r)
		fmt.Fprintln(w, "answered", r.URL.Path)
	}))
	t.Cleanup(u.Close)
	return u
}

// last is the request that came last, as its path and the headers that may hold a key.
func (u *upstream) last() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.seen) == 0 {
		return "none"
	}
	r := u.seen[len(u.seen)-1]
	return strings.TrimSpace(r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization") + " " + r.Header.Get("X-Api-Key"))
}

const proxyConfig = helloConfig + `  keys: {source: process, command: [cat, DIR/keys.json], lifetime: 1h}
  withheld: {source: process, command: [echo, tok], lifetime: 1h, release: false}
`

const proxyKeys = `{"Version":1,"AccessKeyId":"AKIDREAL","SecretAccessKey":"real-secret-key","SessionToken":"real-session"}`

func withProxies(t *testing.T, f func(w *world, u *upstream)) {
	for _, mode := range []string{"daemon", "private"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("keys.json", proxyKeys)
			w.write("c.yaml", proxyConfig)
			if mode == "daemon" {
				w.serve()
			}
			f(w, newUpstream(t))
		})
	}
}

// TestProgramRunsWithoutAKey runs programs that know nothing but what their variables say, as clients of each kind do.
func TestProgramRunsWithoutAKey(t *testing.T) {
	t.Parallel()
	withProxies(t, func(w *world, u *upstream) {
		w.env = append(w.env, "FRESHET_IDENTITY=outer", "FRESHET_CLIENT_SECRET=outer", "AWS_SESSION_TOKEN=users", "AWS_PROFILE=users")
		for _, test := range []struct{ route, program, got string }{
			{"openai+" + u.URL + "/v1=hello", `sdk send $OPENAI_BASE_URL/models Authorization "Bearer $OPENAI_API_KEY"`, "GET /v1/models Bearer tok"},
			{"anthropic+" + u.URL + "=hello", `sdk send $ANTHROPIC_BASE_URL/v1/messages X-Api-Key "$ANTHROPIC_API_KEY"`, "GET /v1/messages  tok"},
			{"azure-openai+" + u.URL + "=hello,header=api-key", `sdk send $AZURE_OPENAI_ENDPOINT/openai/models Api-Key "$AZURE_OPENAI_API_KEY"`, "GET /openai/models"},
			{"pip+" + u.URL + "/simple=hello", `sdk send $PIP_INDEX_URL/internal/`, "GET /simple/internal/ Bearer tok"},
			// npm replaces the variable in its file; a script of a shell that knows no odd names still has it.
			{"npm+" + u.URL + "/r=hello", `t=$(eval echo "$(sed -n 's/.*:_authToken=//p' $npm_config_globalconfig)"); sdk send ${npm_config_registry}x Authorization "Bearer $t"`, "GET /r/x Bearer tok"},
			{u.URL + "/a=hello", `sdk send $FRESHET_PROXY_URL_HELLO/b Authorization "Bearer $FRESHET_PROXY_SECRET"`, "GET /a/b Bearer tok"},
		} {
			out, _ := w.freshet(0, "exec", "--proxy", test.route, "--", "sh", "-c", test.program+"; env >env")
			if !strings.HasPrefix(out, "200 answered ") || u.last() != test.got {
				w.Errorf("%s: got %q, and the upstream %q, want %q", test.route, out, u.last(), test.got)
			}
			env := "\n" + w.read("env")
			for _, none := range []string{"\nFRESHET_SOCKET=", "\nFRESHET_IDENTITY=", "\nFRESHET_CLIENT_SECRET=", "=tok\n"} {
				if strings.Contains(env, none) {
					w.Errorf("%s: the program has %q", test.route, none)
				}
			}
		}
		for _, kind := range []string{"s3", "bedrock"} {
			out, _ := w.freshet(0, "exec", "--proxy", kind+"+"+u.URL+"=keys", "--", "sh", "-c", "sdk signed /b/k; env >env")
			if got := u.last(); !strings.HasPrefix(out, "200 answered /b/k") || !strings.Contains(got, "Credential=AKIDREAL/") || !strings.Contains(got, "/us-east-1/"+kind+"/aws4_request") {
				w.Errorf("%s: got %q, and the upstream %q", kind, out, got)
			}
			env := w.read("env")
			for _, none := range []string{"AKIDREAL", "real-se", "AWS_SESSION_TOKEN", "AWS_PROFILE"} {
				if strings.Contains(env, none) {
					w.Errorf("%s: the program has %s", kind, none)
				}
			}
		}
		before := u.last()
		if out, _ := w.freshet(0, "exec", "--proxy", "s3+"+u.URL+"=keys", "--", "sh", "-c", "AWS_SECRET_ACCESS_KEY=wrong sdk signed /b/wrong"); !strings.HasPrefix(out, "4") || u.last() != before {
			w.Errorf("with another key: got %q, and the upstream %q", out, u.last())
		}
		// Beside an identity of its own, the program has both.
		out, _ := w.freshet(0, "exec", "--proxy", "openai+"+u.URL+"=hello", "hello", "--", "sh", "-c", `sdk oauth; sdk send $OPENAI_BASE_URL/x Authorization "Bearer $OPENAI_API_KEY"`)
		if !strings.HasPrefix(out, "tok\n200 answered /x") {
			w.Errorf("beside an identity: got %q", out)
		}
		if left := w.runs(); len(left) > 0 {
			w.Errorf("%v is left", left)
		}
	})
}

// TestRoutesThatCannotBeAreRefused: exec's program does not run.
func TestRoutesThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	withProxies(t, func(w *world, u *upstream) {
		for _, test := range []struct {
			args []string
			want string
		}{
			{[]string{"--proxy", "https://api.openai.com/v1", "--"}, "--proxy: no identity"},
			{[]string{"--proxy", "http://api.example.com=hello", "--"}, "--proxy: http to another host"},
			{[]string{"--proxy", "gopher+https://a.example=hello", "--"}, `unknown kind "gopher": there are anthropic, azure-openai,`},
			{[]string{"--proxy", u.URL + "=hello,colour=red", "--"}, `unknown setting "colour"`},
			{[]string{"--proxy", u.URL + "=hello,region=x,header=y", "--"}, "a header is a setting of the signer bearer"},
			{[]string{"--proxy", "openai+" + u.URL + "=hello", "--proxy", "https://api.openai.com/v1=hello", "--"}, "two of kind openai"},
			{[]string{"--proxy", u.URL + "=nobody", "--"}, `unknown identity "nobody"`},
			{[]string{"--proxy", "s3+" + u.URL + "=hello", "--"}, "sigv4 does not sign with bearer credentials"},
			{[]string{"--proxy", u.URL + "=withheld", "--"}, "never handed out (release: false)"},
			{[]string{"--proxy", "s3+" + u.URL + "=keys", "keys", "--"}, "the AWS keys of identity keys, and those that stand for a proxy of kind s3"},
			{[]string{"--"}, "exec: IDENTITY is missing"},
		} {
			out, stderr := w.freshet(125, append(append([]string{"exec"}, test.args...), "touch", "ran")...)
			if out != "" || !strings.Contains(stderr, test.want) || !strings.Contains(stderr, "\nhint: ") {
				w.Errorf("%q: got %q, %q, want %s and a hint", test.args, out, stderr, test.want)
			}
		}
		if _, stderr := w.freshet(125, "exec", "--proxy", u.URL+"=hello", "sh", "touch", "ran"); !strings.Contains(stderr, `unknown identity "sh"`) {
			w.Errorf("without the dashes: got %q", stderr)
		}
		if _, err := os.Stat(w.path("ran")); err == nil {
			w.Error("the program ran")
		}
		if left := w.runs(); len(left) > 0 {
			w.Errorf("%v is left", left)
		}
	})
}

// ready is a proxy that listens.
type readyProxy struct {
	*running
	base, secretFile string
}

func (w *world) proxy(args ...string) readyProxy {
	w.Helper()
	r := w.start("freshet", append([]string{"proxy"}, args...)...)
	r.says("freshet: ready: ")
	w.await("its address", func() bool {
		return strings.HasSuffix(r.stdout.String(), "\n") && strings.HasSuffix(r.stderr.String(), "\n")
	})
	_, path, _ := strings.Cut(strings.TrimSpace(r.stderr.String()), "the secret is in ")
	return readyProxy{r, strings.TrimSpace(r.stdout.String()), path}
}

// secret is the local secret that the ready line leads to.
func (r readyProxy) secret() string {
	r.w.Helper()
	b, err := os.ReadFile(r.secretFile)
	if err != nil {
		r.w.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestProxyLastsUntilItIsToldToEnd(t *testing.T) {
	t.Parallel()
	hearSignals(t)
	withProxies(t, func(w *world, u *upstream) {
		for _, end := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			p := w.proxy("--to", u.URL+"/base", "--as", "hello", "--method", "get")
			if want := "freshet: ready: " + p.base + " to " + u.URL + "/base as hello (bearer); the secret is in " + p.secretFile + "\n"; p.stderr.String() != want || strings.Count(p.stdout.String(), "\n") != 1 {
				w.Errorf("it says %q and %q, want %q", p.stdout.String(), p.stderr.String(), want)
			}
			if info, err := os.Stat(p.secretFile); err != nil || info.Mode().Perm() != 0o600 || len(p.secret()) < guard.MinSecret {
				w.Errorf("the secret's file: %v, %v", info, err)
			}
			if out := roundTrip(w.T, newRequest(w.T, "GET", p.base+"/a", "Bearer "+p.secret(), "")); !strings.Contains(out, "answered /base/a") || u.last() != "GET /base/a Bearer tok" {
				w.Errorf("got %q, and the upstream %q", out, u.last())
			}
			for what, req := range map[string]*http.Request{
				"no secret":      newRequest(w.T, "GET", p.base+"/refused", "", ""),
				"another secret": newRequest(w.T, "GET", p.base+"/refused", "Bearer "+strings.Repeat("x", 43), ""),
				"another method": newRequest(w.T, "POST", p.base+"/refused", "Bearer "+p.secret(), "{}"),
			} {
				if out := roundTrip(w.T, req); !strings.HasPrefix(out, "HTTP/1.1 4") || u.last() != "GET /base/a Bearer tok" {
					w.Errorf("%s: got %q, and the upstream %q", what, out, u.last())
				}
			}
			p.signal(end)
			if code := p.wait(); code != 0 {
				w.Errorf("%v: got exit code %d, %q", end, code, p.stderr.String())
			}
			w.await("its port closes", func() bool { return w.closed(p.base) })
			if left := w.runs(); len(left) > 0 {
				w.Errorf("%v: %v is left", end, left)
			}
		}
	})
}

// TestProxyOnASocketIsForItsUser: the kernel says who they are, and there is no secret.
func TestProxyOnASocketIsForItsUser(t *testing.T) {
	t.Parallel()
	withProxies(t, func(w *world, u *upstream) {
		p := w.proxy("--to", u.URL, "--as", "hello", "--listen", "unix:"+filepath.Join(w.run, "api.sock"))
		if p.base != "unix:"+filepath.Join(w.run, "api.sock") || !strings.HasSuffix(p.stderr.String(), "(bearer); for this user's programs\n") || len(w.runs()) > 0 {
			w.Errorf("it says %q and %q; folders %v", p.base, p.stderr.String(), w.runs())
		}
		if out := w.overSocket(filepath.Join(w.run, "api.sock"), "GET", "/a", ""); !strings.Contains(out, "answered /a") || u.last() != "GET /a Bearer tok" {
			w.Errorf("got %q, and the upstream %q", out, u.last())
		}
		p.signal(syscall.SIGTERM)
		if code := p.wait(); code != 0 {
			w.Errorf("got exit code %d", code)
		}
		w.await("the socket goes", func() bool { _, err := os.Stat(filepath.Join(w.run, "api.sock")); return err != nil })
	})
}

func TestProxyKilled(t *testing.T) {
	t.Parallel()
	withProxies(t, func(w *world, u *upstream) {
		p := w.proxy("--to", u.URL, "--as", "hello")
		if len(w.runs()) != 1 {
			w.Fatalf("folders %v", w.runs())
		}
		p.signal(syscall.SIGKILL)
		p.wait()
		w.await("its port closes", func() bool { return w.closed(p.base) })
		next := w.proxy("--to", u.URL, "--as", "hello")
		if left := w.runs(); len(left) != 1 || left[0] != filepath.Dir(next.secretFile) {
			w.Errorf("%v is left beside %s", left, next.secretFile)
		}
	})
}

func TestProxyEndsWithTheDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", helloConfig)
	u := newUpstream(t)
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		d := w.serve()
		p := w.proxy("--to", u.URL, "--as", "hello")
		r := w.start("freshet", "exec", "--proxy", u.URL+"=hello", "--", "sh", "-c", "echo $$ >pid; exec sleep 1000")
		w.awaitPID("pid")
		d.signal(end)
		if code := p.wait(); code != 5 || !strings.Contains(p.stderr.String(), "freshet: the daemon ended, and the proxy with it\nhint: ") {
			t.Errorf("%v: got exit code %d, %q", end, code, p.stderr.String())
		}
		r.says("freshet: the daemon ended: this program gets no more credentials\nhint: ")
		r.signal(syscall.SIGTERM)
		r.wait()
		d.wait()
		if left := w.runs(); len(left) > 0 {
			t.Errorf("%v: %v is left", end, left)
		}
		if err := os.Remove(w.path("pid")); err != nil {
			t.Error(err)
		}
	}
}

// TestDaemonKilledBeforeARouteIsOpen kills the daemon while a route's identity is retrieved: the command becomes its own broker.
func TestDaemonKilledBeforeARouteIsOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", helloConfig)
	u := newUpstream(t)
	d := w.serve()
	r := w.start("freshet", "exec", "--proxy", "openai+"+u.URL+"=hello", "--proxy", u.URL+"=slow", "hello", "--", "sh", "-c",
		`sdk oauth; sdk send $FRESHET_PROXY_URL_SLOW/a Authorization "Bearer $FRESHET_PROXY_SECRET"`)
	w.await("the source runs", func() bool { return w.lines("runs") > 0 })
	d.signal(syscall.SIGKILL)
	if code := r.wait(); code != 0 || r.stdout.String() != "tok\n200 answered /a\n" || r.stderr.String() != "" || u.last() != "GET /a Bearer slow-tok" {
		t.Errorf("got exit code %d, %q, %q, and the upstream %q", code, r.stdout.String(), r.stderr.String(), u.last())
	}
	if left := w.runs(); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestSecretFileIsMadeAndKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", helloConfig)
	u := newUpstream(t)
	first := w.proxy("--to", u.URL, "--as", "hello", "--secret-file", "local")
	second := w.proxy("--to", u.URL, "--as", "hello", "--secret-file", "local")
	if first.secretFile != w.path("local") || second.secret() != first.secret() || len(first.secret()) < guard.MinSecret {
		t.Errorf("%s holds %d bytes", first.secretFile, len(first.secret()))
	}
	if info, err := os.Stat(w.path("local")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	for _, p := range []readyProxy{first, second} {
		if out := roundTrip(t, newRequest(t, "GET", p.base+"/a", "Bearer "+first.secret(), "")); !strings.Contains(out, "answered /a") {
			t.Errorf("got %q", out)
		}
		p.signal(syscall.SIGTERM)
		p.wait()
	}
	if left, _ := filepath.Glob(w.path(".freshet-secret-*")); first.secret() == "" || len(left) > 0 || len(w.runs()) > 0 {
		t.Errorf("%v and %v are left", left, w.runs())
	}
}

// TestSecretFileIsMadeOnce has many make one at once: all read the same.
func TestSecretFileIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local")
	var all sync.WaitGroup
	values := make([]string, 32)
	for i := range values {
		all.Go(func() {
			var err error
			if values[i], err = keptSecret(t.Context(), path); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, v := range values {
		if v != values[0] || len(v) < guard.MinSecret {
			t.Fatalf("got %d bytes, and %d", len(v), len(values[0]))
		}
	}
}

func TestProxiesThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	withProxies(t, func(w *world, u *upstream) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.Fatal(err)
		}
		defer l.Close()
		for dir := w.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) { // which keep others out otherwise
			if err := os.Chmod(dir, 0o755); err != nil {
				w.Fatal(err)
			}
		}
		w.write("open", strings.Repeat("x", 43))
		if err := os.Chmod(w.path("open"), 0o644); err != nil {
			w.Fatal(err)
		}
		w.write("short", strings.Repeat("x", 31))
		w.write("empty", "")
		for _, test := range []struct {
			args []string
			code int
			want string
		}{
			{[]string{"--as", "hello"}, 2, "--to is missing"},
			{[]string{"--to", u.URL}, 2, "--as is missing"},
			{[]string{"--to", "http://api.example.com", "--as", "hello"}, 2, "--to: http to another host"},
			{[]string{"--to", "https://me:pw@api.example.com", "--as", "hello"}, 2, "--to: a URL with a name or password in it"},
			{[]string{"--to", u.URL, "--as", "nobody"}, 2, `unknown identity "nobody"`},
			{[]string{"--to", u.URL, "--as", "withheld"}, 4, "release: false"},
			{[]string{"--to", u.URL, "--as", "hello", "--listen", "0.0.0.0:0"}, 2, "--listen: not an address of this machine alone"},
			{[]string{"--to", u.URL, "--as", "hello", "--listen", "9920"}, 2, "--listen: not an address and port"},
			{[]string{"--to", u.URL, "--as", "hello", "--listen", l.Addr().String()}, 2, l.Addr().String()},
			{[]string{"--to", u.URL, "--as", "hello", "--signer", "magic"}, 2, `unknown signer "magic"`},
			{[]string{"--to", u.URL, "--as", "hello", "--signer", "sigv4"}, 2, "sigv4 does not sign with bearer credentials"},
			{[]string{"--to", u.URL, "--as", "hello", "--header", "a", "--service", "s3"}, 2, "a header is a setting of the signer bearer"},
			{[]string{"--to", u.URL, "--as", "hello", "--method", "TRACE"}, 2, "--method: a method that is never forwarded"},
			{[]string{"--to", u.URL, "--as", "hello", "--path", "v1"}, 2, "--path: does not begin with /"},
			{[]string{"--to", u.URL, "--as", "hello", "--scope", ""}, 2, "scopes: one is empty"},
			{[]string{"--to", u.URL, "--as", "hello", "--wait", "2h"}, 2, "--wait is over 1h"},
			{[]string{"--to", u.URL, "--as", "hello", "--ca-file", "none"}, 2, "ca_file: cannot be read"},
			{[]string{"--to", u.URL, "--as", "hello", "--secret-file", "open"}, 2, "--secret-file: others can read"},
			{[]string{"--to", u.URL, "--as", "hello", "--secret-file", "short"}, 2, "--secret-file: shorter than 32 bytes"},
			{[]string{"--to", u.URL, "--as", "hello", "--secret-file", "empty"}, 2, "empty is empty"},
			{[]string{"--to", u.URL, "--as", "hello", "--secret-file", "."}, 2, "is not a regular file"},
			{[]string{"--to", u.URL, "--as", "hello", "--secret-file", "no/such"}, 2, "--secret-file: no such file or directory"},
			{[]string{"--to", u.URL, "--as", "hello", "more"}, 2, `one argument too many: "more"`},
		} {
			out, stderr := w.freshet(test.code, append([]string{"proxy"}, test.args...)...)
			if out != "" || !strings.Contains(stderr, test.want) || !strings.Contains(stderr, "\nhint: ") || strings.Contains(stderr, "pw@") {
				w.Errorf("%q: got %q, %q, want %s and a hint", test.args, out, stderr, test.want)
			}
		}
		if left := w.runs(); len(left) > 0 {
			w.Errorf("%v is left", left)
		}
	})
}
