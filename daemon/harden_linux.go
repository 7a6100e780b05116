package daemon

import (
	"errors"

	"golang.org/x/sys/unix"
)

// harden keeps the process's memory from core files, and from debuggers of its own user. It holds every tenant's credentials.
func harden() error {
	return errors.Join(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}), Undumpable())
}

// Undumpable keeps this process's memory from core files and from debuggers that are not root's (prctl(2), PR_SET_DUMPABLE).
// Unlike a limit it is not inherited by the programs that this process runs.
func Undumpable() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
