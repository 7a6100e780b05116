package party

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// leaveWithin bounds how long a killed process may take to be gone.
const leaveWithin = 10 * time.Second

// Process is a running program in a process group of its own. Its methods may be called from several goroutines.
type Process struct {
	cmd  *exec.Cmd
	log  *log
	done chan struct{} // closed once the program has been waited for
	err  error         // its outcome, set before done is closed
}

// Start starts the program in a group that ends with it, or at the latest with the test. Output the command directs
// nowhere is kept in Log.
func Start(t testing.TB, cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, log: &log{}, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.log
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.log
	}
	cmd.SysProcAttr = ownGroup()
	// A grandchild that outlives the program holds its pipes open: without a bound, Wait would wait for both.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		// What the program left behind goes at once: later, its group's number may be somebody else's.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		close(p.done)
	}()
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p, nil
}

// Signal sends the signal to the program alone.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Pid is the program's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill kills the program and everything in its group, and waits until the program is gone. It is no error if it is
// already.
func (p *Process) Kill() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s: %w", p.cmd.Path, err)
	}
	if errors.Is(p.Wait(leaveWithin), ErrRunning) {
		return fmt.Errorf("kill %s: still there after %v", p.cmd.Path, leaveWithin)
	}
	return nil
}

// ErrRunning is that a program has not ended yet.
var ErrRunning = errors.New("still running")

// Wait waits for the program's end and returns its outcome, or ErrRunning after the limit.
func (p *Process) Wait(limit time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		return fmt.Errorf("%s: %w after %v", p.cmd.Path, ErrRunning, limit)
	}
}

// Log is the output the command did not direct elsewhere: its last part, if it is long.
func (p *Process) Log() string { return p.log.String() }

// ReadyLine waits for a line of the log that starts with the prefix and returns the rest of it. A program that ends
// first fails at once, with its log.
func (p *Process) ReadyLine(prefix string, limit time.Duration) (string, error) {
	var line string
	err := p.Poll(limit, func() error {
		for l := range strings.Lines(p.Log()) {
			if rest, ok := strings.CutPrefix(l, prefix); ok && strings.HasSuffix(rest, "\n") {
				line = strings.TrimSpace(rest)
				return nil
			}
		}
		return fmt.Errorf("no line %q", prefix)
	})
	return line, err
}

// Poll is Poll for something the program is to do, given up when it ends. Its error holds the log.
func (p *Process) Poll(limit time.Duration, ready func() error) error {
	var ended bool
	err := Poll(limit, func() error {
		select {
		case <-p.done:
			ended = true
			return nil
		default:
			return ready()
		}
	})
	switch {
	case ended:
		return fmt.Errorf("%s ended: %v\n%s", p.cmd.Path, p.err, p.Log())
	case err != nil:
		return fmt.Errorf("%s: %w\n%s", p.cmd.Path, err, p.Log())
	}
	return nil
}

// logSize is what a log keeps: a server's complaints before it fell, not a run's history.
const logSize = 64 << 10

// log keeps the end of what is written to it.
type log struct {
	mu   sync.Mutex
	tail []byte
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = append(l.tail, b...)
	if over := len(l.tail) - logSize; over > 0 {
		l.tail = append(l.tail[:0], l.tail[over:]...)
	}
	return len(b), nil
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.tail)
}
