package daemon

import (
	"errors"

	"golang.org/x/sys/unix"
)

// harden keeps the process's memory from core files, and from debuggers of its own user that are not root (prctl(2),
// PR_SET_DUMPABLE). It holds every tenant's credentials.
func harden() error {
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
	)
}
