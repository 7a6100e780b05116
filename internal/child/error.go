package child

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"syscall"
)

// Reason says what became of a child that gave no answer.
type Reason int

const (
	NotFound      Reason = iota + 1 // there is no such program
	NotExecutable                   // there is one, and it may not or cannot be run
	Unstarted                       // the system could not start it, or not serve its pipes
	Exited                          // it ended with Error.Code, which is not 0
	Signaled                        // something else than Run killed it, with Error.Signal
	TimedOut                        // the context's deadline passed, while it ran or before it had a slot
	Canceled                        // the context was cancelled likewise
	Overflow                        // it printed more than it may
)

// Error is how a child failed. Its text names the program and nothing of its arguments, environment or output.
type Error struct {
	Program string // the command's first word
	Reason  Reason
	Code    int            // exit status, if Exited
	Signal  syscall.Signal // if Signaled
	Limit   int64          // bytes, if Overflow
	Cause   error          // the system's or the context's error, if there is one
}

func (e *Error) Error() string {
	return e.Program + ": " + e.why()
}

func (e *Error) why() string {
	switch e.Reason {
	case NotFound:
		return "no such program"
	case NotExecutable:
		return "not executable"
	case Exited:
		return fmt.Sprintf("exit status %d", e.Code)
	case Signaled:
		return "killed: " + e.Signal.String()
	case TimedOut:
		return "timed out"
	case Canceled:
		return "cancelled"
	case Overflow:
		return "output over " + size(e.Limit)
	}
	if e.Cause != nil {
		return "not started: " + e.Cause.Error()
	}
	return "not started"
}

// Unwrap gives the context's or the system's error.
func (e *Error) Unwrap() error { return e.Cause }

// Hint says what to do, where that is known.
func (e *Error) Hint() string {
	switch e.Reason {
	case NotFound:
		return "install it, or name it by its full path"
	case NotExecutable:
		return "chmod +x it, or name its interpreter first"
	case TimedOut:
		return "run it in a terminal: it may be waiting for somebody"
	}
	return ""
}

// ended is the error of a context that is done.
func ended(ctx context.Context, program string) error {
	reason := Canceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		reason = TimedOut
	}
	return &Error{Program: program, Reason: reason, Cause: ctx.Err()}
}

// unstarted sorts an error of the lookup or of the fork. Only the system's own error is kept: os/exec's has paths.
func unstarted(program string, err error) error {
	e := &Error{Program: program, Reason: Unstarted, Cause: underlying(err)}
	switch {
	case errors.Is(err, exec.ErrDot), errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		e.Reason = NotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.EISDIR):
		e.Reason = NotExecutable
	}
	return e
}

// underlying is the system's error number in err, or nil.
func underlying(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return nil
}

func size(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
