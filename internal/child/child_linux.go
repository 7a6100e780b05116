package child

import (
	"syscall"
	"unsafe"
)

// attributes makes the child die with the thread that started it, and gives it a session of its own: a group that can
// be killed whole, and no terminal. A background group that touched the terminal would be stopped until its timeout;
// without one, a prompt fails at once.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitExit returns when the child has exited, and leaves it unreaped: until then its process group's id is its own.
func awaitExit(pid int) {
	const byPID = 1          // P_PID of waitid(2)
	var info [128 / 8]uint64 // siginfo_t, which nobody reads
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(pid), uintptr(unsafe.Pointer(&info)),
			syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno != syscall.EINTR {
			return
		}
	}
}
