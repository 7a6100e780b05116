// Package child runs the child processes of sources and secret commands. It is the only runner they have, so that no
// helper can hang a refresh, outlive the daemon, fill its memory or see its environment.
//
// A child gets null stdin, no terminal, a short listed environment, and a session and process group of its own. In the
// environment is FRESHET_ANCESTRY, the identities whose retrieval it serves, by which a freshet that it calls in turn
// recognises a circle. The group is killed whole when the context ends and again when the direct child exits, so that a
// grandchild that holds the pipe neither delays the answer nor survives it. Only a process that makes a session of its
// own escapes the kill; it still delays nothing for longer than drainTime.
package child

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"freshet.dev/freshet"
)

const (
	// DefaultStdout caps what a child may print: the largest real credential, a JWT full of groups, is under 64 KiB.
	DefaultStdout = 1 << 20
	// maxStderr is enough to find a vendor's error code behind its warnings.
	maxStderr = 8 << 10
	// drainTime bounds the wait for a pipe that an escaped process holds open after its parent exited. What the direct
	// child wrote is in the pipe by then, so this only has to outlast a busy machine's scheduling.
	drainTime = 2 * time.Second
	// rootDir is where a child runs unless told: interpreters import code from the current folder (python -m does),
	// and the daemon's or the caller's may be a cloned repository.
	rootDir = "/"
)

// Command is what to run. The context given to Run bounds its time.
type Command struct {
	Args   []string          // the program, looked up on this process's PATH, and its arguments
	Env    map[string]string // name → value, added to the listed environment and winning over it
	Stdout int64             // cap in bytes on what it prints; 0: DefaultStdout
	Dir    string            // the folder it runs in; empty: the root folder, never the current one
}

// Output is what a child left. It is filled in as far as known beside an error too.
type Output struct {
	Stdout   []byte
	Stderr   string // the first 8 KiB, without control characters and what looks like a secret; lines kept
	ExitCode int    // -1 if the child did not exit by itself
}

// Runner runs children and caps how many run at once. One is shared by a whole process. The zero value is ready to use.
// It is safe for concurrent use, and must not be copied once used.
type Runner struct {
	Limit int // children at a time; 0: the number of CPUs, at least 2

	once  sync.Once
	slots chan struct{}
}

// NewRunner returns a runner of at most limit children at a time; 0 means the number of CPUs, at least 2.
func NewRunner(limit int) *Runner { return &Runner{Limit: limit} }

// Run waits for a slot, runs the command to its end and returns what it printed. Every error but that of a Command
// without Args is an *Error. When Run returns the child has been reaped and its process group killed.
func (r *Runner) Run(ctx context.Context, c Command) (Output, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return Output{ExitCode: -1}, errors.New("child: no program named")
	}
	release, err := r.acquire(ctx)
	if err != nil {
		return Output{ExitCode: -1}, ended(ctx, c.Args[0])
	}
	defer release()
	return run(ctx, c)
}

func (r *Runner) acquire(ctx context.Context) (release func(), err error) {
	r.once.Do(func() {
		limit := r.Limit
		if limit <= 0 {
			limit = max(2, runtime.NumCPU())
		}
		r.slots = make(chan struct{}, limit)
	})
	if err := ctx.Err(); err != nil {
		return nil, err // select would take a free slot half of the time
	}
	select {
	case r.slots <- struct{}{}:
		return func() { <-r.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func run(ctx context.Context, c Command) (Output, error) {
	program := c.Args[0]
	path, err := lookPath(program)
	if err != nil {
		return Output{ExitCode: -1}, unstarted(program, err)
	}
	if c.Dir == "" {
		c.Dir = rootDir
	}
	if _, err := os.Stat(c.Dir); err != nil { // the fork would blame the program
		return Output{ExitCode: -1}, &Error{Program: program, Reason: Unstarted, Cause: underlying(err)}
	}
	limit := c.Stdout
	if limit <= 0 {
		limit = DefaultStdout
	}
	stdout := &capped{limit: limit, over: make(chan struct{})}
	stderr := &capped{limit: maxStderr, over: make(chan struct{})}
	cmd := &exec.Cmd{
		Path: path, Args: c.Args, Env: environment(c.Env, freshet.Ancestry(ctx)), Dir: c.Dir,
		Stdout: stdout, Stderr: stderr,
		WaitDelay: drainTime, SysProcAttr: attributes(),
	}

	// On Linux the parent-death signal comes when the thread that forked ends, not the process: keep it until the
	// child is reaped.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return Output{ExitCode: -1}, unstarted(program, err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		awaitExit(cmd.Process.Pid)
	}()

	var failure error
	select {
	case <-exited:
	case <-stdout.over:
		failure = &Error{Program: program, Reason: Overflow, Limit: limit}
	case <-ctx.Done():
		select {
		case <-exited: // it ended first: its own result counts
		default:
			failure = ended(ctx, program)
		}
	}
	// The leader is not reaped yet, so its id, which names the group, cannot belong to anybody else.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-exited
	err = cmd.Wait()

	out := Output{Stdout: stdout.bytes(), Stderr: stderr.text(), ExitCode: cmd.ProcessState.ExitCode()}
	if failure == nil && stdout.exceeded() {
		failure = &Error{Program: program, Reason: Overflow, Limit: limit}
	}
	if failure == nil {
		failure = result(program, cmd, err)
	}
	return out, failure
}

// result is the error of a child that ended without our doing, or nil.
func result(program string, cmd *exec.Cmd, err error) error {
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Signaled():
		return &Error{Program: program, Reason: Signaled, Signal: status.Signal()}
	case !cmd.ProcessState.Success():
		return &Error{Program: program, Reason: Exited, Code: cmd.ProcessState.ExitCode()}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return &Error{Program: program, Reason: Unstarted, Cause: err}
	}
	return nil // a pipe held by an escaped process is no fault of this answer
}

// capped keeps the first limit bytes and drops the rest, so that the child never blocks on a full pipe.
type capped struct {
	limit int64
	once  sync.Once
	over  chan struct{} // closed once more than limit was written

	mu  sync.Mutex // an abandoned copy may still write after drainTime
	buf bytes.Buffer
}

func (w *capped) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	room := w.limit - int64(w.buf.Len())
	if int64(len(p)) > room {
		w.once.Do(func() { close(w.over) })
	}
	w.buf.Write(p[:min(int64(len(p)), room)])
	return len(p), nil
}

func (w *capped) exceeded() bool {
	select {
	case <-w.over:
		return true
	default:
		return false
	}
}

func (w *capped) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.buf.Bytes())
}

// text is what was kept, scrubbed. A word that the cap cut in two is dropped: half of a token is still half a token.
func (w *capped) text() string {
	b := w.bytes()
	if len(b) == 0 {
		return ""
	}
	if w.exceeded() {
		b = b[:bytes.LastIndexAny(b, " \t\r\n")+1]
	}
	return scrub(string(b))
}
