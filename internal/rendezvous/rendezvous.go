// Package rendezvous lets processes of one user that retrieve the same credential at the same time make one retrieval.
//
// There is no daemon among them. The first takes a file lock named by the key, listens on a socket beside it, retrieves, and
// answers whoever has connected meanwhile; then it removes the socket and gives up the lock. The others connect and wait. The
// lock's file holds nothing, and nothing that is retrieved is ever on disk. If the holder dies the kernel gives up its lock
// and closes its socket, and one of those who waited takes its place.
package rendezvous

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"freshet.dev/freshet"
	"freshet.dev/internal/peer"
	"freshet.dev/internal/socket"
	"freshet.dev/internal/wire"
)

// Point is a folder where processes meet.
type Point struct{ dir string }

// At uses a folder of this user's own, made if there is none.
func At(dir string) (*Point, error) {
	if err := socket.OwnDir(dir, 0o700); err != nil {
		return nil, freshet.Errorf(freshet.Invalid, "run-time folder: %w", err).WithHint("set XDG_RUNTIME_DIR to a folder of your own")
	}
	return &Point{dir}, nil
}

// reply is what the holder tells those who wait: a credential or an error.
type reply struct {
	Credential *wire.Credential `json:"credential,omitempty"`
	Problem    *wire.Problem    `json:"problem,omitempty"`
}

// maxReply bounds what is read of the holder's answer.
const maxReply = 4 << 20

// retry is how long to wait before looking again, between a holder's end and the next one's socket.
const retry = 5 * time.Millisecond

// Do retrieves a credential, or has it from the process that is doing so. shared tells which.
func (p *Point) Do(ctx context.Context, key string, retrieve func(context.Context) (*freshet.Credential, error)) (c *freshet.Credential, shared bool, err error) {
	base := p.base(key)
	for {
		lock, err := take(base + ".lock")
		if err != nil {
			return nil, false, freshet.Errorf(freshet.Unavailable, "run-time folder: %w", err)
		}
		if lock != nil {
			defer leave(lock, base+".lock")
			c, err := hold(ctx, base, retrieve)
			return c, false, err
		}
		sent := freshet.Now()
		if r, ok := ask(ctx, base+".sock"); ok {
			if r.Problem != nil {
				return nil, true, r.Problem.Err()
			}
			a, err := r.Credential.Answer(sent)
			return a.Credential, true, err
		}
		select {
		case <-ctx.Done():
			return nil, false, freshet.AsError(ctx.Err())
		case <-time.After(retry):
		}
	}
}

// base is where a key's lock and socket are, but for their endings.
func (p *Point) base(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(p.dir, hex.EncodeToString(sum[:12]))
}

// take locks a file without waiting; nil without an error means that another process has it.
func take(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil && names(path, f) {
		return f, nil
	}
	f.Close()
	if err == nil || errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
}

// names reports whether a path still is the file that was opened there: its last holder may have removed it meanwhile.
func names(path string, f *os.File) bool {
	there, err := os.Lstat(path)
	if err != nil {
		return false
	}
	opened, err := f.Stat()
	return err == nil && os.SameFile(there, opened)
}

// leave gives up a lock, and removes its file first: there is a key for everything that was ever asked.
func leave(lock *os.File, path string) {
	_ = os.Remove(path)
	lock.Close()
}

// hold retrieves while others gather at the socket, and answers them.
func hold(ctx context.Context, base string, retrieve func(context.Context) (*freshet.Credential, error)) (*freshet.Credential, error) {
	path := base + ".sock"
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, freshet.Errorf(freshet.Unavailable, "run-time folder: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, freshet.Errorf(freshet.Unavailable, "run-time folder: %w", err).WithHint("its path may be too long: set XDG_RUNTIME_DIR to a shorter one")
	}
	defer l.Close()
	c, err := retrieve(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, err // this process's own end is no answer to the others: one of them takes its place
	}
	var r reply
	if err != nil {
		p := wire.ProblemOf(err)
		r.Problem = &p
	} else {
		doc := wire.Of(freshet.Answer{Credential: c, Retrieved: true})
		r.Credential = &doc
	}
	if b, jsonErr := json.Marshal(r); jsonErr == nil {
		answerAll(l, b)
	}
	return c, err
}

// patience bounds what a holder spends on those who wait, in all: it has its own caller.
const patience = 2 * time.Second

// answerAll answers every process that has connected. Nobody new can: the socket's name goes first.
func answerAll(l *net.UnixListener, b []byte) {
	began := freshet.Now()
	l.SetUnlinkOnClose(false)
	_ = os.Remove(l.Addr().String())
	for queued(l) && began.Elapsed() < patience {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if p, err := peer.Of(c); err == nil && p.UID == uint32(os.Getuid()) {
			_ = c.SetWriteDeadline(began.Wall().Add(patience))
			_, _ = c.Write(b)
		}
		c.Close()
	}
}

// queued reports whether a process has connected, or does so within a moment: it may have found the socket before its name went. It
// asks the kernel. A deadline for Accept could pass before Accept looks, on a busy machine, and leave those who wait to a second
// retrieval.
func queued(l *net.UnixListener) bool {
	raw, err := l.SyscallConn()
	if err != nil {
		return false
	}
	ready := 0
	err = raw.Control(func(fd uintptr) {
		failed := error(unix.EINTR)
		for errors.Is(failed, unix.EINTR) {
			ready, failed = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(retry.Milliseconds()))
		}
	})
	return err == nil && ready > 0
}

// ask waits for the holder's answer. It reports false if there is no holder any more, or not yet a socket.
func ask(ctx context.Context, path string) (reply, bool) {
	c, err := socket.Dial(ctx, path)
	if err != nil {
		return reply{}, false
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	b, err := io.ReadAll(io.LimitReader(c, maxReply))
	if err != nil {
		return reply{}, false
	}
	return parse(b)
}

// parse reads a reply, which holds either a credential or an error.
func parse(b []byte) (reply, bool) {
	var r reply
	if json.Unmarshal(b, &r) != nil || (r.Credential == nil) == (r.Problem == nil) {
		return reply{}, false
	}
	return r, true
}
