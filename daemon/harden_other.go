//go:build !linux

package daemon

import "syscall"

// harden keeps the process's memory from core files.
func harden() error { return syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }

// Undumpable does nothing here: there is only the limit, which programs that this process runs would inherit.
func Undumpable() error { return nil }
