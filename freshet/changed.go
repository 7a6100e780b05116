package freshet

import "freshet.dev/freshet/internal/clock"

// Changed says that what the identity's source reads has changed: a token file, a profile, a login. Whatever its keys serve was
// read before that, so it is replaced in the background, and served until then; what keeps failed retrievals apart is forgotten,
// since the change may be their repair. It waits for nothing, and takes O(keys of the identity).
//
// A retrieval that is under way may have read what was there before: its result is used, and replaced in turn.
func (id *Identity) Changed() {
	c := id.cache
	c.governor.forgive(id)
	for _, s := range id.slots() {
		s.changed()
	}
	c.dispatch()
}

// changed marks what the slot serves as read before a change, and has it replaced, unless that is under way.
func (s *slot) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f := s.flight; {
	case s.gone:
	case f != nil && !f.held:
		f.outdated = true
	default:
		s.renewLocked(clock.Now())
	}
}

// renewLocked has what the slot serves replaced, however short ago the last attempt was, and callers that are held let go on.
func (s *slot) renewLocked(now clock.Reading) {
	s.pardonLocked()
	c := s.id.cache
	if s.flight != nil { // held
		s.hastenLocked(now)
		return
	}
	v := s.cur.Load()
	if v == nil || v.at(now) == expired {
		if s.pinned {
			c.enqueueLocked(s, now)
		} else {
			c.at(s, now.Mono) // it goes: whoever asks next starts a retrieval
		}
		return
	}
	v.marks.Or(markChanged)
	s.wantedLocked() // who asked for what this replaces did not ask for the next
	c.enqueueLocked(s, now)
}
