package main

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"freshet.dev/internal/socket"
)

// TestDaemonKilledBeforeExecsProgramBegan kills the daemon while exec waits for its session: exec becomes its own broker, and so
// does each token that the program asks for.
func TestDaemonKilledBeforeExecsProgramBegan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", helloConfig)
	d := w.serve()
	r := w.start("freshet", "exec", "slow", "--", "sh", "-c", "sdk oauth; freshet token slow")
	w.await("the source runs", func() bool { return w.lines("runs") > 0 })
	d.signal(syscall.SIGKILL)
	if code := r.wait(); code != 0 || r.stdout.String() != "slow-tok\nslow-tok\n" || r.stderr.String() != "" {
		t.Errorf("got exit code %d, %q, %q", code, r.stdout.String(), r.stderr.String())
	}
	if n := w.lines("runs"); n != 2 {
		t.Errorf("the source ran %d times, want once for the daemon and once for exec", n)
	}
	if left := w.runs(); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestOnlyADaemonThatIsGoneIsReplaced: what is there, or has answered, is not gone round.
func TestOnlyADaemonThatIsGoneIsReplaced(t *testing.T) {
	t.Parallel()
	hangUp := func(w http.ResponseWriter) {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			c.Close()
		}
	}
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter, stop func())
		code   int // of token
	}{
		"it ends": {func(w http.ResponseWriter, stop func()) {
			stop()
			hangUp(w)
		}, 0},
		"it lets go of its socket a moment later": {func(w http.ResponseWriter, stop func()) {
			hangUp(w)
			stop()
		}, 0},
		"it hangs up": {func(w http.ResponseWriter, _ func()) { hangUp(w) }, 5},
		"it denies, and ends": {func(w http.ResponseWriter, stop func()) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"kind":"denied","detail":"no"}`))
			stop()
		}, 4},
		"it ends in its answer": {func(w http.ResponseWriter, stop func()) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"token":`))
			_ = http.NewResponseController(w).Flush()
			stop()
			hangUp(w)
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("c.yaml", helloConfig)
			dir := filepath.Join(w.run, "freshet")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			l, err := socket.Listen(filepath.Join(dir, "freshet.sock"), 0o600, -1)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { test.answer(w, func() { l.Close() }) })}
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = server.Serve(l)
			}()
			defer func() {
				server.Close()
				l.Close()
				<-done
			}()
			r := w.start("freshet", "token", "slow")
			want := ""
			if test.code == 0 {
				want = "slow-tok\n"
			}
			if code := r.wait(); code != test.code || r.stdout.String() != want {
				t.Errorf("got exit code %d, %q, %q, want %d", code, r.stdout.String(), r.stderr.String(), test.code)
			}
			if n := w.lines("runs"); n > 0 != (test.code == 0) {
				t.Errorf("it retrieved %d times by itself", n)
			}
		})
	}
}
