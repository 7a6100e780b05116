// Package party starts the real programs freshet has to get along with: a certified identity provider, an S3 server
// with an STS that verifies signatures and expiry, and the vendors' own SDK clients. Nothing here imitates a party; what
// is ours only configures one, counts what passes, or drives a client in a loop.
//
// What a machine lacks is installed once, into a folder of the user's cache, under a lock that parallel test binaries
// share. Where that cannot be done the test is skipped with the line that installs the party; with
// FRESHET_REQUIRE_PARTIES=1 it fails instead. Every server binds 127.0.0.1, and every process is ended with its whole
// group when the test that started it ends.
package party

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// unavailable ends a test for want of a party: a skip on a developer's machine, a failure where parties are required.
// install is the command that would have provided it.
func unavailable(t testing.TB, name, install string, err error) {
	t.Helper()
	message := fmt.Sprintf("%s: %v\ninstall it with: %s", name, err, install)
	if os.Getenv("FRESHET_REQUIRE_PARTIES") == "1" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// Poll calls ready until it returns nil, and returns the last of its errors if that takes longer than the limit.
func Poll(limit time.Duration, ready func() error) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if now := <-tick.C; now.After(deadline) {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
	}
}

// moduleDir is this module's folder, where the scripts of the parties lie. A test runs in its package's folder, which
// is that one or below it.
func moduleDir(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module freshet.dev/interop") {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("party: no folder above the test holds the module freshet.dev/interop")
		}
		dir = parent
	}
}

// run runs a command to its end and adds what it printed to its error.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
