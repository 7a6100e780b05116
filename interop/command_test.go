package interop

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// configure writes a configuration for commands that run without a daemon, completed with a socket that nothing listens at.
func configure(t *testing.T, configuration string) string {
	t.Helper()
	return writeSecret(t, filepath.Join(t.TempDir(), "freshet.yaml"),
		fmt.Sprintf("version: 1\nsocket: {path: %s}\n%s", filepath.Join(socketDir(t), "f.sock"), configuration))
}

// ended is how a command ended.
type ended struct {
	code           int
	stdout, stderr string
}

// runToEnd runs a program in an environment of its own, with null stdin, and whatever its exit status.
func runToEnd(t *testing.T, env []string, argv ...string) ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ended{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// script writes a program of the name that a shell runs, into a folder of its own, and returns the folder.
func script(t *testing.T, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
