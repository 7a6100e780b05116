package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// world is a home, a run-time folder and a configuration for the commands of one test.
type world struct {
	*testing.T
	dir string   // for files, and the folder that commands run in
	run string   // XDG_RUNTIME_DIR
	env []string // of the commands

	user *syscall.Credential // whom the commands run as; nil: as this process
}

func newWorld(t *testing.T) *world {
	t.Helper()
	run, err := os.MkdirTemp("/tmp", "fr") // t.TempDir's paths are too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	w := &world{T: t, dir: t.TempDir(), run: run}
	w.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TMPDIR=" + w.dir, "XDG_RUNTIME_DIR=" + run, "FRESHET_CONFIG=" + w.path("c.yaml"), hasty}
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// write makes a file; DIR in its text stands for the world's folder.
func (w *world) write(name, text string) {
	w.Helper()
	if err := os.WriteFile(w.path(name), []byte(strings.ReplaceAll(text, "DIR", w.dir)), 0o600); err != nil {
		w.Fatal(err)
	}
}

// executable lets a file be run.
func (w *world) executable(name string) {
	w.Helper()
	if err := os.Chmod(w.path(name), 0o700); err != nil {
		w.Fatal(err)
	}
}

// read returns a file's text, "" where there is none.
func (w *world) read(name string) string {
	w.Helper()
	b, err := os.ReadFile(w.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.Fatal(err)
	}
	return string(b)
}

func (w *world) lines(name string) int { return strings.Count(w.read(name), "\n") }

// await waits for a condition.
func (w *world) await(what string, holds func() bool) {
	w.Helper()
	eventually(w.Fatalf, what, holds)
}

// awaitPID waits for a file with a process id.
func (w *world) awaitPID(name string) int {
	w.Helper()
	w.await(name, func() bool { return strings.HasSuffix(w.read(name), "\n") })
	pid, err := strconv.Atoi(strings.TrimSpace(w.read(name)))
	if err != nil {
		w.Fatal(err)
	}
	return pid
}

// command is a program of this world, not started.
func (w *world) command(program string, args ...string) *exec.Cmd {
	w.Helper()
	path, err := exec.LookPath(program)
	if own := filepath.Join(w.run, "bin", program); err == nil && w.user != nil {
		path = own
	}
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	if w.user != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: w.user}
	}
	return cmd
}

// running is a started program.
type running struct {
	w              *world
	cmd            *exec.Cmd
	stdout, stderr buffer
	ended          chan struct{}
}

// start starts a program; the test's end kills it.
func (w *world) start(program string, args ...string) *running {
	w.Helper()
	return w.begin(w.command(program, args...))
}

func (w *world) begin(cmd *exec.Cmd) *running {
	w.Helper()
	r := &running{w: w, cmd: cmd, ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &r.stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &r.stderr
	}
	cmd.WaitDelay = patience // a program that it left behind may hold its pipes
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		_ = cmd.Wait()
	}()
	w.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-r.ended
	})
	return r
}

// wait waits for the end and returns the exit code, 128 + n of signal n.
func (r *running) wait() int {
	r.w.Helper()
	select {
	case <-r.ended:
	case <-time.After(2 * patience):
		r.w.Fatalf("%v has not ended; it said:\n%s", r.cmd.Args, r.stderr.String())
	}
	if status := r.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return r.cmd.ProcessState.ExitCode()
}

func (r *running) signal(s os.Signal) {
	r.w.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.w.Fatalf("%v: %v; it said:\n%s", r.cmd.Args, err, r.stderr.String())
	}
}

// says waits for a text on standard error.
func (r *running) says(text string) {
	r.w.Helper()
	r.w.await("it says "+text, func() bool { return strings.Contains(r.stderr.String(), text) })
}

// serve starts a daemon that is ready.
func (w *world) serve() *running {
	w.Helper()
	d := w.start("freshet", "serve")
	d.says("freshet: ready: ")
	return d
}

// freshet runs a command to its end, wants an exit code, and returns what it printed.
func (w *world) freshet(code int, args ...string) (stdout, stderr string) {
	w.Helper()
	r := w.start("freshet", args...)
	if got := r.wait(); got != code {
		w.Errorf("freshet %s: got exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, r.stdout.String(), r.stderr.String())
	}
	return r.stdout.String(), r.stderr.String()
}

// buffer may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// alive reports whether a process runs; one that has ended and that nobody has waited for does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return !isProc() // without /proc, the kernel's word counts
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func isProc() bool {
	_, err := os.Stat("/proc/self/stat")
	return err == nil
}
