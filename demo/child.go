package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"freshet.dev/freshet"
)

// child is a process of this demo: freshet itself, by another command. It leads a group of its own, so that whatever it starts
// ends with it, and it ends by itself once its standard input does, so that nothing outlives a demo that was killed.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout io.ReadCloser
	stderr lines
	stop   func() bool // of what kills it when the context ends

	mu   sync.Mutex
	over bool // its id may be another's soon
}

// childEnd is how long a child may take to end by itself.
const childEnd = 3 * time.Second

// start starts freshet with some arguments. What is secret among what it needs is in env or goes through its standard input.
func (s *stage) start(ctx context.Context, env []string, args ...string) (*child, error) {
	if ctx.Err() != nil {
		return nil, freshet.AsError(ctx.Err())
	}
	// Its own name comes first whatever its file is called.
	cmd := &exec.Cmd{Path: s.cfg.Program, Args: append([]string{"freshet"}, args...), Dir: s.dir, Env: append(s.environment(), env...)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c := &child{cmd: cmd, stderr: lines{ready: make(chan string, 1)}}
	cmd.Stderr = &c.stderr
	cmd.WaitDelay = childEnd
	var err error
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, broken(err)
	}
	if c.stdout, err = cmd.StdoutPipe(); err != nil {
		return nil, broken(err)
	}
	if err := cmd.Start(); err != nil {
		return nil, broken(err)
	}
	c.stop = context.AfterFunc(ctx, c.kill)
	return c, nil
}

func broken(err error) error {
	return freshet.Errorf(freshet.Unavailable, "demo: a process could not be started: %w", err)
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// kill ends the child's whole group.
func (c *child) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		_ = syscall.Kill(-c.pid(), syscall.SIGKILL)
	}
}

// end lets the child end by itself, and kills what is left of it and its group.
func (c *child) end() {
	c.stdin.Close()
	late := time.AfterFunc(childEnd, c.kill)
	_, _ = io.Copy(io.Discard, c.stdout) // until it has ended
	late.Stop()
	c.stop()
	c.kill()
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	_ = c.cmd.Wait()
}

// order tells a phase's process what to do, reads its report, and ends it.
func (c *child) order(ctx context.Context, o order) (r report, err error) {
	if err = json.NewEncoder(c.stdin).Encode(o); err == nil {
		err = json.NewDecoder(c.stdout).Decode(&r)
	}
	c.end() // all that it said has been read then
	switch {
	case err == nil:
		return r, nil
	case ctx.Err() != nil:
		return r, freshet.AsError(ctx.Err())
	}
	return r, freshet.Errorf(freshet.Bug, "demo: the callers of %s ended early: %s", o.Client, c.stderr.last())
}

// lines keeps the last line that was written, hints aside, and hands on the first that says that a daemon is ready.
type lines struct {
	ready chan string

	mu   sync.Mutex
	part []byte
	text string
}

// maxLine bounds what is kept of a line without an end.
const maxLine = 4 << 10

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, p...)
	for {
		n, line, err := bufio.ScanLines(l.part, len(l.part) > maxLine)
		if n == 0 || err != nil {
			return len(p), nil
		}
		l.part = l.part[n:]
		if strings.HasPrefix(string(line), "hint: ") {
			continue // the line before it says what is the matter
		}
		l.text = string(line)
		if strings.HasPrefix(l.text, "freshet: ready: ") {
			select {
			case l.ready <- l.text:
			default:
			}
		}
	}
}

func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

// environment is what every child of the demo sees: nothing of the user's settings, logins and proxies.
func (s *stage) environment() []string {
	env := []string{
		"PATH=" + s.bin + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + s.home, "TMPDIR=" + s.home, "XDG_RUNTIME_DIR=" + s.home, "XDG_CONFIG_HOME=" + s.home,
	}
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "GO") { // how Go's runtime behaves: GOMAXPROCS, GODEBUG, GORACE
			env = append(env, kv)
		}
	}
	return env
}

// await waits until the child says that it is ready, and returns how it says so. A child that does not is ended.
func (c *child) await(ctx context.Context) (string, error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, c.stdout) // it prints nothing, so this is its end
	}()
	select {
	case line := <-c.stderr.ready:
		return line, nil
	case <-ctx.Done():
	case <-ended:
	case <-late.C:
	}
	c.end()
	if ctx.Err() != nil {
		return "", freshet.AsError(ctx.Err())
	}
	return "", freshet.Errorf(freshet.Unavailable, "demo: the daemon did not start: %s", c.stderr.last())
}
