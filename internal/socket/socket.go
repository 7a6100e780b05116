// Package socket is where freshet's Unix sockets are, and how one is taken and reached.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/peer"
)

// maxPath is the longest path of a socket: sun_path is 108 bytes on Linux and 104 on macOS, one of them the end.
const maxPath = 103

// Dir is the folder of the default socket and of everything else that freshet keeps at run time: $XDG_RUNTIME_DIR/freshet,
// /run/freshet for root, else freshet-UID in the temp folder.
func Dir() string {
	switch uid := os.Getuid(); {
	case os.Getenv("XDG_RUNTIME_DIR") != "":
		return filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "freshet")
	case uid == 0:
		return "/run/freshet"
	default:
		return filepath.Join(os.TempDir(), "freshet-"+strconv.Itoa(uid))
	}
}

// Default is the default socket's path.
func Default() string { return filepath.Join(Dir(), "freshet.sock") }

// OwnDir makes a folder that this user alone can write to, or checks that one found there is such: in a shared temp folder
// anybody may have made it first. Nor may anybody be able to put another in its place.
func OwnDir(dir string, mode fs.FileMode) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, mode); err != nil {
		return err
	}
	if err := checkParent(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, mode); err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	case !ok || st.Uid != uint32(os.Getuid()):
		return fmt.Errorf("%s belongs to another user", dir)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written to by others", dir)
	}
	return nil
}

// checkParent refuses a folder in which others can rename what is this user's: theirs, or one that they can write to and that
// is not sticky, as /tmp is.
func checkParent(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || st.Uid != 0 && st.Uid != uint32(os.Getuid()):
		return fmt.Errorf("%s belongs to another user", dir)
	case info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("%s can be written to by others", dir)
	}
	return nil
}

// Listener is a listening socket, with the lock that keeps a second daemon from taking its path.
type Listener struct {
	*net.UnixListener
	lock *os.File
	once sync.Once
	err  error
}

// Listen takes a path. A socket that nobody listens on any more is replaced; one that somebody does is an error of kind
// [freshet.Invalid]. The lock beside it decides, so that two daemons that start at once cannot both think the socket stale.
func Listen(path string, mode fs.FileMode, gid int) (*Listener, error) {
	if len(path) > maxPath {
		return nil, freshet.Errorf(freshet.Invalid, "socket %s: the path is %d bytes long, and a socket's may have %d", path, len(path), maxPath).
			WithHint("set socket.path to a shorter one")
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, freshet.Errorf(freshet.Invalid, "socket %s: %w", path, reason(err)).WithHint("its folder must exist and be writable")
	}
	if err := await(lock, path); err != nil {
		lock.Close()
		return nil, freshet.Errorf(freshet.Invalid, "socket %s: another freshet daemon has it", path).
			WithHint("stop that one, or give this one a socket.path of its own")
	}
	l, err := bind(path, mode, gid)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &Listener{UnixListener: l, lock: lock}, nil
}

const (
	// passing is how long a lock is waited for that no living daemon seems to have. One that was killed while it started a
	// source's program leaves its lock and its sockets to that: they are closed when the program is executed, or dies with the
	// thread that started it, and on a busy machine neither is at once.
	passing = 2 * time.Second
	// retry is how long to wait before looking again.
	retry = 5 * time.Millisecond
)

// await takes a lock, at once or soon. A daemon that is there is not waited for.
func await(lock *os.File, path string) error {
	began := freshet.Now()
	for waited := false; ; waited = true {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && waited {
			<-time.After(retry) // the sockets go just after it
		}
		if err == nil || began.Elapsed() > passing || served(path) {
			return err
		}
		<-time.After(retry)
	}
}

// served reports whether the process lives that listens at a socket: the kernel names the one that began to, even where another
// has inherited it.
func served(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	defer c.Close()
	p, err := peer.Of(c)
	return err == nil && p.PID > 0 && !errors.Is(syscall.Kill(p.PID, 0), syscall.ESRCH)
}

func bind(path string, mode fs.FileMode, gid int) (*net.UnixListener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, freshet.Errorf(freshet.Invalid, "socket %s: there is a file that is no socket", path).WithHint("move it away, or set another socket.path")
		}
		// Refused means that nobody listens. Any other failure, such as that of a full queue, means that somebody does.
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, freshet.Errorf(freshet.Invalid, "socket %s: another program listens there", path).WithHint("stop it, or set another socket.path")
		}
		if err := os.Remove(path); err != nil {
			return nil, freshet.Errorf(freshet.Invalid, "socket %s: stale, and not to be removed: %w", path, reason(err))
		}
	}
	// The socket is made closed to others and opened afterwards: between bind and chmod nobody gets in who should not.
	old := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		return nil, freshet.Errorf(freshet.Invalid, "socket %s: %w", path, reason(err)).WithHint("its folder must exist and be writable")
	}
	if gid >= 0 {
		err = os.Chown(path, -1, gid)
	}
	if err == nil && mode != 0o600 {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		l.Close()
		return nil, freshet.Errorf(freshet.Invalid, "socket %s: %w", path, reason(err))
	}
	return l, nil
}

// Close stops listening, removes the socket, and gives up the lock. The lock's file stays: removing it would let a third
// daemon lock another file of that name. Closing again does nothing more: a server closes its listener, and so does who took it.
func (l *Listener) Close() error {
	l.once.Do(func() { l.err = errors.Join(l.UnixListener.Close(), l.lock.Close()) })
	return l.err
}

// ErrNobody is the cause of the error when nothing listens at a path: it does not exist, or is left from a daemon that died.
// A denial or a timeout is another thing.
var ErrNobody = errors.New("nothing listens there")

// Dial connects to a socket whose server runs as this user or as root. A server of another user could hand out credentials of
// its own choosing.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		e := freshet.Errorf(freshet.Unavailable, "no daemon listens at %s", path).WithHint("start one with: freshet serve")
		e.Cause = ErrNobody
		return nil, e
	case err != nil:
		return nil, freshet.Errorf(freshet.Unavailable, "socket %s: %w", path, reason(err))
	}
	p, err := peer.Of(c)
	if err != nil || p.UID != 0 && p.UID != uint32(os.Getuid()) {
		c.Close()
		return nil, freshet.Errorf(freshet.Denied, "socket %s: its server runs as another user", path).
			WithHint("a daemon for this user runs as this user or as root")
	}
	return c, nil
}

// reason is an error without the operation and path that the message has already.
func reason(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
