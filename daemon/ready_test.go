package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/internal/child"
)

func TestReadyOnceWhatWasPinnedIsLoadedAndFromThenOn(t *testing.T) {
	unloaded := []string{"a", "b"}
	r := &readiness{names: []string{"a", "b"}, unloaded: func() []string { return append([]string{}, unloaded...) }}
	for _, step := range []struct {
		unloaded []string
		want     string
	}{
		{[]string{"a", "b"}, "[a b]"},
		{[]string{"b"}, "[b]"},
		{[]string{"b", "c"}, "[b]"}, // a reload pinned c
		{[]string{"c"}, "[]"},
		{[]string{"a", "b", "c"}, "[]"}, // an outage outlived them
	} {
		unloaded = step.unloaded
		if got := fmt.Sprint(r.missing()); got != step.want {
			t.Errorf("with %v not loaded: missing %s, want %s", step.unloaded, got, step.want)
		}
	}
}

func TestReadyAfterTheTimeWhateverIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			loads, timeout, ready time.Duration
			says                  string
		}{
			{10 * time.Second, 30 * time.Second, 10 * time.Second, "level=INFO msg=\"pinned identities are loaded\" identities=[prod]"},
			{time.Minute, 30 * time.Second, 30 * time.Second, "level=WARN msg=\"ready, though pinned identities are not loaded\" identities=[prod] after=30s"},
			{time.Second, 0, 0, "level=WARN"},
			{0, 30 * time.Second, 0, "level=INFO"},
		} {
			var loaded atomic.Bool
			if test.loads == 0 {
				loaded.Store(true)
			}
			r := &readiness{names: []string{"prod"}, unloaded: func() []string {
				if loaded.Load() {
					return nil
				}
				return []string{"prod"}
			}}
			log := new(logged)
			go r.await(t.Context(), test.timeout, slog.New(slog.NewTextHandler(log, nil)))
			go func() {
				time.Sleep(test.loads)
				loaded.Store(true)
			}()
			if test.ready > 0 {
				time.Sleep(test.ready - time.Millisecond)
				synctest.Wait()
				if got := r.missing(); len(got) != 1 {
					t.Errorf("%+v: a moment before it is ready", test)
				}
				time.Sleep(time.Millisecond)
			}
			synctest.Wait()
			if got := r.missing(); len(got) != 0 {
				t.Errorf("%+v: missing %v", test, got)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := log.String(); !strings.Contains(got, test.says) || strings.Count(got, "\n") != 1 {
				t.Errorf("%+v: the log says %s", test, got)
			}
		}
	})
}

func TestNothingPinnedIsReadyAtOnceAndSaysNothing(t *testing.T) {
	r := &readiness{unloaded: func() []string { return []string{"of a reload"} }}
	log := new(logged)
	r.await(t.Context(), time.Hour, slog.New(slog.NewTextHandler(log, nil)))
	if got := r.missing(); len(got) != 0 || log.String() != "" {
		t.Errorf("missing %v, and the log says %s", got, log)
	}
}

func TestShutdownEndsTheWaitForWhatIsPinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &readiness{names: []string{"prod"}, unloaded: func() []string { return []string{"prod"} }}
		log := new(logged)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r.await(ctx, time.Hour, slog.New(slog.NewTextHandler(log, nil)))
		if got := r.missing(); len(got) != 1 || log.String() != "" {
			t.Errorf("missing %v, and the log says %s", got, log)
		}
	})
}

// readyz is the daemon's answer at its socket.
func (w *live) readyz() string {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", w.daemon.path)
	}}}
	resp, err := c.Get("http://freshet/readyz")
	return read(w.t, resp, err)
}

// TestPinnedIdentityIsLoadedThoughNobodyAsks starts a daemon whose pinned file comes later, and reloads it with another pin.
func TestPinnedIdentityIsLoadedThoughNobodyAsks(t *testing.T) {
	const both = "identities:\n  now: {source: file, path: DIR/token, lifetime: 1h, pin: true}\n  later: {source: file, path: DIR/later, lifetime: 1h, pin: true}\n"
	w := startLive(t, both)
	w.becomes("/readyz with one missing", "503 Service Unavailable not ready: waiting for later\n", w.readyz)
	w.write("later", "here")
	w.becomes("/readyz once it is there", "200 OK ready\n", w.readyz)
	w.becomes("the log", "true", func() string { return fmt.Sprint(strings.Contains(w.log.String(), "pinned identities are loaded")) })
	for name, want := range map[string]string{"now": "one", "later": "here"} {
		if a, err := w.token(name); err != nil || a.Credential.Token() != want || a.Retrieved {
			t.Errorf("%s: got %v, retrieved %v, %v, want it from memory", name, a.Credential, a.Retrieved, err)
		}
	}
	w.configure(both + "  never: {source: file, path: DIR/never, lifetime: 1h, pin: true}\n")
	w.mustReload()
	w.becomes("the pin of a reload", "[never]", func() string { return fmt.Sprint(w.daemon.broker.Unloaded()) })
	if got := w.readyz(); got != "200 OK ready\n" {
		t.Errorf("/readyz after a reload that pins another: %s", got)
	}
}

func TestReadyAfterTheTimeOfTheConfiguration(t *testing.T) {
	w := startLive(t, "identities: {later: {source: file, path: DIR/later, pin: true}}\nready: {timeout: 0s}\n")
	w.becomes("/readyz", "200 OK ready\n", w.readyz)
	w.becomes("the log", "true", func() string {
		return fmt.Sprint(strings.Contains(w.log.String(), "ready, though pinned identities are not loaded") && strings.Contains(w.log.String(), "[later]"))
	})
}

// TestOnlyTheDaemonPins makes the brokers of a command and of check: neither retrieves what nobody asked for.
func TestOnlyTheDaemonPins(t *testing.T) {
	cfg := load(t, "identities: {helper: {source: process, command: [touch, DIR/ran], lifetime: 1h, pin: true}}\n")
	b, err := Broker(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Unloaded(); len(got) != 0 {
		t.Errorf("a command's broker waits for %v", got)
	}
	if err := Check(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := b.Stats().Flights; n != 0 {
		t.Errorf("%d retrievals are under way", n)
	}
	if _, err := os.Stat(strings.TrimSuffix(SocketPath(cfg), "freshet/freshet.sock") + "ran"); err == nil {
		t.Error("a command's broker ran what is pinned")
	}
	ids, err := identities(cfg, Options{Pin: true, Run: child.NewRunner(0)})
	if err != nil || !ids[0].Pin {
		t.Errorf("the daemon's: got %v, %v, want it pinned", ids, err)
	}
}

func TestPinThatCannotBeIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"command: [x, '{scope}'], pin: true":                                              "c.yaml:3:50: identities.id.pin: its command has a place for what callers ask for, and there is no default: scopes",
		"command: [x, '{tenant}'], pin: true":                                             "c.yaml:3:51: identities.id.pin: its command has a place for what callers ask for, and there is no default: tenant",
		"command: [x, '{audience}'], pin: true":                                           "c.yaml:3:53: identities.id.pin: its command has a place for what callers ask for, and there is no default: audience",
		"command: [x, '{scope}'], scopes: [a], pin: true":                                 "",
		"command: [x, '{scope}']":                                                         "",
		"command: [x], pin: true":                                                         "",
		"command: [x, '{tenant}', '{audience}'], tenant: t, audience: a, pin: true":       "",
		"command: [x, '{tenant}', '{audience}'], tenant: t, audiences: [a, b], pin: true": "c.yaml:3:95: identities.id.pin: its command has a place for what callers ask for, and there is no default: audience",
	} {
		cfg := load(t, "identities:\n  id: {source: process, "+text+"}\n")
		got := ""
		if err := Check(t.Context(), cfg); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s:\ngot  %q\nwant %q", text, got, want)
		}
	}
}
