package interop

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// caller is a client that `freshet exec` runs, a process of its own.
type caller struct {
	client         party.Client
	proc           *party.Process
	stdout, stderr bytes.Buffer // to be read when the process has ended
}

// launch starts a caller for the rest of the run and a little longer.
func (r *rotation) launch(t *testing.T, client party.Client, length time.Duration) (*caller, error) {
	c := &caller{client: client}
	cmd := r.daemon.command("minio", client.Args(workload(r.server, length)))
	cmd.Stdout, cmd.Stderr = &c.stdout, &c.stderr
	var err error
	c.proc, err = party.Start(t, cmd)
	return c, err
}

// start starts a caller that runs for the whole length.
func (r *rotation) start(t *testing.T, client party.Client) *caller {
	t.Helper()
	c, err := r.launch(t, client, r.length)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// finish waits for the callers' ends and holds each to its summary: it made calls, and none failed.
func (r *rotation) finish(t *testing.T, callers []*caller) {
	t.Helper()
	calls := map[string]int{}    // client → calls of all its processes
	failures := map[string]int{} // client → those that failed
	for i, c := range callers {
		// 25 runtimes take their time to start, each of which counts its length from its own start.
		if err := c.proc.Wait(r.length + time.Minute); err != nil {
			t.Errorf("caller %d (%s): %v\n%s", i, c.client.Name, err, c.output())
			continue
		}
		summary, err := party.ReadSummary(c.stdout.Bytes())
		if err != nil {
			t.Errorf("caller %d (%s): %v\n%s", i, c.client.Name, err, c.output())
			continue
		}
		if summary.Calls == 0 || summary.Failures != 0 {
			t.Errorf("caller %d: got %+v, want calls and no failure", i, summary)
		}
		calls[summary.Client] += summary.Calls
		failures[summary.Client] += summary.Failures
	}
	t.Logf("calls %v, failures %v", calls, failures)
}

// cancel runs the client until the deadline, killing its process group every few seconds and starting it anew, and
// returns how often. A call that the kill cut short is nobody's failure; one that failed before is.
func (r *rotation) cancel(t *testing.T, client party.Client, random *rand.Rand, deadline time.Time) (kills int64) {
	for time.Now().Before(deadline) {
		c, err := r.launch(t, client, r.length+time.Minute)
		if err != nil {
			t.Error(err)
			return kills
		}
		life := 3*time.Second + time.Duration(random.Int64N(int64(15*time.Second)))
		if err := c.proc.Wait(min(life, time.Until(deadline))); !errors.Is(err, party.ErrRunning) {
			t.Errorf("%s ended before it was killed: %v\n%s", client.Name, err, c.output())
			return kills
		}
		if err := c.proc.Kill(); err != nil {
			t.Error(err)
			return kills
		}
		kills++
		if strings.Contains(c.stderr.String(), "failure: ") {
			t.Errorf("%s, before it was killed: %s", client.Name, c.stderr.String())
		}
	}
	return kills
}

// output is what the caller printed, once it has ended.
func (c *caller) output() string {
	if errors.Is(c.proc.Wait(0), party.ErrRunning) {
		return "(still running)"
	}
	return c.stdout.String() + c.stderr.String()
}
