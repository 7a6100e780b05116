//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package child

import "syscall"

// attributes gives the child a session of its own: a group that can be killed whole, and no terminal. These systems
// have no parent-death signal.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true}
}

// awaitExit returns when the child has exited, and leaves it unreaped: until then its process group's id is its own.
// It is not waitid, which on macOS returns for a child that was merely stopped (golang.org/issue/19314).
func awaitExit(pid int) {
	kq, err := syscall.Kqueue()
	if err != nil {
		return
	}
	defer syscall.Close(kq)
	syscall.CloseOnExec(kq)
	watch := make([]syscall.Kevent_t, 1)
	syscall.SetKevent(&watch[0], pid, syscall.EVFILT_PROC, syscall.EV_ADD|syscall.EV_ONESHOT)
	watch[0].Fflags = syscall.NOTE_EXIT
	happened := make([]syscall.Kevent_t, 1)
	for {
		// An exited child cannot be watched any more: that error is the answer too.
		if _, err := syscall.Kevent(kq, watch, happened, nil); err != syscall.EINTR {
			return
		}
	}
}
