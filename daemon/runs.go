package daemon

import (
	"os"
	"path/filepath"
	"syscall"

	"freshet.dev/freshet"
	"freshet.dev/internal/socket"
)

// Run is the folder of one command while it runs: its child's private files and, without a daemon, its own socket. It holds no
// secret. A lock tells that its command lives; the folder of one that was killed is removed by whoever next looks.
type Run struct {
	Dir  string
	lock *os.File
}

func runsDir() string { return filepath.Join(socket.Dir(), "runs") }

// NewRun makes a folder of this process's own.
func NewRun() (*Run, error) {
	if _, err := RuntimeFolder("runs"); err != nil {
		return nil, err
	}
	all, err := lockDir(runsDir(), syscall.LOCK_EX)
	if err != nil {
		return nil, refuse(err)
	}
	defer all.Close()
	sweep()
	dir, err := os.MkdirTemp(runsDir(), "")
	if err != nil {
		return nil, refuse(err)
	}
	lock, err := lockDir(dir, syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		os.RemoveAll(dir)
		return nil, refuse(err)
	}
	return &Run{dir, lock}, nil
}

// Close removes the folder.
func (r *Run) Close() {
	os.RemoveAll(r.Dir)
	r.lock.Close()
}

// SweepRuns removes the folders of commands that were killed.
func SweepRuns() {
	// A folder that somebody else has put there may lead anywhere: nothing is removed through it.
	if _, err := os.Lstat(runsDir()); err != nil {
		return
	}
	if _, err := RuntimeFolder("runs"); err != nil {
		return
	}
	all, err := lockDir(runsDir(), syscall.LOCK_EX)
	if err != nil {
		return // there are none
	}
	defer all.Close()
	sweep()
}

// sweep is called with the lock of the folder of all runs, so that no folder is seen between its making and its locking.
func sweep() {
	entries, err := os.ReadDir(runsDir())
	if err != nil {
		return
	}
	for _, e := range entries {
		dir := filepath.Join(runsDir(), e.Name())
		if lock, err := lockDir(dir, syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			os.RemoveAll(dir)
			lock.Close()
		}
	}
}

// lockDir locks a folder itself: it needs no file, and is given up when its process ends, however it ends.
func lockDir(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NOFOLLOW|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// RuntimeFolder makes a folder in the run-time folder, or finds it there. Both are this user's alone: in a shared temp folder
// anybody may have made them first.
func RuntimeFolder(name string) (string, error) {
	dir := filepath.Join(socket.Dir(), name)
	for _, d := range []string{socket.Dir(), dir} {
		if err := socket.OwnDir(d, 0o700); err != nil {
			return "", refuse(err)
		}
	}
	return dir, nil
}

// refuse says that the run-time folder is of no use.
func refuse(err error) error {
	return freshet.Errorf(freshet.Invalid, "run-time folder: %w", err).WithHint("set XDG_RUNTIME_DIR to a folder of your own")
}
