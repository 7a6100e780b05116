package localapi

import (
	"bytes"
	"net"
	"sync"
	"time"

	"freshet.dev/freshet"
)

const (
	// stall is how long half a message may wait for its other half, and an answer for being read. Both are held in memory meanwhile.
	stall = 30 * time.Second
	// stallFull is the latter for a user who has no room left: time to read, and none to wait.
	stallFull = 2 * time.Second
	// maxHeld bounds the bytes that one user's connections hold up.
	maxHeld = 256 << 20
)

// upgraded is a connection of lines, some of which came with the request. Whoever sends half a line or does not read what was asked
// for is waited for, but not long, and a user's connections together hold up only so much.
type upgraded struct {
	net.Conn
	early []byte
	room  *room
	uid   uint32

	mu     sync.Mutex
	begun  int  // bytes of a line that has not ended
	closed bool // nothing is held any more
}

// Read implements [io.Reader]. There is one reader.
func (u *upgraded) Read(p []byte) (n int, err error) {
	if len(u.early) > 0 {
		n = copy(p, u.early)
		if u.early = u.early[n:]; len(u.early) == 0 {
			u.early = nil
		}
	} else if n, err = u.Conn.Read(p); err != nil {
		return n, err
	}
	if n == 0 {
		return n, nil
	}
	if err := u.read(p[:n]); err != nil {
		_ = u.Conn.Close()
		return 0, err
	}
	return n, nil
}

// read takes note of what has been read: the time runs from a line's first half on.
func (u *upgraded) read(p []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	before, now := u.begun, u.begun+len(p)
	if end := bytes.LastIndexByte(p, '\n'); end >= 0 {
		u.room.leave(u.uid, before)
		before, u.begun, now = 0, 0, len(p)-end-1
		if now == 0 {
			return u.SetReadDeadline(time.Time{})
		}
		if err := u.SetReadDeadline(freshet.Now().Wall().Add(stall)); err != nil {
			return err
		}
	} else if before == 0 {
		if err := u.SetReadDeadline(freshet.Now().Wall().Add(stall)); err != nil {
			return err
		}
	}
	if u.closed || !u.room.take(u.uid, now-before) {
		return freshet.Errorf(freshet.Unavailable, "uid %d has %d MiB of unfinished messages, the most there may be", u.uid, maxHeld>>20)
	}
	u.begun = now
	return nil
}

// Write implements [io.Writer]. Writers are kept waiting together: whoever is behind one that is stuck is too.
func (u *upgraded) Write(p []byte) (int, error) {
	patience := stall
	if u.room.take(u.uid, len(p)) {
		defer u.room.leave(u.uid, len(p))
	} else {
		patience = stallFull
	}
	if err := u.SetWriteDeadline(freshet.Now().Wall().Add(patience)); err != nil {
		return 0, err
	}
	n, err := u.Conn.Write(p)
	if err != nil {
		_ = u.Conn.Close() // half an answer may be out, and there is no other half
	}
	return n, err
}

// forget gives back what the connection held.
func (u *upgraded) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.room.leave(u.uid, u.begun)
	u.begun, u.closed = 0, true
}

// room counts the bytes that users' connections hold up.
type room struct {
	mu   sync.Mutex
	held map[uint32]int
}

func (r *room) take(uid uint32, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > maxHeld-r.held[uid] {
		return false
	}
	if r.held == nil {
		r.held = make(map[uint32]int)
	}
	r.held[uid] += n
	return true
}

func (r *room) leave(uid uint32, n int) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[uid] -= n; r.held[uid] <= 0 {
		delete(r.held, uid)
	}
}
