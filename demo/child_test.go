package demo

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// program is a stage whose children run a shell script in freshet's place.
func program(t *testing.T, script string) *stage {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return &stage{cfg: Config{Program: path}, dir: dir, home: dir, bin: dir}
}

// gone waits for the end of a process; one that nobody has waited for has ended too.
func gone(t *testing.T, pid int) {
	t.Helper()
	late := time.After(20 * time.Second)
	for syscall.Kill(pid, 0) == nil {
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
		select {
		case <-late:
			t.Errorf("process %d goes on", pid)
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

const forever = "sleep 1000 & echo $!; wait"

// TestChildEndsWithAllThatItStarted ends a child that does not end by itself, in each way there is.
func TestChildEndsWithAllThatItStarted(t *testing.T) {
	for name, stop := range map[string]func(*child, context.CancelFunc){
		"interrupted": func(c *child, cancel context.CancelFunc) { cancel(); _, _ = io.Copy(io.Discard, c.stdout) },
		"ended":       func(*child, context.CancelFunc) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c, err := program(t, forever).start(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(c.stdout).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			grandchild, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			stopped := make(chan struct{})
			go func() { defer close(stopped); stop(c, cancel); c.end() }()
			select {
			case <-stopped:
			case <-time.After(20 * time.Second):
				t.Fatal("its end is still waited for")
			}
			gone(t, c.pid())
			gone(t, grandchild)
			c.kill() // nobody's, by now
		})
	}
}

// TestChildLeavesSomethingBehind has a child end in peace, but not what it started.
func TestChildLeavesSomethingBehind(t *testing.T) {
	c, err := program(t, "sleep 1000 </dev/null >/dev/null 2>&1 & echo $!").start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c.stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	c.end()
	left, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	gone(t, left)
}

// TestChildFails covers phases and daemons that end before they have done anything: the demo says what they said.
func TestChildFails(t *testing.T) {
	s := program(t, "echo 'freshet: socket: broken' >&2; echo 'hint: mend it' >&2; exit 1")
	c, err := s.start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.order(t.Context(), order{Client: oauthClient, Callers: 1})
	if !errors.Is(err, freshet.Bug) || !strings.HasSuffix(err.Error(), oauthClient+" ended early: freshet: socket: broken") {
		t.Errorf("phase: got %v", err)
	}
	if c, err = s.start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	_, err = c.await(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), "the daemon did not start: freshet: socket: broken") {
		t.Errorf("daemon: got %v", err)
	}
}

// TestChildSeesNothingOfTheUsers lists what a child's environment may have.
func TestChildSeesNothingOfTheUsers(t *testing.T) {
	t.Setenv("AWS_PROFILE", "mine")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("GOMAXPROCS", "3")
	s := program(t, "exit 0")
	names := make(map[string]string)
	for _, kv := range s.environment() {
		name, value, _ := strings.Cut(kv, "=")
		names[name] = value
		switch name {
		case "PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME":
		default:
			if !strings.HasPrefix(name, "GO") {
				t.Errorf("got %s", kv)
			}
		}
	}
	if names["HOME"] != s.home || names["GOMAXPROCS"] != "3" || !strings.HasPrefix(names["PATH"], s.bin+":") {
		t.Errorf("got %v", names)
	}
}
