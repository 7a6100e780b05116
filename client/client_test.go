package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/socket"
	"freshet.dev/internal/wire"
)

// role tells a copy of this test's program to be a daemon that dies once it is asked.
const role = "FRESHET_TEST_ROLE"

// nobody is a user that is not the one who runs this test.
const nobody = 65534

func TestMain(m *testing.M) {
	if os.Getenv(role) == "" {
		os.Exit(m.Run())
	}
	l, err := socket.Listen(os.Args[1], 0o666, -1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("listening")
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "half") {
			_, _ = w.Write([]byte(`{"type":"bearer","access_`))
			_ = http.NewResponseController(w).Flush()
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}))
}

// program starts a copy of this program at a path, as another user where cred says so, and waits until it listens.
func program(t *testing.T, path string, cred *syscall.Credential) (wait func()) {
	t.Helper()
	this, err1 := os.Executable()
	text, err2 := os.ReadFile(this)
	dir, err3 := os.MkdirTemp("", "freshet")
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	exe := filepath.Join(dir, "program") // where another user can run it
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(exe, text, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, path)
	cmd.Env, cmd.Dir = append(os.Environ(), role+"=daemon"), "/"
	if cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	}
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var line [9]byte
	if _, err := out.Read(line[:]); err != nil || string(line[:]) != "listening" {
		t.Fatalf("it says %q, %v", line, err)
	}
	return func() { _ = cmd.Wait() }
}

// daemon answers at a socket until the test ends, or stop is called.
func daemon(t *testing.T, path string, h http.HandlerFunc) (stop func()) {
	t.Helper()
	l, err := socket.Listen(path, 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	server, done := &http.Server{Handler: h}, make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	stop = func() {
		_ = server.Close()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func at(t *testing.T) (path string, c *Client) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	c = New(Config{Socket: path})
	t.Cleanup(c.Close)
	return path, c
}

func answer(w http.ResponseWriter, doc any) { _ = json.NewEncoder(w).Encode(doc) }

func bearer(token string) wire.Credential {
	at := time.Now().Add(time.Hour)
	return wire.Credential{Type: freshet.Bearer, AccessToken: token, ExpiresAt: &at, ServedFrom: "issuer", Fingerprint: "f"}
}

func TestEveryKindOfFailureComesBackAsItWas(t *testing.T) {
	path, c := at(t)
	var e atomic.Pointer[freshet.Error]
	daemon(t, path, func(w http.ResponseWriter, _ *http.Request) { wire.ProblemOf(e.Load()).Write(w) })
	for _, kind := range []freshet.Kind{freshet.Invalid, freshet.LoginNeeded, freshet.Denied, freshet.Unavailable, freshet.Malformed, freshet.Bug} {
		want := &freshet.Error{Kind: kind, Identity: "id", Source: "test", Why: "issuer: no", Hint: "do this", RetryAfter: 90 * time.Second}
		e.Store(want)
		_, err1 := c.Credential(t.Context(), "id", freshet.Request{})
		_, err2 := c.OpenSession(t.Context(), []string{"id"}, 0)
		err3 := c.Reject(t.Context(), "id", "f")
		_, err4 := c.Source("id").Retrieve(t.Context(), freshet.Request{})
		err5 := c.Unblock(t.Context(), "id")
		_, err6 := c.OpenProxy(t.Context(), wire.Proxy{Identity: "id"})
		for i, err := range []error{err1, err2, err3, err4, err5, err6} {
			if got := freshet.AsError(err); !reflect.DeepEqual(got, want) || !errors.Is(err, kind) {
				t.Errorf("%s, call %d: got %v (%+v)", kind, i, err, got)
			}
		}
	}
}

func TestRequestIsWhatTheCallerAsked(t *testing.T) {
	path, _ := at(t)
	var got wire.Request
	var header http.Header
	var where string
	daemon(t, path, func(w http.ResponseWriter, r *http.Request) {
		header, where = r.Header, r.URL.EscapedPath()
		_ = json.NewDecoder(r.Body).Decode(&got)
		answer(w, bearer("token"))
	})
	c := New(Config{Socket: path, ConfigHash: "abc", Ancestry: []string{"a", "b"}})
	defer c.Close()
	want := freshet.Request{Tenant: "t", Scopes: []string{"s"}, Audience: "aud", Claims: `{"a":1}`, MinTTL: time.Minute, Rejected: "f", Hold: 30 * time.Second}
	a, err := c.Credential(t.Context(), "a/b?c", want)
	if err != nil || a.Credential.Token() != "token" || !a.Retrieved {
		t.Errorf("got %v, %v", a, err)
	}
	if r, err := got.Parse(); err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("the daemon was asked for %v, %v", r, err)
	}
	if _, there := header["Idempotency-Key"]; there {
		t.Error("what tells net/http that a request may be sent again went on the wire")
	}
	if header.Get("Freshet-Config") != "abc" || header.Get("Freshet-Ancestry") != "a,b" || where != "/v1/identities/a%2Fb%3Fc/credential" {
		t.Errorf("headers %v to %s", header, where)
	}
}

// TestWhatADaemonCannotBeAskedIsRefused: it would be ignored else, and the answer be another's.
func TestWhatADaemonCannotBeAskedIsRefused(t *testing.T) {
	path, c := at(t)
	var calls atomic.Int64
	daemon(t, path, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		answer(w, bearer("token"))
	})
	for _, r := range []freshet.Request{{Subject: "somebody"}, {CAE: true}} {
		if _, err := c.Credential(t.Context(), "id", r); !errors.Is(err, freshet.Invalid) {
			t.Errorf("%v: %v", r, err)
		}
	}
	for _, name := range []string{"", ".", ".."} {
		_, err := c.Credential(t.Context(), name, freshet.Request{})
		if !errors.Is(err, freshet.Invalid) || !errors.Is(c.Reject(t.Context(), name, "f"), freshet.Invalid) {
			t.Errorf("identity %q: %v", name, err)
		}
	}
	if calls.Load() != 0 {
		t.Errorf("the daemon was asked %d times", calls.Load())
	}
}

func TestSourceMayBeCachedAndAskedByScope(t *testing.T) {
	path, c := at(t)
	var calls atomic.Int64
	daemon(t, path, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var body wire.Request
		_ = json.NewDecoder(r.Body).Decode(&body)
		answer(w, bearer("token-"+strings.Join(body.Scopes, "-")))
	})
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(context.Background())
	id, err := cache.Add(freshet.IdentityConfig{Name: "id", Source: c.Source("id")})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, scope := range []string{"a", "b"} {
			a, err := id.Get(t.Context(), freshet.Request{Scopes: []string{scope}})
			if err != nil || a.Credential.Token() != "token-"+scope {
				t.Errorf("scope %s: %v, %v", scope, a.Credential, err)
			}
		}
	}
	if calls.Load() != 2 {
		t.Errorf("the daemon was asked %d times, want once for each scope", calls.Load())
	}
}

func TestDaemonThatDiesWhileItAnswersIsSaidToHave(t *testing.T) {
	for _, name := range []string{"none", "half"} {
		path, c := at(t)
		wait := program(t, path, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := c.Credential(ctx, name, freshet.Request{})
		e := freshet.AsError(err)
		if e == nil || e.Kind != freshet.Unavailable || e.Why != "the daemon ended before it answered" || e.Hint == "" {
			t.Errorf("%s of an answer: %v", name, err)
		}
		if got := errors.Is(err, ErrDied); got != (name == "none") {
			t.Errorf("%s of an answer: it is said to have ended before any: %v", name, got)
		}
		wait()
		if _, err := c.Credential(ctx, name, freshet.Request{}); !errors.Is(err, socket.ErrNobody) {
			t.Errorf("afterwards: %v, want that nobody listens", err)
		}
	}
}

// TestDaemonThatDiesBeforeARouteIsOpenIsSaidToHave: by that a command knows to open it by itself.
func TestDaemonThatDiesBeforeARouteIsOpenIsSaidToHave(t *testing.T) {
	path, c := at(t)
	wait := program(t, path, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.OpenProxy(ctx, wire.Proxy{Identity: "id"}); !errors.Is(err, ErrDied) {
		t.Errorf("got %v", err)
	}
	wait()
	if _, err := c.OpenProxy(ctx, wire.Proxy{Identity: "id"}); !errors.Is(err, socket.ErrNobody) {
		t.Errorf("afterwards: %v, want that nobody listens", err)
	}
}

// TestRouteIsReadToItsFirstLine has a daemon that says half a line, none, and one that is no route.
func TestRouteIsReadToItsFirstLine(t *testing.T) {
	for said, want := range map[string]string{
		"": "the daemon ended before the proxy had begun", `{"url":"http://127.0.0.1:1"}`: "the daemon ended before the proxy had begun",
		"planted\n": "the daemon ended before the proxy had begun", `{"url":"http://127.0.0.1:1","signer":"bearer","type":"bearer"}` + "\nmore": "",
	} {
		path, c := at(t)
		daemon(t, path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(said)) })
		r, err := c.OpenProxy(t.Context(), wire.Proxy{Identity: "id"})
		switch {
		case want != "":
			if e := freshet.AsError(err); e == nil || e.Kind != freshet.Unavailable || e.Why != want {
				t.Errorf("%q: got %v, want %s", said, err, want)
			}
		case err != nil || r.URL != "http://127.0.0.1:1" || r.Signer != "bearer":
			t.Errorf("%q: got %+v, %v", said, r, err)
		default:
			r.Wait() // until the body's end
			_ = r.Close()
		}
	}
}

// TestDeadDaemonIsNoIssuersOutage: a cache that has a daemon for its source leaves no key waiting for the daemon's return because
// others were asked for as it died.
func TestDeadDaemonIsNoIssuersOutage(t *testing.T) {
	path, c := at(t)
	var back atomic.Bool
	daemon(t, path, func(w http.ResponseWriter, _ *http.Request) {
		if back.Load() {
			answer(w, bearer("token"))
			return
		}
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
	})
	cache := freshet.NewCache(freshet.CacheConfig{})
	defer cache.Close(context.Background())
	id, err := cache.Add(freshet.IdentityConfig{Name: "id", Source: c.Source("id")})
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range []string{"a", "b", "c"} {
		_, err := id.Get(t.Context(), freshet.Request{Scopes: []string{scope}})
		if e := freshet.AsError(err); e == nil || e.Why != "the daemon ended before it answered" {
			t.Fatalf("scope %s: %v", scope, err)
		}
	}
	back.Store(true)
	if _, err := id.Get(t.Context(), freshet.Request{Scopes: []string{"d"}}); err != nil {
		t.Errorf("after the daemon's return: %v", err)
	}
}

func TestRestartOfTheDaemonGoesUnnoticed(t *testing.T) {
	path, c := at(t)
	h := func(w http.ResponseWriter, _ *http.Request) { answer(w, bearer("token")) }
	for i := range 20 {
		stop := daemon(t, path, h)
		if _, err := c.Credential(t.Context(), "id", freshet.Request{}); err != nil {
			t.Fatalf("after restart %d: %v", i, err)
		}
		stop()
	}
}

// TestKeptConnectionThatDiesIsReplaced: a daemon that restarts may close a kept connection as the next request is on its way.
func TestKeptConnectionThatDiesIsReplaced(t *testing.T) {
	path, c := at(t)
	var calls atomic.Int64
	daemon(t, path, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 2 {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				conn.Close()
			}
			return
		}
		answer(w, bearer("token"))
	})
	for range 2 {
		if _, err := c.Credential(t.Context(), "id", freshet.Request{}); err != nil {
			t.Error(err)
		}
	}
	if calls.Load() != 3 {
		t.Errorf("%d requests reached the daemon, want 3", calls.Load())
	}
}

func TestNobodyIsSaidOfNoOtherFailure(t *testing.T) {
	path, c := at(t)
	if _, err := c.Credential(t.Context(), "id", freshet.Request{}); !errors.Is(err, socket.ErrNobody) || !errors.Is(err, freshet.Unavailable) {
		t.Errorf("no socket: %v", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.Credential(ctx, "id", freshet.Request{}) // it listens, and never answers
	if e := freshet.AsError(err); errors.Is(err, socket.ErrNobody) || e == nil || e.Kind != freshet.Unavailable || e.Why != "timed out" {
		t.Errorf("a daemon that does not answer: %v", err)
	}
}

func TestDaemonOfAnotherUserIsRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run programs as another user")
	}
	dir, err := os.MkdirTemp("", "freshet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	program(t, path, &syscall.Credential{Uid: nobody, Gid: nobody})
	c := New(Config{Socket: path})
	defer c.Close()
	if _, err := c.Credential(t.Context(), "id", freshet.Request{}); !errors.Is(err, freshet.Denied) || errors.Is(err, socket.ErrNobody) {
		t.Errorf("got %v, want it denied", err)
	}
}

func TestAnswersThatAreNoneOfADaemonsAreErrors(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"text": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "planted", 500) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/elsewhere" {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
				return
			}
			answer(w, bearer("token"))
		},
		"wordless error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			_, _ = w.Write([]byte("{}"))
		},
		"empty error":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"no JSON":       func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("planted")) },
		"nothing":       func(http.ResponseWriter, *http.Request) {},
		"endless":       func(w http.ResponseWriter, _ *http.Request) { answer(w, bearer(strings.Repeat("x", maxReply))) },
		"no credential": func(w http.ResponseWriter, _ *http.Request) { answer(w, struct{}{}) },
	} {
		path, c := at(t)
		daemon(t, path, h)
		a, err := c.Credential(t.Context(), "id", freshet.Request{})
		if e := freshet.AsError(err); e == nil || e.Error() == "" || a.Credential != nil || strings.Contains(e.Error(), "planted") || len(e.Error()) > 200 {
			t.Errorf("%s: %v, %v", name, a.Credential, err)
		}
	}
}
