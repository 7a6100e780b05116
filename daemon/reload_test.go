package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"freshet.dev/broker"
	"freshet.dev/config"
	"freshet.dev/freshet"
)

// live is a running daemon whose configuration file a test writes.
type live struct {
	t      *testing.T
	dir    string
	daemon *Daemon
	log    *logged
	stop   func() // ends the daemon
}

// logged collects what a daemon logs.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func startLive(t *testing.T, text string) *live {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	w := &live{t: t, dir: dir, log: new(logged)}
	w.write("token", "one")
	w.write("door", door)
	w.configure(text)
	cfg, err := config.Load(filepath.Join(dir, "c.yaml"), Kinds())
	if err != nil {
		t.Fatal(err)
	}
	if w.daemon, err = Start(t.Context(), cfg, "test", slog.New(slog.NewTextHandler(w.log, nil))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- w.daemon.Serve(ctx, func() { close(ready) }) }()
	<-ready
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

// write puts a file in place at once, as editors and secret managers do.
func (w *live) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.t.Fatal(err)
	}
}

func (w *live) configure(text string) {
	w.t.Helper()
	w.write("c.yaml", "version: 1\n"+strings.ReplaceAll(text, "DIR", w.dir))
}

func (w *live) token(name string) (freshet.Answer, error) {
	c := broker.Caller{Door: "socket", Peer: true, UID: uint32(os.Getuid())}
	return w.daemon.broker.Credential(w.t.Context(), c, name, freshet.Request{})
}

// becomes waits until f answers want.
func (w *live) becomes(what, want string, f func() string) {
	w.t.Helper()
	var got string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if got = f(); got == want {
			return
		}
	}
	w.t.Fatalf("%s: got %q, want %q; the log:\n%s", what, got, want, w.log)
}

func (w *live) tokenBecomes(what, name, want string) {
	w.t.Helper()
	w.becomes(what, want, func() string {
		a, err := w.token(name)
		if err != nil {
			return err.Error()
		}
		return a.Credential.Token()
	})
}

const fileIdentity = "identities: {api: {source: file, path: DIR/token, lifetime: 10h}}\n"

func TestFileThatASourceReadsIsInUseSoonAfterItChanges(t *testing.T) {
	w := startLive(t, fileIdentity)
	w.tokenBecomes("at first", "api", "one")
	began := time.Now()
	w.write("token", "two")
	w.tokenBecomes("renamed over", "api", "two")
	t.Logf("in use %v after the change", time.Since(began).Round(time.Millisecond))
	if err := os.Remove(filepath.Join(w.dir, "token")); err != nil {
		t.Fatal(err)
	}
	w.becomes("gone", "two, stale", func() string {
		a, err := w.token("api")
		if err != nil {
			return err.Error()
		}
		if a.Stale {
			return a.Credential.Token() + ", stale"
		}
		return a.Credential.Token()
	})
	w.write("token", "three")
	w.tokenBecomes("there again", "api", "three")
	if _, err := w.token("api"); err != nil {
		t.Fatal(err)
	}
}

func TestConfigurationFileIsFollowed(t *testing.T) {
	w := startLive(t, fileIdentity)
	w.tokenBecomes("at first", "api", "one")
	w.write("other", "eins")
	w.configure("identities:\n  api: {source: file, path: DIR/token, lifetime: 10h}\n  more: {source: file, path: DIR/other, lifetime: 5h}\n")
	w.tokenBecomes("an identity more", "more", "eins")
	w.write("other", "zwei")
	w.tokenBecomes("what the new identity reads", "more", "zwei")
	if n := retrievals(w, "api"); n != 1 {
		t.Errorf("api was retrieved %d times, want the reload to have kept it", n)
	}

	// A file that is wrong is reported, with its place, and the one before stays.
	w.configure("identities:\n  api: {source: fiel, path: DIR/token}\n")
	w.becomes("a wrong file", "true", func() string {
		return fmt.Sprint(strings.Contains(w.daemon.status().ConfigError, "c.yaml:3:17: identities.api.source"))
	})
	if !strings.Contains(w.log.String(), "c.yaml:3:17: identities.api.source") {
		t.Errorf("the log does not say what is wrong:\n%s", w.log)
	}
	w.tokenBecomes("under a wrong file", "more", "zwei")

	w.configure("identities: {more: {source: file, path: DIR/other, lifetime: 5h}}\nlog: {level: debug}\n")
	w.becomes("an identity fewer", "true", func() string {
		_, err := w.token("api")
		return fmt.Sprint(err != nil && freshet.AsError(err).Kind == freshet.Invalid)
	})
	if s := w.daemon.status().ConfigError; s != "" {
		t.Errorf("a good file is in force, and status says %q", s)
	}
	w.becomes("what takes a restart is told", "true", func() string {
		return fmt.Sprint(strings.Contains(w.log.String(), "take a restart of the daemon\" keys=[log]"))
	})
}

func retrievals(w *live, name string) int {
	return strings.Count(w.log.String(), "msg=retrieved identity="+name+" ")
}

func TestReloadMovesEndpointsAndRotatesTheirSecrets(t *testing.T) {
	one, two := freePort(t), freePort(t)
	endpoint := func(port string) string {
		return fileIdentity + "endpoints: [{endpoint: oauth-token, listen: 127.0.0.1:" + port + ", identity: api, secret: {file: DIR/door}}]\n"
	}
	w := startLive(t, endpoint(one))
	ask := func(port, secret string) string {
		body := strings.NewReader("grant_type=client_credentials&client_id=api&client_secret=" + secret)
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Post("http://127.0.0.1:"+port+"/token", "application/x-www-form-urlencoded", body)
		if err != nil {
			return "nobody"
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return fmt.Sprint(resp.StatusCode)
	}
	w.becomes("at first", "200", func() string { return ask(one, door) })
	rotated := strings.Repeat("r", 32)
	w.write("door", rotated) // a secret's file is watched as the configuration is
	w.becomes("the new secret", "200", func() string { return ask(one, rotated) })
	if got := ask(one, door); got != "401" {
		t.Errorf("the old secret gets %s, want 401", got)
	}
	w.configure(endpoint(two))
	w.becomes("the new port", "200", func() string { return ask(two, rotated) })
	w.becomes("the old port", "nobody", func() string { return ask(one, rotated) })
	w.configure(endpoint(one))
	w.becomes("the old port, wanted again", "200", func() string { return ask(one, rotated) })
}

func TestReloadIsAllOrNothing(t *testing.T) {
	w := startLive(t, fileIdentity)
	w.tokenBecomes("at first", "api", "one")
	busy := freePort(t)
	l, err := net.Listen("tcp", "127.0.0.1:"+busy)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, text := range map[string]string{
		"a port in use":                "identities: {other: {source: file, path: DIR/token}}\nendpoints: [{endpoint: oauth-token, listen: 127.0.0.1:" + busy + ", identity: other, secret: {file: DIR/door}}]\n",
		"a secret missing":             "identities: {other: {source: file, path: DIR/token}}\nendpoints: [{endpoint: oauth-token, listen: 127.0.0.1:" + freePort(t) + ", identity: other, secret: {file: DIR/none}}]\n",
		"an identity's secret missing": "identities: {other: {source: oauth2, token_url: 'http://127.0.0.1:1/', client_id: x, client_secret: {file: DIR/none}}}\n",
		"a command fails":              "identities: {other: {source: file, path: DIR/token}}\nendpoints: [{endpoint: oauth-token, listen: 127.0.0.1:" + freePort(t) + ", identity: other, secret: {command: [/bin/false]}}]\n",
		"withheld":                     "identities: {other: {source: file, path: DIR/token, release: false}}\nendpoints: [{endpoint: oauth-token, listen: 127.0.0.1:" + freePort(t) + ", identity: other, secret: {file: DIR/door}}]\n",
		"no such identity":             "identities: {other: {source: file, path: DIR/token, from: nobody}}\n",
		"nothing in it":                "",
		"a group of no-one":            "identities: {other: {source: file, path: DIR/token, allow: {groups: [no-such-group]}}}\n",
		"the wrong dialects":           "identities: {other: {source: file, path: DIR/token}}\nendpoints: [{endpoint: nothing, listen: 127.0.0.1:1, identity: other, secret: {file: DIR/door}}]\n",
	} {
		w.configure(text)
		if _, err := w.daemon.Reload(); err == nil {
			t.Errorf("%s: got no error", name)
		}
		if got := w.daemon.broker.Names(broker.Caller{Peer: true, UID: uint32(os.Getuid())}); !slices.Equal(got, []string{"api"}) {
			t.Errorf("%s: identities are %v, want what was there before", name, got)
		}
		if w.daemon.status().ConfigError == "" {
			t.Errorf("%s: status does not say so", name)
		}
	}
	if a, err := w.token("api"); err != nil || a.Credential.Token() != "one" {
		t.Errorf("got %v, %v after all that", a.Credential, err)
	}
	w.configure(fileIdentity)
	done, err := w.daemon.Reload()
	if text, _ := json.Marshal(done); err != nil || string(text) != `{"added":[],"changed":[],"removed":[],"restart":[]}` {
		t.Errorf("got %s, %v for a file that is as before", text, err)
	}
}

func TestChangeJustBeforeAReloadIsNotLost(t *testing.T) {
	w := startLive(t, fileIdentity)
	w.tokenBecomes("at first", "api", "one")
	for i := range 10 {
		text := fmt.Sprint("round", i)
		w.write("token", text)
		if _, err := w.daemon.Reload(); err != nil {
			t.Fatal(err)
		}
		w.tokenBecomes("written just before a reload", "api", text)
	}
}

func TestSecretThatComesLaterPutsTheFileInForce(t *testing.T) {
	w := startLive(t, fileIdentity)
	w.configure(fileIdentity + "endpoints: [{endpoint: oauth-token, listen: 127.0.0.1:" + freePort(t) + ", identity: api, secret: {file: DIR/later}}]\n")
	w.becomes("the secret is missed", "true", func() string { return fmt.Sprint(strings.Contains(w.daemon.status().ConfigError, "later")) })
	w.write("later", door)
	w.becomes("the secret is there", "", func() string { return w.daemon.status().ConfigError })
}

func TestWhatTakesARestartIsToldUntilThen(t *testing.T) {
	w := startLive(t, fileIdentity)
	for _, step := range []struct{ text, want string }{
		{fileIdentity + "log: {level: warn}\n", "[log]"},
		{fileIdentity + "log: {level: warn}\nmetrics: {listen: 127.0.0.1:1}\n", "[log metrics]"},
		{fileIdentity + "ready: {timeout: 1s}\n", "[ready]"},
		{fileIdentity, "[]"},
	} {
		w.configure(step.text)
		for range 2 {
			done, err := w.daemon.Reload()
			if got := fmt.Sprint(done.Restart); got != step.want || err != nil {
				t.Errorf("got %s, %v, want %s", got, err, step.want)
			}
		}
	}
}

func TestPortsMayComeAndGo(t *testing.T) {
	one, two := freePort(t), freePort(t)
	text := func(port string) string {
		return fileIdentity + "endpoints: [{endpoint: oauth-token, listen: 127.0.0.1:" + port + ", identity: api, secret: {file: DIR/door}}]\n"
	}
	w := startLive(t, text(one))
	for range 25 {
		for _, port := range []string{two, one} {
			w.configure(text(port))
			if _, err := w.daemon.Reload(); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.configure(strings.Replace(strings.Replace(text(one), "127.0.0.1:", "0.0.0.0:", 1), "identity: api", "expose: true, identity: api", 1))
	if _, err := w.daemon.Reload(); err == nil || !strings.Contains(err.Error(), "cannot listen") || !strings.Contains(hints(err), "the daemon itself listens at") {
		t.Errorf("got %v, with hints %s", err, hints(err))
	}
}

func hints(err error) string {
	var e interface{ Hint() string }
	if errors.As(err, &e) {
		return e.Hint()
	}
	return ""
}

// TestRequestUnderWayFollowsThePolicy sends half a request, changes the configuration, and sends the rest.
func TestRequestUnderWayFollowsThePolicy(t *testing.T) {
	port := freePort(t)
	text := func(identity string) string {
		return "identities: {api: {source: file, path: DIR/token, lifetime: 10h" + identity + "}}\n" +
			"endpoints: [{endpoint: oauth-token, listen: 127.0.0.1:" + port + ", identity: api, secret: {file: DIR/door}}]\n"
	}
	w := startLive(t, text(""))
	half := func() (finish func() string) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		body := "grant_type=client_credentials&client_id=api&client_secret=" + door
		fmt.Fprintf(c, "POST /token HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", port, len(body), body[:20])
		f := w.daemon.listeners["127.0.0.1:"+port].front.Load()
		w.becomes("the request is being read", "true", func() string { return fmt.Sprint(f.users.Load() > 1) })
		return func() string {
			defer c.Close()
			fmt.Fprint(c, body[20:])
			answer, err := io.ReadAll(c)
			if err != nil {
				t.Error(err)
			}
			return string(answer)
		}
	}
	finish := half()
	w.configure(text("") + "# the same\n")
	w.mustReload()
	if answer := finish(); !strings.HasPrefix(answer, "HTTP/1.1 200") {
		t.Errorf("a request under way while nothing changed for it: %s", answer)
	}
	finish = half()
	w.configure(text("") + "# the same again\n")
	w.mustReload()
	w.configure("identities: {api: {source: file, path: DIR/token, lifetime: 10h, release: false}}\n")
	w.mustReload()
	if answer := finish(); strings.HasPrefix(answer, "HTTP/1.1 200") || strings.Contains(answer, "one") {
		t.Errorf("a request under way was given what is withheld by now: %s", answer)
	}
}

func (w *live) mustReload() {
	w.t.Helper()
	if _, err := w.daemon.Reload(); err != nil {
		w.t.Fatal(err)
	}
}

// TestReloadsDuringTheEnds asks for reloads before a daemon serves, while it does, and while and after it ends.
func TestReloadsDuringTheEnds(t *testing.T) {
	w := startLive(t, fileIdentity)
	port := freePort(t)
	cfg := w.daemon.running.Load().cfg
	w.stop()
	var err error
	if w.daemon, err = Start(t.Context(), cfg, "test", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.daemon.Reload(); freshet.AsError(err).Kind != freshet.Unavailable {
		t.Errorf("before it serves: got %v, want an error of kind unavailable", err)
	}
	var reloads sync.WaitGroup
	stop := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ready := make(chan struct{})
	for range 2 {
		reloads.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					_, _ = w.daemon.Reload()
					if i == 3 {
						cancel()
					}
				}
			}
		})
	}
	w.configure(fileIdentity + "endpoints: [{endpoint: oauth-token, listen: 127.0.0.1:" + port + ", identity: api, secret: {file: DIR/door}}]\n")
	if err := w.daemon.Serve(ctx, func() { close(ready) }); err != nil {
		t.Error(err)
	}
	close(stop)
	reloads.Wait()
	<-ready
	if l, err := net.Listen("tcp", "127.0.0.1:"+port); err != nil {
		t.Errorf("a server was left behind: %v", err)
	} else {
		l.Close()
	}
}

func TestReloadedDaemonStillDrains(t *testing.T) {
	w := startLive(t, fileIdentity)
	w.daemon.end()
	if _, err := w.daemon.Reload(); freshet.AsError(err).Kind != freshet.Unavailable {
		t.Errorf("got %v while shutting down, want an error of kind unavailable", err)
	}
}
