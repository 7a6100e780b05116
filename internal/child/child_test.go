package child

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sh(script string, args ...string) Command {
	return Command{Args: append([]string{"/bin/sh", "-c", script, "sh"}, args...)}
}

// bounded is a context that ends a test that hangs, long after anything it expects.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// wantGone asserts that no process of the group is left. The kill is synchronous, the death of its processes is not
// quite: init reaps them.
func wantGone(t *testing.T, pgid int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		if alive := groupAlive(pgid); !alive {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("group %d still has processes", pgid)
		}
	}
}

// groupAlive is kill(-pgid, 0), not counting zombies: in a container without an init nobody reaps orphans.
func groupAlive(pgid int) bool {
	if syscall.Kill(-pgid, 0) == syscall.ESRCH {
		return false
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return true
	}
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // state, ppid, pgrp
		if len(fields) > 2 && fields[2] == strconv.Itoa(pgid) && fields[0] != "Z" && fields[0] != "X" {
			return true
		}
	}
	return false
}

func pidOf(t *testing.T, out []byte) int {
	t.Helper()
	line, _, _ := strings.Cut(string(out), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("child printed %q, want its process id", out)
	}
	return pid
}

func wantReason(t *testing.T, err error, want Reason) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v (%T), want *Error", err, err)
	}
	if e.Reason != want {
		t.Fatalf("got reason %d (%v), want %d", e.Reason, err, want)
	}
	return e
}

func TestRun(t *testing.T) {
	out, err := new(Runner).Run(bounded(t), sh(`echo "$1"; echo oops >&2; cat; pwd`, "a b"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(out.Stdout), "a b\n/\n"; got != want {
		t.Errorf("stdout: got %q, want %q (null stdin, root folder)", got, want)
	}
	if got, want := out.Stderr, "oops\n"; got != want {
		t.Errorf("stderr: got %q, want %q", got, want)
	}
}

func TestRunWithoutProgram(t *testing.T) {
	for _, args := range [][]string{nil, {}, {""}} {
		if _, err := new(Runner).Run(bounded(t), Command{Args: args}); err == nil {
			t.Errorf("%q: got no error", args)
		}
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	plainFile := filepath.Join(dir, "plain")
	if err := os.WriteFile(plainFile, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		c    Command
		want Reason
		text string
	}{
		{"not on PATH", Command{Args: []string{"no-such-program-here"}}, NotFound, "no-such-program-here: no such program"},
		{"no file", Command{Args: []string{dir + "/none"}}, NotFound, dir + "/none: no such program"},
		{"relative", Command{Args: []string{"./sh"}}, NotFound, "./sh: no such program"},
		{"not executable", Command{Args: []string{plainFile}}, NotExecutable, plainFile + ": not executable"},
		{"a folder", Command{Args: []string{dir}}, NotExecutable, dir + ": not executable"},
		{"no such working folder", Command{Args: []string{"/bin/sh"}, Dir: dir + "/none"}, Unstarted,
			"/bin/sh: not started: no such file or directory"},
		{"exit status", sh("echo hunter2 hunter2; exit 7", "hunter2"), Exited, "/bin/sh: exit status 7"},
		{"killed", sh("kill -TERM $$"), Signaled, "/bin/sh: killed: terminated"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := new(Runner).Run(bounded(t), test.c)
			wantReason(t, err, test.want)
			if got := err.Error(); got != test.text {
				t.Errorf("got %q, want %q", got, test.text)
			}
		})
	}
}

func TestExitKeepsOutput(t *testing.T) {
	out, err := new(Runner).Run(bounded(t), sh("echo half; echo why >&2; exit 3"))
	if e := wantReason(t, err, Exited); e.Code != 3 || out.ExitCode != 3 {
		t.Errorf("got code %d and %d, want 3", e.Code, out.ExitCode)
	}
	if string(out.Stdout) != "half\n" || out.Stderr != "why\n" {
		t.Errorf("got %q and %q, want what it printed", out.Stdout, out.Stderr)
	}
}

func TestOverflow(t *testing.T) {
	out, err := new(Runner).Run(bounded(t), sh("echo $$; exec yes"))
	wantReason(t, err, Overflow)
	if got, want := err.Error(), "/bin/sh: output over 1 MiB"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(out.Stdout) != DefaultStdout {
		t.Errorf("got %d bytes, want %d", len(out.Stdout), DefaultStdout)
	}
	wantGone(t, pidOf(t, out.Stdout))
}

func TestOverflowByOne(t *testing.T) {
	c := sh("printf 12345")
	c.Stdout = 5
	if out, err := new(Runner).Run(bounded(t), c); err != nil || string(out.Stdout) != "12345" {
		t.Fatalf("got %q, %v, want all five bytes", out.Stdout, err)
	}
	c.Stdout = 4
	_, err := new(Runner).Run(bounded(t), c)
	wantReason(t, err, Overflow)
	if got, want := err.Error(), "/bin/sh: output over 4 bytes"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHugeStderrIsCutAtAWord(t *testing.T) {
	out, err := new(Runner).Run(bounded(t), sh(`i=0; while [ $i -lt 3000 ]; do echo "word$((i % 10)) A1b2C3d4E5f6G7h" >&2; i=$((i+1)); done`))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(out.Stderr); n > maxStderr || n < maxStderr-100 {
		t.Errorf("got %d bytes, want just under %d", n, maxStderr)
	}
	if last := out.Stderr[strings.LastIndexAny(strings.TrimSpace(out.Stderr), " \n")+1:]; last != "A1b2C3d4E5f6G7h\n" && !strings.HasPrefix(last, "word") {
		t.Errorf("got the end %q, want a whole word", last)
	}
}

// TestHang is a child that ignores what it is told and has grandchildren: the deadline ends the whole group.
func TestHang(t *testing.T) {
	dir := t.TempDir()
	ready := filepath.Join(dir, "ready")
	if err := syscall.Mkfifo(ready, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		os.ReadFile(ready) // returns once the child has opened and closed it
		cancel(nil)
	}()
	out, err := new(Runner).Run(ctx, sh(`trap "" TERM INT HUP; echo $$; sleep 1000 & sleep 1000 & echo > "$1"; wait`, ready))
	wantReason(t, err, Canceled)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it to wrap context.Canceled", err)
	}
	if out.ExitCode != -1 {
		t.Errorf("got exit code %d, want -1", out.ExitCode)
	}
	wantGone(t, pidOf(t, out.Stdout))
}

func TestTimeout(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := new(Runner).Run(ctx, sh("sleep 1000"))
	wantReason(t, err, TimedOut)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want it to wrap context.DeadlineExceeded", err)
	}
	if got, want := err.Error(), "/bin/sh: timed out"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestGrandchildHoldsThePipe is the daemonised helper: its parent is done, and its own copy of the pipe is open.
func TestGrandchildHoldsThePipe(t *testing.T) {
	start := time.Now()
	out, err := new(Runner).Run(bounded(t), sh("echo $$; sleep 1000 & exit 0"))
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took >= drainTime {
		t.Errorf("took %v: the pipe was waited for", took)
	}
	wantGone(t, pidOf(t, out.Stdout))
}

// TestEscapedGrandchild has left the group with the pipe: it cannot be killed, and must not delay the answer for long.
func TestEscapedGrandchild(t *testing.T) {
	if _, err := os.Stat("/usr/bin/setsid"); err != nil {
		t.Skip("needs setsid (apt-get install util-linux)")
	}
	out, err := new(Runner).Run(bounded(t), sh(`/usr/bin/setsid sh -c 'echo $$; exec sleep 1000' & read x < "$1"; exit 0`, os.DevNull))
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Stdout) > 0 { // it may be killed before it has escaped
		pid := pidOf(t, out.Stdout)
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		wantGone(t, pid)
	}
}

func TestCap(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	for _, fifo := range []string{first, second} {
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := NewRunner(1)
	ctx := bounded(t)
	done := make(chan error, 1)
	go func() {
		_, err := r.Run(ctx, sh(`echo up > "$1"; read x < "$2"`, first, second))
		done <- err
	}()
	if _, err := os.ReadFile(first); err != nil { // the slot is taken
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := r.Run(short, sh("exit 0")); err == nil {
		t.Error("a second child ran beside the only one allowed")
	} else {
		wantReason(t, err, TimedOut)
	}
	if err := os.WriteFile(second, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(ctx, sh("exit 0")); err != nil {
		t.Errorf("the slot was not given back: %v", err)
	}
}

func TestDefaultCap(t *testing.T) {
	r := new(Runner)
	if _, err := r.Run(bounded(t), sh("exit 0")); err != nil {
		t.Fatal(err)
	}
	if got := cap(r.slots); got < 2 {
		t.Errorf("got %d slots, want at least 2", got)
	}
}

func TestEndedContextRunsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	mark := filepath.Join(t.TempDir(), "mark")
	for range 20 {
		_, err := new(Runner).Run(ctx, sh(`: > "$1"`, mark))
		wantReason(t, err, Canceled)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a child ran")
	}
}

func TestEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": "/h", "USER": "u", "LOGNAME": "u", "LANG": "C", "LC_ALL": "C", "TZ": "UTC", "TMPDIR": "/t",
		"XDG_CONFIG_HOME": "/x", "SSL_CERT_FILE": "/c", "SSL_CERT_DIR": "/d", "HTTPS_PROXY": "p", "no_proxy": "q",
		"AWS_SECRET_ACCESS_KEY": "hunter2", "FRESHET_SOCKET": "hunter2", "LD_PRELOAD": "", "PYTHONPATH": "hunter2",
	} {
		t.Setenv(name, value)
	}
	c := Command{Args: []string{"env"}, Env: map[string]string{"HOME": "/other", "A": "b c"}}
	out, err := new(Runner).Run(bounded(t), c)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(out.Stdout)), "\n")
	for _, want := range []string{"HOME=/other", "A=b c", "LC_ALL=C", "XDG_CONFIG_HOME=/x", "no_proxy=q", "SSL_CERT_DIR=/d"} {
		if !slices.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	for _, kv := range got {
		name, value, _ := strings.Cut(kv, "=")
		if name != "A" && !isListed(name) || value == "hunter2" || value == "/h" {
			t.Errorf("a child sees %s", kv)
		}
	}
}

func TestNoEnvironmentAtAll(t *testing.T) {
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value) // restores it
		os.Unsetenv(name)
	}
	t.Setenv("SECRET", "hunter2")
	out, err := new(Runner).Run(bounded(t), Command{Args: []string{"/usr/bin/env"}})
	if err != nil || strings.Contains(string(out.Stdout), "hunter2") {
		t.Errorf("got %q, %v, want an empty environment", out.Stdout, err)
	}
}
