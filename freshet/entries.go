package freshet

import (
	"time"

	"freshet.dev/freshet/internal/clock"
)

// Entry is what one key of an identity serves, for status: no secret, and none of what was asked for.
type Entry struct {
	KeyHash    string      // as [Event.KeyHash]
	Credential *Credential // nil if nothing is served
	RefreshAt  time.Time   // when it is to be replaced, in UTC; zero if never
	Stale      bool
	Rejected   bool
	Refreshing bool
	Failures   int // retrievals that failed in a row

	Target  Target        // whom its retrieval asks
	Wanted  bool          // asked for since it was last replaced, or pinned; what is not wanted lapses
	Pinned  bool          // see [IdentityConfig].Pin
	Lasts   time.Duration // how long the credential is still served if it cannot be replaced; 0 if nothing is
	RetryIn time.Duration // how long no attempt to retrieve it is made, after a failure
	Err     *Error        // of the last attempt; nil if it succeeded
}

// Entries lists what the identity's keys serve, in no order. It takes O(keys of the identity).
func (id *Identity) Entries() []Entry {
	now := clock.Now()
	var list []Entry
	for _, s := range id.slots() {
		e := Entry{KeyHash: Event{Key: wholeKey(id, s.key)}.KeyHash()}
		e.Target = id.target(s.key)
		s.mu.Lock()
		f := s.flight
		e.Refreshing, e.Failures, e.Err, e.Pinned = f != nil && !f.held, int(s.past().failures), s.past().err, s.pinned
		e.Wanted = s.pinned || s.wanted || s.flags.Load()&usedInLife != 0
		until := s.past().again
		v := s.cur.Load()
		if v != nil && v.at(now) != expired {
			until = s.past().next.Load()
			marks := v.marks.Load()
			e.RefreshAt = Answer{due: v.due.Wall}.RefreshAt()
			e.Credential, e.Stale, e.Rejected = v.cred, marks&marksOdd != 0, marks&markRejected != 0
			e.Lasts = now.Until(v.cred.until())
		}
		s.mu.Unlock()
		if e.Err != nil {
			if no := id.cache.governor.barred(id, e.Target); no != nil {
				until = max(until, no.until)
			}
			e.RetryIn = max(0, time.Duration(until-now.Mono))
		}
		list = append(list, e)
	}
	return list
}
