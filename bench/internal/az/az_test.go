package az

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func install(t *testing.T, cpu time.Duration) *CLI {
	t.Helper()
	if missing := Missing(); missing != "" {
		t.Skip(missing)
	}
	c, err := Install(t.TempDir(), cpu)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRunsAreCounted(t *testing.T) {
	c := install(t, 0)
	for range 2 { // a watch counts its own
		w, err := c.Watch()
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if token, err := c.Run(t.Context()); err != nil || !strings.HasPrefix(token, Token) {
				t.Fatalf("got %q, %v", token, err)
			}
		}
		seen, err := w.Stop(t.Context())
		if err != nil || seen.Runs != 3 || seen.Left != 0 {
			t.Errorf("got %+v, %v, want 3 runs and none left behind", seen, err)
		}
	}
}

func TestRunThatIsLeftBehindIsSeenAndEnded(t *testing.T) {
	c := install(t, 20*time.Second) // longer than it needs to be seen
	w, err := c.Watch()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(c.Path, "account", "get-access-token")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	const some = 16 << 20 // an interpreter that has loaded nothing takes half of it
	for memory(cmd.Process.Pid) < some {
		select {
		case err := <-ended:
			t.Fatal("it ended: ", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	seen, err := w.Stop(context.Background())
	if err != nil || seen.Runs != 1 || seen.Left != 1 || seen.Peak < some {
		t.Errorf("got %+v, %v, want a run that is left behind, of at least %d bytes", seen, err, some)
	}
	if err := <-ended; err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended with %v, want it killed", err)
	}
}

func TestStandInIsTheFirstOnPathUntilRestored(t *testing.T) {
	c := install(t, 0)
	before, errBefore := exec.LookPath("az")
	restore, err := c.OnPath()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := exec.LookPath("az"); err != nil || got != c.Path {
		t.Errorf("az is %s, %v, want %s", got, err, c.Path)
	}
	restore()
	if got, err := exec.LookPath("az"); got != before || (err == nil) != (errBefore == nil) {
		t.Errorf("az is %s, %v, want %s", got, err, before)
	}
}
