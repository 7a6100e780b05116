package freshet

import (
	"sync"
	"sync/atomic"

	"freshet.dev/freshet/internal/clock"
)

// slot is a key's place in the cache: the version now served, and the flight that will replace it. There may be millions, so it
// holds what every key needs, in 80 bytes.
type slot struct {
	id   *Identity
	key  string
	hash uint32

	place  int32 // in its identity's ring, under cache.mu
	size   int32 // accounted to its identity, under cache.mu
	heaped int32 // its place in the scheduler's heap, from 1; 0: it is in none. Under scheduler.mu

	cur     atomic.Pointer[version] // nil: nothing to serve
	trouble atomic.Pointer[trouble] // nil: none. Set under mu
	flags   atomic.Uint32           // see below

	// What follows is under mu.

	queued bool // it waits to be refreshed
	wanted bool // it was asked for before its refresh began
	pinned bool // it is kept loaded
	gone   bool // evicted: whoever holds it looks its key up again. Written under cache.mu as well
	mu     sync.Mutex
	flight *flight // nil: none under way
}

// Flags of a slot. Two look at whether it was asked for, and each clears a bit: the hand that evicts what is not asked for, and the
// scheduler, which lets lapse what nobody has asked for since it was last replaced.
const (
	usedByHand = 1 << iota
	usedInLife
	busy // there is a flight, or it is queued

	usedNow = usedByHand | usedInLife
)

// use marks the slot as asked for. Most find it marked.
func (s *slot) use() {
	if s.flags.Load()&usedNow != usedNow {
		s.flags.Or(usedNow)
	}
}

func (s *slot) setBusy(on bool) {
	if on {
		s.flags.Or(busy)
	} else {
		s.flags.And(^uint32(busy))
	}
}

// trouble is what is remembered of a key whose attempts failed, or were forced. It is under slot.mu, but for reading next.
type trouble struct {
	next     atomic.Int64 // monotonic: what is served is not replaced before
	err      *Error       // of the last attempt; nil if it succeeded
	again    int64        // monotonic: with nothing to serve, no attempt before
	forced   int64        // monotonic: no retrieval that a caller forces (by rejection or MinTTL) before
	failures int32        // in a row
	late     int32        // flights whose source outlived the deadline: the slot stays for what they bring
}

// noTrouble is what most keys have. Nobody writes to it.
var noTrouble trouble

// past is the slot's trouble, for reading.
func (s *slot) past() *trouble {
	if x := s.trouble.Load(); x != nil {
		return x
	}
	return &noTrouble
}

// troubleLocked is the slot's trouble, for writing.
func (s *slot) troubleLocked() *trouble {
	x := s.trouble.Load()
	if x == nil {
		x = new(trouble)
		s.trouble.Store(x)
	}
	return x
}

// pardonLocked forgets what held back a key's next attempt.
func (s *slot) pardonLocked() {
	if x := s.trouble.Load(); x != nil {
		x.failures, x.forced, x.again, x.err = 0, 0, 0, nil
		x.next.Store(0)
	}
}

// overLocked forgets the failures before a success, but not that it was forced.
func (s *slot) overLocked(now clock.Reading) {
	x := s.trouble.Load()
	if x == nil {
		return
	}
	if x.late == 0 && x.forced <= now.Mono {
		s.trouble.Store(nil)
		return
	}
	x.failures, x.again, x.err = 0, 0, nil
	x.next.Store(0)
}

// calm returns the version served if there is nothing to say about it but itself: it is not due, and nobody rejected it or
// failed to replace it. This is what nearly every hit finds; to a caller without wishes it is the whole answer. It takes no
// lock and allocates nothing, and leaves the Answer to its caller, so that one is never copied.
func (s *slot) calm() *version {
	v := s.cur.Load()
	if v == nil || v.marks.Load()&^marksCalm != 0 || clock.Now().Reached(v.due) {
		return nil
	}
	s.use()
	return v
}

// hit answers from memory, or reports that it cannot. It takes no lock and allocates nothing.
func (s *slot) hit(w *wish) (Answer, bool) {
	v := s.cur.Load()
	if v == nil {
		return Answer{}, false
	}
	now := clock.Now()
	st := v.at(now)
	if st == expired || !v.grants(w, s.id.refreshAt, now) {
		return Answer{}, false
	}
	s.use()
	marks := v.marks.Load()
	if st == due || marks&(markRejected|markChanged) != 0 {
		s.refresh(now)
	}
	return Answer{Credential: v.cred, Stale: marks&marksOdd != 0, Rejected: marks&markRejected != 0, Due: st == due, due: v.due.Wall}, true
}

// grants reports whether a version that has not expired is what is wished for, in an identity with that refreshAt.
func (v *version) grants(w *wish, refreshAt float64, now clock.Reading) bool {
	switch {
	case v.named(w.rejected):
		return false
	case w.minTTL > 0 && now.Until(v.cred.expires()) < w.minTTL:
		return false
	case w.input && (now.Reached(v.early(refreshAt)) || v.marks.Load()&(markRejected|markChanged) != 0):
		return false
	}
	return true
}

// answer is v as it is handed out when nothing better can be had.
func (v *version) answer(w *wish, now clock.Reading) Answer {
	marks := v.marks.Load()
	return Answer{
		Credential: v.cred,
		due:        v.due.Wall,
		Stale:      marks&marksOdd != 0,
		Rejected:   marks&markRejected != 0,
		Short:      w.minTTL > 0 && now.Until(v.cred.expires()) < w.minTTL,
		Due:        now.Reached(v.due),
	}
}
