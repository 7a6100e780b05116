package localapi

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// upgradedPipe is a connection, and its other end.
func upgradedPipe(r *room) (*upgraded, net.Conn) {
	near, far := net.Pipe()
	return &upgraded{Conn: near, room: r, uid: 4242}, far
}

// TestAnswerThatIsNotReadEndsItsConnection: it is in memory as long as it waits, and what comes after it is too.
func TestAnswerThatIsNotReadEndsItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r room
		u, far := upgradedPipe(&r)
		defer far.Close()
		began := time.Now()
		if _, err := u.Write(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != stall {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if _, err := far.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("its client is told %v", err)
		}
		if len(r.held) > 0 {
			t.Errorf("%v is held", r.held)
		}
	})
}

// TestHalfALineIsNotWaitedForLong, while nothing at all may be said for hours.
func TestHalfALineIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r room
		u, far := upgradedPipe(&r)
		defer far.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, part := range []string{"one\n", "tw", "o\n", "thr"} {
				if part != "o\n" {
					time.Sleep(time.Hour)
				}
				_, _ = io.WriteString(far, part)
			}
			for range 100 { // drop by drop
				time.Sleep(time.Second)
				if _, err := io.WriteString(far, "e"); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		got, err := io.ReadAll(u)
		if !bytes.HasPrefix(got, []byte("one\ntwo\nthree")) || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 3*time.Hour+stall {
			t.Errorf("got %d bytes after %v: %v", len(got), time.Since(began), err)
		}
		_ = u.Close()
		<-done
		if u.forget(); len(r.held) > 0 {
			t.Errorf("%v is held", r.held)
		}
	})
}

// TestUsersUnfinishedLinesAreBoundedTogether: by how many connections they come makes no difference.
func TestUsersUnfinishedLinesAreBoundedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := room{held: map[uint32]int{4242: maxHeld - 10, 1: maxHeld}}
		u, far := upgradedPipe(&r)
		defer far.Close()
		go func() { _, _ = io.WriteString(far, "0123456789\n0123456789"); _, _ = io.WriteString(far, "0") }()
		got, err := io.ReadAll(u)
		if string(got) != "0123456789\n0123456789" || err == nil {
			t.Errorf("got %q: %v", got, err)
		}
		u.forget()
		if r.held[4242] != maxHeld-10 {
			t.Errorf("%v is held", r.held)
		}
		// Who has no room left is answered still, if they read.
		u, far = upgradedPipe(&r)
		began := time.Now()
		go func() { _, _ = io.ReadFull(far, make([]byte, 100)) }()
		if _, err := u.Write(make([]byte, 100)); err != nil {
			t.Error(err)
		}
		if _, err := u.Write(make([]byte, 100)); err == nil || time.Since(began) != stallFull {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
