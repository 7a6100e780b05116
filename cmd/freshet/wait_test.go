package main

import (
	"strings"
	"testing"
)

// TestCommandsWaitForAnIssuerThatFails has a helper that fails until a file is there, with and without a daemon.
func TestCommandsWaitForAnIssuerThatFails(t *testing.T) {
	for name, args := range map[string][]string{
		"token": {"token", "helper", "--wait", "1m"},
		"exec":  {"exec", "--wait", "1m", "helper", "--", "freshet", "token", "helper"},
	} {
		for _, daemon := range []bool{false, true} {
			t.Run(name+map[bool]string{false: " alone", true: " of a daemon"}[daemon], func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.write("c.yaml", "version: 1\nidentities:\n  helper: {source: process, lifetime: 1h, command: [sh, -c, 'echo >>DIR/runs; test -f DIR/well && echo tok']}\n")
				if daemon {
					w.serve()
				}
				if _, stderr := w.freshet(5, "token", "helper"); !strings.Contains(stderr, "exit status 1") {
					t.Errorf("without --wait: %s", stderr)
				}
				before := w.lines("runs")
				r := w.start("freshet", args...)
				w.await("an attempt that failed", func() bool { return w.lines("runs") > before })
				w.write("well", "")
				if code := r.wait(); code != 0 || r.stdout.String() != "tok\n" || r.stderr.String() != "" {
					t.Errorf("got exit code %d, %q, %q", code, r.stdout.String(), r.stderr.String())
				}
			})
		}
	}
}

func TestCompletionsOfWhatTakesAnIdentity(t *testing.T) {
	w := newWorld(t)
	w.write("token", "tok")
	w.write("c.yaml", "version: 1\nidentities: {internal: {source: file, path: DIR/token}}\n")
	for _, command := range []string{"drill", "unblock", "reject"} {
		if out, _ := w.freshet(0, "__complete", command, ""); !strings.Contains(out, "internal\tfile\n") {
			t.Errorf("%s completes to %s", command, out)
		}
	}
}
