package party

import "syscall"

// ownGroup puts a child in a process group of its own, so that all it starts can be ended with it, and has the kernel
// kill it should the test binary die without its cleanups (a test timeout is a panic).
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
