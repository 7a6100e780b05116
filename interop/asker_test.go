package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"freshet.dev/interop/internal/party"
)

// asker asks the oauth-token endpoint as a program would that uses x/oauth2 and keeps no token.
type asker struct {
	config clientcredentials.Config
	opaque bool // its tokens are no JWTs

	calls, failures int
	errors          []string // the first few
}

// ask fails unless the token it gets is alive.
func (a *asker) ask(ctx context.Context) error {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Timeout: time.Minute})
	token, err := a.config.Token(ctx)
	if err != nil {
		return err
	}
	if a.opaque {
		return nil
	}
	if exp, err := expiry(token.AccessToken); err != nil || !exp.After(time.Now()) {
		return fmt.Errorf("got a token whose exp is %v (%v)", exp, err)
	}
	return nil
}

// loop asks ten times a second; a call that the end of the loop cuts short counts as none.
func (a *asker) loop(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		sent := time.Now()
		err := a.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		a.calls++
		if err != nil {
			if a.failures++; len(a.errors) < 3 {
				a.errors = append(a.errors, fmt.Sprintf("after %v: %v", time.Since(sent).Round(time.Millisecond), err))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (a *asker) want(t *testing.T, name string) {
	t.Helper()
	t.Logf("%s: x/oauth2: %d calls, %d failures", name, a.calls, a.failures)
	if a.calls == 0 || a.failures > 0 {
		t.Errorf("%s: x/oauth2: got %d failures of %d calls, want calls and no failure: %q", name, a.failures, a.calls, a.errors)
	}
}

// program is an SDK client that reads objects, as a process of its own.
type program struct {
	what           string
	proc           *party.Process
	stdout, stderr bytes.Buffer // to be read when it has ended
}

// program runs the client under exec.
func (d *daemon) program(t *testing.T, identity string, sdk party.Client, work party.Workload) *program {
	t.Helper()
	return startProgram(t, identity+": "+sdk.Name, d.command(identity, sdk.Args(work)))
}

func startProgram(t *testing.T, what string, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{what: what}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	var err error
	if p.proc, err = party.Start(t, cmd); err != nil {
		t.Fatal(err)
	}
	return p
}

// want waits for the program's end and holds it to its summary: it made calls, and none failed.
func (p *program) want(t *testing.T, length time.Duration) {
	t.Helper()
	if err := p.proc.Wait(length + time.Minute); err != nil {
		if !errors.Is(err, party.ErrRunning) { // else its output is not ours to read yet
			err = fmt.Errorf("%w\n%s%s", err, p.stdout.String(), p.stderr.String())
		}
		t.Errorf("%s: %v", p.what, err)
		return
	}
	summary, err := party.ReadSummary(p.stdout.Bytes())
	if err != nil {
		t.Errorf("%s: %v\n%s", p.what, err, p.stderr.String())
		return
	}
	t.Logf("%s: %d calls, %d failures", p.what, summary.Calls, summary.Failures)
	if summary.Calls == 0 || summary.Failures != 0 {
		t.Errorf("%s: got %+v, want calls and no failure", p.what, summary)
	}
}
