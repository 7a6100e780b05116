package freshet

import (
	"encoding/binary"
	"encoding/hex"
	"sync/atomic"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// version is one published credential. Everything but its marks is immutable. What can be worked out in the rare case that it is
// wanted is not kept: there is one for each key.
type version struct {
	cred  *Credential
	marks atomic.Uint32
	print uint32        // the beginning of its fingerprint, to tell nearly all others from it without working that out
	due   clock.Reading // when it is to be replaced, or its end if that is sooner
}

// Marks of a version.
const (
	markRejected = 1 << iota // a service refused it
	markStale                // it should have been replaced, and the last attempt to do so failed
	markChanged              // what it was read from has changed since
	markAgain                // the issuer gave the same again: it is not due any sooner as an input

	marksOdd  = markRejected | markStale // callers are told of these
	marksCalm = markAgain                // a hit need not care
)

// newVersion plans a key's cred, which replaces old (or nothing, if nil). An issuer that gives the same credential again, or one that
// lives barely longer, is not wrong: it answers from a cache of its own. Asking it again at once would bring the same, so the
// next attempt comes after half of what remains.
func newVersion(key string, cred *Credential, old *version, at float64, now clock.Reading) *version {
	life, sum := cred.life(), cred.sum()
	v := &version{cred: cred, print: binary.BigEndian.Uint32(sum[:]), due: dueAt(key, life, at)}
	if old != nil && !cred.Static() && life.refreshIn == 0 {
		expires := cred.expires()
		gained := time.Duration(expires.Wall - old.cred.expires().Wall)
		if gained < spacing(life.lifetime) || cred.same(old.cred.credential) {
			if again := now.Add(max(spacing(life.lifetime), now.Until(expires)/2)); !v.due.Reached(again) {
				v.due = again
				v.marks.Store(markAgain)
			}
		}
	}
	v.due = v.due.Sooner(cred.until())
	return v
}

// at is what the schedule says of a version.
func (v *version) at(now clock.Reading) state {
	switch {
	case !now.Reached(v.due):
		return fresh
	case now.Reached(v.cred.until()):
		return expired
	}
	return due
}

// early is when jitter could have made a version due at the earliest, with its identity's refreshAt: as an input it is due then.
func (v *version) early(refreshAt float64) clock.Reading {
	if v.marks.Load()&markAgain != 0 {
		return v.due
	}
	return earliest(v.cred.life(), refreshAt)
}

// named reports whether a fingerprint is the version's; "" is nobody's.
func (v *version) named(fingerprint string) bool {
	var print [4]byte
	if len(fingerprint) != 32 {
		return false
	}
	if _, err := hex.Decode(print[:], []byte(fingerprint[:8])); err != nil || binary.BigEndian.Uint32(print[:]) != v.print {
		return false
	}
	return v.cred.Fingerprint() == fingerprint
}

// refresh has a version replaced that a hit found to be due, if that is not under way and the last attempt is far enough back. It
// waits for nothing. While a replacement is under way, or its failure recent, this costs a hit two atomic loads.
func (s *slot) refresh(now clock.Reading) {
	if s.flags.Load()&busy != 0 || now.Mono < s.past().next.Load() {
		return
	}
	s.id.cache.look(s, now)
	s.id.cache.dispatch()
}

// look does what it is time for with a slot: it has what is due replaced, lets lapse what nobody asks for, forgets what is over,
// and otherwise arranges the next look. Whoever calls it calls [Cache.dispatch] thereafter.
func (c *Cache) look(s *slot, now clock.Reading) {
	s.mu.Lock()
	if f := s.flight; f != nil && f.held {
		if now.Mono < f.starts && f.waiters > 0 {
			c.at(s, f.starts) // somebody left, and somebody came: that is no reason to begin sooner
		} else {
			c.takeOffLocked(s, f)
		}
		s.mu.Unlock()
		return
	}
	idle := c.lookLocked(s, now)
	s.mu.Unlock()
	if idle {
		c.drop(s)
	}
}

// lookLocked is look at a slot without a held flight; s.mu is held. It reports whether the slot may go.
func (c *Cache) lookLocked(s *slot, now clock.Reading) (idle bool) {
	if s.gone || s.flight != nil || s.queued {
		return false // the end of that brings the next look
	}
	v := s.cur.Load()
	if v == nil || v.at(now) == expired {
		switch {
		case now.Mono < s.past().again:
			c.at(s, s.past().again)
		case s.pinned:
			c.enqueueLocked(s, now)
		default:
			return true
		}
		return false
	}
	marks := v.marks.Load()
	forced := marks&(markRejected|markChanged) != 0
	switch next := s.past().next.Load(); {
	case v.at(now) == fresh && !forced:
		c.plan(s, v.due, now)
	case now.Mono < next:
		c.plan(s, v.cred.until().Sooner(clock.Reading{Wall: clock.Never.Wall, Mono: next}), now)
	case v.at(now) == fresh && marks&markChanged == 0 && s.holdLocked(v, ReasonRejected, now) > 0:
		// Rejected: as far apart as if its rejecter had asked.
		wait := s.holdLocked(v, ReasonRejected, now)
		s.troubleLocked().next.Store(now.Mono + int64(wait))
		c.plan(s, v.cred.until().Sooner(now.Add(wait)), now)
	case !forced && !s.wantedLocked():
		c.plan(s, v.cred.until(), now) // it lapses
	default:
		s.wantedLocked()
		c.enqueueLocked(s, now)
	}
	return false
}

// wantedLocked reports whether somebody has asked for the slot since it was last replaced, or it is pinned.
func (s *slot) wantedLocked() bool {
	if s.flags.And(^uint32(usedInLife))&usedInLife != 0 {
		s.wanted = true
	}
	return s.wanted || s.pinned
}

// dueLocked says why a slot that waited for its turn is to be refreshed; "" if it need not be any more.
func (s *slot) dueLocked(now clock.Reading) Reason {
	v := s.cur.Load()
	switch {
	case s.gone || s.flight != nil:
		return ""
	case v == nil || v.at(now) == expired:
		if s.pinned && now.Mono >= s.past().again {
			return ReasonPinned
		}
		return ""
	case now.Mono < s.past().next.Load():
		return "" // a caller's attempt has failed meanwhile
	case v.marks.Load()&markChanged != 0:
		return ReasonChanged
	case v.at(now) == due:
		return ReasonDue
	case v.marks.Load()&markRejected != 0:
		return ReasonRejected
	}
	return ""
}

// start begins the refresh of a slot whose turn has come, with a worker of its issuer and maybe a slot of its limit.
func (c *Cache) start(w waiter, worker *host, slotTaken bool) {
	s := w.slot
	s.mu.Lock()
	s.queued = false
	now := clock.Now()
	reason := s.dueLocked(now)
	var p *permit
	var no *refusal
	if reason != "" {
		p, no = c.governor.admit(s.id, w.target, false)
	}
	if p == nil {
		if s.flight == nil {
			s.setBusy(false)
		}
		idle := false
		if no != nil {
			c.putOffLocked(s, no, now)
		} else {
			idle = c.lookLocked(s, now)
		}
		s.mu.Unlock()
		c.giveBack(s.id, worker, slotTaken)
		if idle {
			c.drop(s)
		}
		return
	}
	p.worker, p.slot = true, slotTaken
	if reason == ReasonRejected {
		s.troubleLocked().forced = now.Mono + int64(spacing(s.cur.Load().cred.lifetime))
	}
	c.departLocked(s, &flight{slot: s, reason: reason, done: make(chan struct{}), permit: p, within: c.patienceLocked(s, now)})
	s.mu.Unlock()
}

// leastPatience is how long every refresh may take.
const leastPatience = 5 * time.Second

// patienceLocked is how long a refresh may take that nobody waits for: half of what is left of what is served, so that another can
// follow one whose connection died (which nothing tells), unless the source is known to take long. s.mu is held.
func (c *Cache) patienceLocked(s *slot, now clock.Reading) time.Duration {
	v := s.cur.Load()
	if v == nil || v.at(now) == expired {
		return s.id.timeout
	}
	c.governor.mu.Lock()
	typical := s.id.limit.typical
	c.governor.mu.Unlock()
	return min(s.id.timeout, max(leastPatience, now.Until(v.cred.until())/2, 4*typical))
}

// putOffLocked arranges for another time what may not be asked for now. Those that the same block holds back come spread, when it
// is over.
func (c *Cache) putOffLocked(s *slot, no *refusal, now clock.Reading) {
	until := no.until
	if until != clock.Never.Mono { // the cache is not closed
		until += int64(jitter(s.key, spread))
	}
	v := s.cur.Load()
	if v == nil || v.at(now) == expired {
		c.at(s, until)
		return
	}
	s.troubleLocked().next.Store(until)
	if v.at(now) == due {
		v.marks.Or(markStale)
	}
	c.lookLocked(s, now)
}

// spread is how far apart those come that one block had held back.
const spread = 5 * time.Second
