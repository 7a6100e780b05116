package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// issuer is a source whose every answer is another version.
type issuer struct {
	varies freshet.Fields
	calls  atomic.Int64

	mu   sync.Mutex
	err  error
	last freshet.Request
}

// secretPrefix begins every secret that an issuer gives out.
const secretPrefix = "planted-secret-"

func (s *issuer) Varies() freshet.Fields { return s.varies }

func (s *issuer) Retrieve(_ context.Context, r freshet.Request) (*freshet.Credential, error) {
	n := s.calls.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	if s.err != nil {
		return nil, s.err
	}
	return freshet.NewBearer(fmt.Sprint(secretPrefix, n), "", freshet.Validity{Lifetime: time.Hour})
}

func (s *issuer) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *issuer) asked() freshet.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// deriver is a source that is made from another identity's credential.
type deriver struct{ issuer }

func (*deriver) Needs(freshet.Request) freshet.Need { return freshet.Need{} }

const owner = 1000

var (
	self     = Caller{Door: "socket", Peer: true, UID: owner, GIDs: []uint32{owner}, PID: 7}
	stranger = Caller{Door: "socket", Peer: true, UID: 2000, GIDs: []uint32{2000, 44}, PID: 8}
	root     = Caller{Door: "socket", Peer: true, UID: 0, GIDs: []uint32{0}, PID: 9}
)

func identity(name string, s freshet.Source) Identity {
	return Identity{IdentityConfig: freshet.IdentityConfig{Name: name, Version: "1", Kind: "test", Source: s}}
}

// open makes a broker that ends with the test.
func open(t testing.TB, a *Audit, ids ...Identity) *Broker {
	t.Helper()
	b, err := New(Config{Identities: ids, Owner: owner, Audit: a})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}

func get(t testing.TB, b *Broker, c Caller, name string, r freshet.Request) freshet.Answer {
	t.Helper()
	a, err := b.Credential(context.Background(), c, name, r)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return a
}

func kindOf(err error) freshet.Kind {
	if err == nil {
		return ""
	}
	return freshet.AsError(err).Kind
}

// disk is a file that may be full.
type disk struct {
	mu      sync.Mutex
	written bytes.Buffer
	room    int // bytes until it is full; below 0: endless
	hang    chan struct{}
	writes  []string
	closed  bool
}

func newDisk() *disk { return &disk{room: -1} }

func (d *disk) Write(b []byte) (int, error) {
	d.mu.Lock()
	hang := d.hang
	d.mu.Unlock()
	if hang != nil {
		<-hang
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(b)
	if d.room >= 0 {
		n = min(n, d.room)
		d.room -= n
	}
	d.written.Write(b[:n])
	d.writes = append(d.writes, string(b[:n]))
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (d *disk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}

// set changes how much room there is.
func (d *disk) set(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

func (d *disk) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written.String()
}

// lines are the records on the disk, in order, and how many lines are none.
func (d *disk) lines(t testing.TB) (records []record, torn int) {
	t.Helper()
	for _, line := range bytes.Split([]byte(d.text()), []byte("\n")) {
		var r record
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &r) != nil:
			torn++
		default:
			records = append(records, r)
		}
	}
	return records, torn
}

// having are the records of an event.
func having(records []record, event string) []record {
	var some []record
	for _, r := range records {
		if r.Event == event {
			some = append(some, r)
		}
	}
	return some
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
