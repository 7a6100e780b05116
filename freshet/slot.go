package freshet

import (
	"sync"
	"sync/atomic"

	"freshet.dev/freshet/internal/clock"
)

// slot is a key's place in the cache: the version now served, and the flight that will replace it.
type slot struct {
	id   *Identity
	key  string
	hash uint64

	cur  atomic.Pointer[version] // nil: nothing to serve
	used atomic.Uint32           // asked for, as of two onlookers
	busy atomic.Bool             // whether flight or queued is set, readable without the lock
	next atomic.Int64            // monotonic: what is served is not replaced before

	mu       sync.Mutex
	flight   *flight // nil: none under way
	err      *Error  // of the last attempt; nil if it succeeded
	again    int64   // monotonic: with nothing to serve, no attempt before
	forced   int64   // monotonic: no retrieval that a caller forces (by rejection or MinTTL) before
	failures int32   // in a row
	late     int32   // flights whose source outlived the deadline: the slot stays for what they bring
	queued   bool    // it waits to be refreshed
	wanted   bool    // it was asked for before its refresh began
	pinned   bool    // it is kept loaded
	gone     bool    // evicted: whoever holds it looks its key up again. Written under cache.mu as well

	place int   // in its identity's ring, under cache.mu
	size  int64 // accounted to its identity, under cache.mu

	wake   int64 // monotonic: when the scheduler looks at it, under scheduler.mu
	heaped int32 // its place in the scheduler's heap, from 1; 0: it is in none. Under scheduler.mu
	draw   int32 // puts it before or after others of the same wake. Under scheduler.mu
}

// Who looks at slot.used, each a bit that it clears: the hand that evicts what is not asked for, and the scheduler, which lets
// lapse what nobody has asked for since it was last replaced.
const (
	usedByHand = 1 << iota
	usedInLife

	usedNow = usedByHand | usedInLife
)

// calm returns the version served if there is nothing to say about it but itself: it is not due, and nobody rejected it or
// failed to replace it. This is what nearly every hit finds; to a caller without wishes it is the whole answer. It takes no
// lock and allocates nothing, and leaves the Answer to its caller, so that one is never copied.
func (s *slot) calm() *version {
	v := s.cur.Load()
	if v == nil || v.marks.Load() != 0 || clock.Now().Reached(v.calm) {
		return nil
	}
	if s.used.Load() != usedNow {
		s.used.Store(usedNow)
	}
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
	if st == expired || !v.grants(w, now) {
		return Answer{}, false
	}
	if s.used.Load() != usedNow {
		s.used.Store(usedNow)
	}
	marks := v.marks.Load()
	if st == due || marks&(markRejected|markChanged) != 0 {
		s.refresh(now)
	}
	return Answer{Credential: v.cred, Stale: marks&marksOdd != 0, Rejected: marks&markRejected != 0, Due: st == due, due: v.due.Wall}, true
}

// grants reports whether a version that has not expired is what is wished for.
func (v *version) grants(w *wish, now clock.Reading) bool {
	switch {
	case w.rejected != "" && w.rejected == v.cred.fingerprint:
		return false
	case w.minTTL > 0 && now.Until(v.cred.life.expires()) < w.minTTL:
		return false
	case w.input && (now.Reached(v.early) || v.marks.Load()&(markRejected|markChanged) != 0):
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
		Short:      w.minTTL > 0 && now.Until(v.cred.life.expires()) < w.minTTL,
		Due:        now.Reached(v.due),
	}
}
