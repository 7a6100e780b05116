package freshet

import (
	"sync/atomic"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// version is one published credential with its plan. Everything but its marks is immutable.
type version struct {
	plan
	cred  *Credential
	marks atomic.Uint32
}

// Marks of a version.
const (
	markRejected = 1 << iota // a service refused it
	markStale                // it should have been replaced, and the last attempt to do so failed
)

// newVersion plans cred, which replaces old (or nothing, if nil). An issuer that gives the same credential again, or one that
// lives barely longer, is not wrong: it answers from a cache of its own. Asking it again at once would bring the same, so the
// next attempt comes after half of what remains.
func newVersion(cred *Credential, old *version, at float64, now clock.Reading) *version {
	v := &version{cred: cred, plan: schedule(cred.life, at)}
	if old == nil || cred.Static() || cred.life.refreshIn > 0 {
		return v
	}
	gained := time.Duration(cred.life.expires.Wall - old.cred.life.expires.Wall)
	if cred.fingerprint == old.cred.fingerprint || gained < spacing(cred.life.lifetime) {
		if again := now.Add(now.Until(cred.life.expires) / 2); !v.due.Reached(again) {
			v.due, v.early = again, again
		}
	}
	return v
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
	if v := s.cur.Load(); v == nil || v.at(now) == fresh && v.marks.Load()&markRejected == 0 {
		return
	}
	if err := s.launchLocked(ReasonDue, nil); err != nil {
		s.next.Store(now.Mono + int64(spacing(0)))
	}
}
