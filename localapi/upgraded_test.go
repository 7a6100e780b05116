package localapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/broker"
	"freshet.dev/internal/peer"
	"freshet.dev/internal/wire"
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

// TestHalfALineBehindAnEndIsNotWaitedForLong either: its time runs from there.
func TestHalfALineBehindAnEndIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r room
		u, far := upgradedPipe(&r)
		defer far.Close()
		go func() {
			time.Sleep(time.Hour)
			_, _ = io.WriteString(far, "one\ntw")
			time.Sleep(stall / 2)
			_, _ = io.WriteString(far, "o\nthr")
		}()
		began := time.Now()
		got, err := io.ReadAll(u)
		if string(got) != "one\ntwo\nthr" || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Hour+stall/2+stall {
			t.Errorf("got %q after %v: %v", got, time.Since(began), err)
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
		if _, err := far.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("its client is told %v", err)
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

// TestWhatIsReadAtTheEndIsHeldForNobody: a connection gives back once.
func TestWhatIsReadAtTheEndIsHeldForNobody(t *testing.T) {
	var r room
	u, far := upgradedPipe(&r)
	defer far.Close()
	u.early = []byte("half")
	u.forget()
	if _, err := u.Read(make([]byte, 10)); err == nil || len(r.held) > 0 {
		t.Errorf("got %v, and %v is held", err, r.held)
	}
}

// listener is a bridge that only listens.
type listener struct{}

func (listener) Serve(_ context.Context, rw io.ReadWriteCloser) error {
	_, err := io.Copy(io.Discard, rw)
	return err
}

func (listener) Close() {}

// hijacked has its connection taken over, with what came early.
type hijacked struct {
	*httptest.ResponseRecorder
	conn  net.Conn
	early string
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	in := bufio.NewReader(strings.NewReader(h.early))
	_, err := in.Peek(len(h.early))
	return h.conn, bufio.NewReadWriter(in, bufio.NewWriter(h.conn)), err
}

// TestConnectionHoldsForItsUserUntilItEnds, also what came with its request.
func TestConnectionHoldsForItsUserUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Config{OpenMCP: func(context.Context, broker.Caller, wire.MCP) (MCP, error) { return listener{}, nil }})
		near, far := net.Pipe()
		r := httptest.NewRequest("POST", pathMCP, strings.NewReader("{}"))
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {wire.UpgradeMCP}}
		r = r.WithContext(context.WithValue(t.Context(), peerKey{}, peer.Credentials{UID: 4242}))
		a.ServeHTTP(hijacked{httptest.NewRecorder(), near, "half"}, r)
		go func() { _, _ = io.Copy(io.Discard, far) }()
		synctest.Wait()
		if want := map[uint32]int{4242: len("half")}; !maps.Equal(a.room.held, want) {
			t.Errorf("%v is held, want %v", a.room.held, want)
		}
		_ = far.Close()
		synctest.Wait()
		if len(a.room.held) > 0 {
			t.Errorf("%v is held", a.room.held)
		}
	})
}
