//go:build unix && !linux

package party

import "syscall"

// ownGroup puts a child in a process group of its own, so that all it starts can be ended with it.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
