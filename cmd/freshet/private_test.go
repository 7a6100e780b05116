package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"freshet.dev/client"
	"freshet.dev/freshet"
)

// gatheringConfig has a source that counts its runs and answers once the file go is there.
const gatheringConfig = `version: 1
identities:
  api: {source: process, command: [sh, DIR/source.sh], lifetime: 1h}
`

const gatheringSource = `echo run >>DIR/runs
while [ ! -e DIR/go ]; do sleep 0.02; done
echo gathered-secret-token
`

// TestTokensWithoutDaemonShareOneRetrieval starts many commands at once with no daemon: one of them retrieves for all, and
// nothing of what it got is on disk.
func TestTokensWithoutDaemonShareOneRetrieval(t *testing.T) {
	t.Parallel()
	const callers = 20
	w := newWorld(t)
	w.write("c.yaml", gatheringConfig)
	w.write("source.sh", gatheringSource)
	list := make([]*running, callers)
	for i := range list {
		list[i] = w.start("freshet", "token", "api")
	}
	w.await("all have gathered", func() bool { return w.waiting() >= callers-1 })
	w.wantNoSecretIn(w.run, "gathered-secret-token")
	w.write("go", "")
	for _, r := range list {
		if code := r.wait(); code != 0 || r.stdout.String() != "gathered-secret-token\n" {
			t.Errorf("got exit code %d, %q, %q", code, r.stdout.String(), r.stderr.String())
		}
	}
	if got := w.lines("runs"); got != 1 {
		t.Errorf("got %d runs for %d callers, want 1", got, callers)
	}
	w.wantNoSecretIn(w.run, "gathered-secret-token")
}

// TestTokensWithoutDaemonShareOneFailure has the one retrieval fail: all are told why, and the next command tries again.
func TestTokensWithoutDaemonShareOneFailure(t *testing.T) {
	t.Parallel()
	const callers = 5
	w := newWorld(t)
	w.write("c.yaml", gatheringConfig)
	w.write("source.sh", strings.Replace(gatheringSource, "echo gathered", "echo 'please run az login' >&2; exit 1; echo gathered", 1))
	list := make([]*running, callers)
	for i := range list {
		list[i] = w.start("freshet", "token", "api")
	}
	w.await("all have gathered", func() bool { return w.waiting() >= callers-1 })
	w.write("go", "")
	for _, r := range list {
		if code := r.wait(); code != 3 || !strings.Contains(r.stderr.String(), "hint: run az login") {
			t.Errorf("got exit code %d, %q", code, r.stderr.String())
		}
	}
	if got := w.lines("runs"); got != 1 {
		t.Errorf("got %d runs for %d callers, want 1", got, callers)
	}
	w.freshet(3, "token", "api")
	if got := w.lines("runs"); got != 2 {
		t.Errorf("got %d runs, want another one", got)
	}
}

// TestHolderKilled kills the command that retrieves for all: another takes its place, and all the others are answered.
func TestHolderKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("c.yaml", gatheringConfig)
	w.write("source.sh", "echo $$ >>DIR/pids\n"+gatheringSource)
	holder := w.start("freshet", "token", "api")
	w.await("the source runs", func() bool { return w.lines("runs") == 1 })
	others := []*running{w.start("freshet", "token", "api"), w.start("freshet", "token", "api"), w.start("freshet", "token", "api")}
	w.await("the others wait", func() bool { return w.waiting() >= len(others) })
	holder.signal(os.Kill)
	w.await("another retrieves", func() bool { return w.lines("runs") == 2 })
	w.write("go", "")
	for _, r := range others {
		if code := r.wait(); code != 0 || r.stdout.String() != "gathered-secret-token\n" {
			t.Errorf("got exit code %d, %q, %q", code, r.stdout.String(), r.stderr.String())
		}
	}
	if got := w.lines("runs"); got != 2 {
		t.Errorf("got %d runs, want the killed command's and one more", got)
	}
}

// waiting is how many connections there are to sockets where commands gather.
func (w *world) waiting() int {
	w.Helper()
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		w.Skipf("the system does not list its sockets: %v", err)
	}
	n := strings.Count(string(b), filepath.Join(w.run, "freshet", "flights"))
	return max(0, n-1) // the listener itself
}

// wantNoSecretIn searches every file of a folder.
func (w *world) wantNoSecretIn(dir string, secrets ...string) {
	w.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, s := range secrets {
			if strings.Contains(string(b), s) {
				w.Errorf("%s holds %q", path, s)
			}
		}
		return err
	})
	if err != nil {
		w.Error(err)
	}
}

// TestReentryFailsAtOnce configures programs that ask freshet for what they are to yield: directly, through another, and as
// another's input. The error prints the circle.
func TestReentryFailsAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ identity, cycle string }{
		{"self", "self → self"},
		{"first", "first → second → first"},
		{"role", "role → assertion → role"},
	} {
		for _, mode := range []string{"daemon", "private"} {
			t.Run(test.identity+" "+mode, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.write("c.yaml", `version: 1
identities:
  self: {source: process, command: [freshet, token, self, --config, DIR/c.yaml], lifetime: 1h}
  first: {source: process, command: [freshet, token, second, --config, DIR/c.yaml], lifetime: 1h}
  second: {source: process, command: [freshet, token, first, --config, DIR/c.yaml], lifetime: 1h}
  assertion: {source: process, command: [freshet, token, role, --format, json, --config, DIR/c.yaml], lifetime: 1h}
  role: {source: aws-web-identity, from: assertion, role_arn: 'arn:aws:iam::123456789012:role/a', region: us-east-1}
`)
				if mode == "daemon" {
					w.serve()
				}
				_, stderr := w.freshet(5, "token", test.identity)
				if !strings.Contains(stderr, "leads back to itself: "+test.cycle) {
					t.Errorf("got %q, want the circle %s", stderr, test.cycle)
				}
			})
		}
	}
}

// TestOneColdKeyManyClients asks one daemon for one cold credential from many connections at once.
func TestOneColdKeyManyClients(t *testing.T) {
	t.Parallel()
	const callers = 200
	w := newWorld(t)
	w.write("c.yaml", gatheringConfig)
	w.write("source.sh", gatheringSource)
	w.serve()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	fingerprints := make([]string, callers)
	for i := range callers {
		all.Go(func() {
			c := client.New(client.Config{Socket: filepath.Join(w.run, "freshet", "freshet.sock")})
			a, err := c.Credential(ctx, "api", freshet.Request{})
			if err != nil {
				t.Error(err)
				return
			}
			fingerprints[i] = a.Credential.Fingerprint()
		})
	}
	w.await("the source runs", func() bool { return w.lines("runs") > 0 })
	w.write("go", "")
	all.Wait()
	if got := w.lines("runs"); got != 1 {
		t.Errorf("got %d runs for %d callers, want 1", got, callers)
	}
	for _, f := range fingerprints {
		if f != fingerprints[0] {
			t.Errorf("got fingerprints %s and %s", fingerprints[0], f)
		}
	}
}
