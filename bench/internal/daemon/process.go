package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command is a server to start.
type Command struct {
	Args  []string
	Env   []string                    // nil: this process's
	Ready string                      // in the line that it prints once it listens
	Until func(context.Context) error // returns once it listens; nil: it prints Ready
}

// Process is a server that runs.
type Process struct {
	PID  int
	Line string // by which it said that it listens

	last  string // line it printed, once ended is closed
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}
	once  sync.Once
}

// Start starts a server and returns when it listens. It is stopped by [Process.Stop], or when ctx ends.
func Start(ctx context.Context, c Command) (*Process, error) {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = c.Env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	stdin, err1 := cmd.StdinPipe() // our servers end with it
	r, w, err2 := os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	err := cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	p := &Process{PID: cmd.Process.Pid, cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	lines := make(chan string, 1)
	go p.read(r, c.Ready, lines)
	if c.Until != nil {
		if err := c.Until(ctx); err != nil {
			p.Stop()
			return nil, err
		}
		return p, nil
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case line, ok := <-lines:
		if !ok {
			p.Stop()
			return nil, fmt.Errorf("%s ended before it listened: %s", c.Args[0], p.last)
		}
		p.Line = line
		return p, nil
	case <-bounded.Done():
		p.Stop()
		return nil, fmt.Errorf("%s does not listen: %w", c.Args[0], bounded.Err())
	}
}

// patience is more than any server takes to start, on a machine that is busy with something else.
const patience = 30 * time.Second

// read finds the line that says ready among those that a process prints, until it has ended.
func (p *Process) read(r *os.File, ready string, lines chan<- string) {
	defer close(p.ended)
	defer r.Close()
	defer close(lines)
	for s, found := bufio.NewScanner(r), false; s.Scan(); p.last = s.Text() {
		if !found && ready != "" && strings.Contains(s.Text(), ready) {
			found = true
			lines <- s.Text()
		}
	}
}

// Stop ends the process and waits for it.
func (p *Process) Stop() {
	p.once.Do(func() {
		p.stdin.Close()
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		_ = p.cmd.Wait()
		<-p.ended
	})
}
