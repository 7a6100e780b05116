package freshet

import (
	"sync/atomic"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// version is one published credential with its plan. Everything but its marks is immutable.
type version struct {
	cred  *Credential
	marks atomic.Uint32
	calm  clock.Reading // due, or until if that is sooner
	plan
}

// Marks of a version.
const (
	markRejected = 1 << iota // a service refused it
	markStale                // it should have been replaced, and the last attempt to do so failed
	markChanged              // what it was read from has changed since

	marksOdd = markRejected | markStale // callers are told of these
)

// newVersion plans cred, which replaces old (or nothing, if nil). An issuer that gives the same credential again, or one that
// lives barely longer, is not wrong: it answers from a cache of its own. Asking it again at once would bring the same, so the
// next attempt comes after half of what remains.
func newVersion(cred *Credential, old *version, at float64, now clock.Reading) *version {
	p := schedule(cred.life, at)
	if old != nil && !cred.Static() && cred.life.refreshIn == 0 {
		expires := cred.life.expires()
		gained := time.Duration(expires.Wall - old.cred.life.expires().Wall)
		if cred.fingerprint == old.cred.fingerprint || gained < spacing(cred.life.lifetime) {
			if again := now.Add(max(spacing(cred.life.lifetime), now.Until(expires)/2)); !p.due.Reached(again) {
				p.due, p.early = again, again
			}
		}
	}
	return &version{cred: cred, plan: p, calm: p.due.Sooner(p.until)}
}

// refresh starts the replacement of a version that is due, if none is under way and the last attempt is far enough back. It
// waits for nothing. While a flight is under way, or its failure recent, this costs a hit two atomic loads.
func (s *slot) refresh(now clock.Reading) {
	if s.flying.Load() || now.Mono < s.next.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil || s.gone || now.Mono < s.next.Load() {
		return // somebody was faster
	}
	v, reason := s.cur.Load(), ReasonDue
	switch {
	case v == nil:
		return
	case v.marks.Load()&markChanged != 0:
		reason = ReasonChanged
	case v.at(now) == fresh && v.marks.Load()&markRejected == 0:
		return
	case v.at(now) == fresh: // rejected: as far apart as if its rejecter had asked
		reason = ReasonRejected
		if wait := s.holdLocked(v, reason, now); wait > 0 {
			s.next.Store(now.Mono + int64(wait))
			return
		}
		s.forced = now.Mono + int64(spacing(v.cred.life.lifetime))
	}
	if err := s.launchLocked(reason, nil, false); err != nil {
		s.next.Store(now.Mono + int64(spacing(0)))
	}
}
