package freshet

import (
	"freshet.dev/freshet/internal/clock"
)

// holdFlightLocked makes a flight that begins once its issuer may be asked.
func (s *slot) holdFlightLocked(no *refusal, reason Reason, ancestry []string) *refusal {
	c := s.id.cache
	p, crowded := c.governor.reserve(s.id.target(s.key))
	if crowded != nil {
		return crowded
	}
	if !c.at(s, no.until) {
		go c.leave(s.id, p)
		return errClosed()
	}
	s.flight = &flight{slot: s, reason: reason, done: make(chan struct{}), permit: p, ancestry: ancestry, held: true, starts: no.until, cause: no}
	s.setBusy(true)
	return nil
}

// hastenLocked has a held flight begin now: what it waited for has come to pass. s.mu is held.
func (s *slot) hastenLocked(now clock.Reading) {
	s.flight.starts = now.Mono
	s.id.cache.at(s, now.Mono)
}

// takeOffLocked begins a held flight whose time has come. If everybody left there is none; if its issuer is still to be left
// alone, its callers find out how long, and are held anew or told.
func (c *Cache) takeOffLocked(s *slot, f *flight) {
	if f.waiters > 0 && c.governor.begin(s.id, f.permit) == nil {
		f.held = false
		go c.fly(f)
		return
	}
	s.turnAwayLocked(f)
	go c.leave(s.id, f.permit) // not under s.mu
}

// turnAwayLocked ends a held flight that does not begin.
func (s *slot) turnAwayLocked(f *flight) {
	f.turned = true
	f.err = f.cause.at(clock.Now()).of(s.id)
	s.flight = nil
	s.setBusy(s.queued)
	close(f.done)
	s.id.cache.at(s, s.past().again)
}

// turnBack ends a flight that found its issuer blocked when it came to ask. Nothing was asked, so nothing failed.
func (c *Cache) turnBack(f *flight, no *refusal) {
	s := f.slot
	now := clock.Now()
	c.governor.report(f.permit, no.err)
	s.mu.Lock()
	if f.landed {
		s.troubleLocked().late-- // its waiters were told that it took too long
		s.mu.Unlock()
		c.look(s, now)
		c.dispatch()
		return
	}
	f.landed, f.turned, f.cause = true, true, no
	f.err = no.at(now).of(s.id)
	s.flight = nil
	s.setBusy(s.queued)
	close(f.done)
	c.putOffLocked(s, no, now)
	if f.outdated {
		s.renewLocked(now)
	}
	s.mu.Unlock()
	c.dispatch()
}

// turnAway ends the slot's held flight, if it has one, as the cache closes.
func (s *slot) turnAway() {
	s.mu.Lock()
	f := s.flight
	held := f != nil && f.held
	if held {
		s.turnAwayLocked(f)
	}
	s.mu.Unlock()
	if held {
		s.id.cache.leave(s.id, f.permit)
	}
}
