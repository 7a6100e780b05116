package freshet

import "freshet.dev/freshet/internal/clock"

// Changed says that what the identity's source reads has changed: a token file, a profile, a login. Whatever its keys serve was
// read before that, so it is replaced in the background, and served until then; what keeps failed retrievals apart is forgotten,
// since the change may be their repair. It waits for nothing, and takes O(keys of the identity).
//
// A retrieval that is under way may have read what was there before: its result is used, and replaced in turn.
func (id *Identity) Changed() {
	for _, s := range id.slots() {
		s.changed()
	}
}

// changed marks what the slot serves as read before a change, and starts its replacement, unless one is under way.
func (s *slot) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return
	}
	if s.flight != nil {
		s.flight.outdated = true
		return
	}
	s.renewLocked(clock.Now())
}

// renewLocked starts the replacement of what the slot serves, which has no flight, however short ago the last attempt was.
func (s *slot) renewLocked(now clock.Reading) {
	s.failures, s.forced = 0, 0
	s.next.Store(0)
	v := s.cur.Load()
	if v == nil || v.at(now) == expired {
		return // whoever asks next starts a retrieval
	}
	v.marks.Or(markChanged)
	_ = s.launchLocked(ReasonChanged, nil, false) // refused for crowding: the next hit tries again
}
