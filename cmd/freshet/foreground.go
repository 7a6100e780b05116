package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"freshet.dev/freshet"
)

// passed are the signals handed on to the child. SIGKILL and SIGSTOP cannot be caught; SIGCHLD, SIGURG and SIGPIPE are this
// process's own; a stop at the terminal (SIGTSTP) reaches both.
var passed = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGWINCH,
	syscall.SIGCONT,
}

// runForeground runs a child in this process's own group, so that it has the terminal, passes signals on, and returns its exit
// code.
func runForeground(ctx context.Context, cmd *exec.Cmd) (int, error) {
	signals := make(chan os.Signal, 16)
	if pass := heeded(passed...); len(pass) > 0 {
		signal.Notify(signals, pass...)
		defer signal.Stop(signals)
	}
	// A warning to a standard error that nobody reads any more must not end this process, and the child with it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if ctx.Err() != nil {
		return exitOwnFailure, freshet.Errorf(freshet.Unavailable, "a signal came before %s was started", cmd.Args[0])
	}
	// The parent-death signal comes when the thread that started the child ends: this goroutine keeps its own until the child
	// has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.ENOEXEC) || errors.Is(err, syscall.EACCES) {
			return exitNotExecutable, notExecutable(cmd.Args[0])
		}
		return exitOwnFailure, freshet.Errorf(freshet.Unavailable, "%s: cannot be started", cmd.Args[0])
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if !fromKeyboard(s) {
					_ = cmd.Process.Signal(s)
				}
			case <-ended:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(ended)
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return exitOwnFailure, freshet.Errorf(freshet.Unavailable, "%s: its output could not be passed on", cmd.Args[0])
	}
	return cmd.ProcessState.ExitCode(), nil
}

// fromKeyboard reports whether a signal came, or may have come, from the terminal. The terminal sends its signals to the whole
// foreground group, and so to the child as well: passing them on would make two of one.
func fromKeyboard(s os.Signal) bool {
	switch s {
	case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGWINCH, syscall.SIGHUP, syscall.SIGCONT:
	default:
		return false
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return false // no terminal
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
