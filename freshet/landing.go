package freshet

import (
	"time"

	"freshet.dev/freshet/internal/clock"
)

// land ends a flight: it publishes what came, releases the waiters, and tells the observer. Only the first call for a flight
// does; of a later one, from a source that outlived the deadline, the credential alone is kept.
func (c *Cache) land(f *flight, cred *Credential, err error, e Event) {
	s := f.slot
	now := clock.Now()
	first := c.settle(f, cred, err, e.Identity == "", now)
	if first {
		// Waiters go last: who has an answer finds it accounted for, and told to the observer.
		defer close(f.done)
	}
	c.account(s)
	if cred != nil {
		c.answerPlain(s, cred, now)
	}
	c.look(s, now)
	c.dispatch()
	if e.Identity == "" {
		return // the deadline's own landing; the retrieval reports when it ends
	}
	e.Removed = c.removed(s.id)
	if e.Late = !first; cred != nil {
		e.Fingerprint, e.Expires = cred.reckon(), cred.Expires()
	}
	if err != nil {
		e.Err = AsError(err).of(s.id)
	}
	c.observe(e)
}

// settle puts what a flight brought in force, and reports whether it is the first to do so. deadline tells that the source has
// not returned yet.
func (c *Cache) settle(f *flight, cred *Credential, err error, deadline bool, now clock.Reading) (first bool) {
	s := f.slot
	failure := AsError(err)
	c.governor.report(f.permit, failure)
	s.mu.Lock()
	defer s.mu.Unlock()
	first = !f.landed
	f.landed = true
	var v *version
	if cred != nil {
		v = s.publishLocked(cred, now)
	}
	switch {
	case first && deadline:
		s.troubleLocked().late++
	case !first && !deadline:
		s.troubleLocked().late--
	}
	if !first {
		return false
	}
	f.version = v
	s.flight = nil
	s.setBusy(s.queued)
	if failure != nil {
		f.err = s.failLocked(now, failure.of(s.id))
		if f.err.Kind == Unavailable {
			// Who was not given a time is told when the next attempt can be.
			until := s.past().again
			if no := c.governor.barred(s.id, f.permit.target); no != nil {
				until = max(until, no.until)
			}
			f.err = (&refusal{err: f.err, until: until}).at(now)
		}
	}
	if f.outdated {
		s.renewLocked(now)
	}
	return true
}

// publishLocked makes cred the version served, unless a newer one is there already.
func (s *slot) publishLocked(cred *Credential, now clock.Reading) *version {
	old := s.cur.Load()
	if old != nil && old.cred.sent.Mono > cred.sent.Mono {
		s.troubleLocked().next.Store(now.Mono + int64(spacing(cred.lifetime)))
		s.wanted = false
		return old
	}
	v := newVersion(s.key, cred, old, s.id.refreshAt, now)
	if old != nil && old.cred.same(cred.credential) {
		v.marks.Or(old.marks.Load() & markRejected)
	}
	s.overLocked(now)
	s.wanted = false
	if v.marks.Load()&markRejected != 0 || v.at(now) != fresh {
		// What came would be replaced at once, and the next would be no better.
		s.troubleLocked().next.Store(now.Mono + int64(spacing(cred.lifetime)))
	}
	if !s.gone {
		s.cur.Store(v)
		if s.flight != nil && s.flight.held { // and this came late, or in answer to a challenge
			s.hastenLocked(now)
		}
	}
	return v
}

// failLocked remembers a failure: the version still served is marked, and the next attempt comes after a backoff. It returns the
// error as it is remembered.
func (s *slot) failLocked(now clock.Reading, err *Error) *Error {
	x := s.troubleLocked()
	x.failures++
	x.err = err
	var lifetime, left time.Duration
	if v := s.cur.Load(); v != nil && v.at(now) != expired {
		if now.Reached(v.early(s.id.refreshAt)) || v.marks.Load()&(markRejected|markChanged) != 0 { // early is when it is due as an input
			v.marks.Or(markStale)
		}
		lifetime, left = v.cred.lifetime, now.Until(v.cred.until())
	}
	silence := min(err.RetryAfter, longestSilence)
	switch err.Kind {
	case LoginNeeded:
		silence = max(silence, loginAgain)
	case Denied:
		silence = max(silence, deniedAgain)
	}
	x.next.Store(now.Mono + int64(max(backoff(s.key, lifetime, int(x.failures), left), silence)))
	if x.again = now.Mono + int64(max(again(s.key, int(x.failures)), silence)); err.Kind == Invalid {
		x.again = 0 // it is the request's failure, or the configuration's, and cost the issuer nothing
	}
	return err
}
