package broker

import (
	"sync"
	"time"

	"freshet.dev/freshet"
)

// A caller may reject this often: so many at once, and another each time that a part of the minute has passed. Who rejects
// more than that rejects what it is given each time it is given it, and would have the issuer asked for nothing.
const (
	rejectionsAtOnce = 10
	rejectionEvery   = time.Minute / rejectionsAtOnce

	// maxRejecters bounds how many callers are remembered. Past it the one longest there is forgotten, and has all its
	// rejections again.
	maxRejecters = 1024
)

// rejections limits how often each caller rejects, over all identities.
type rejections struct {
	mu   sync.Mutex
	by   map[rejecter]*allowance
	ring []rejecter // in order of arrival, for forgetting
	next int
}

// rejecter is one process, for the same reason as a [refusal].
type rejecter struct {
	caller string
	pid    int
}

// allowance is a bucket: how much of it was used, in time that gives it back, when it was last looked at, and for what.
type allowance struct {
	used time.Duration
	at   freshet.Instant
	last string // the version it was used for last
}

// take counts a rejection, or says when the caller may make its next. A program, or a door, has many requests under way when a version
// is refused: all of them say so, and it counts once.
func (r *rejections) take(c Caller, fingerprint string) (wait time.Duration) {
	k := rejecter{c.name(), c.PID}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.by[k]
	if a == nil {
		a = &allowance{at: freshet.Now()}
		r.addLocked(k, a)
	}
	if a.last == fingerprint {
		return 0
	}
	a.used = max(0, a.used-a.at.Elapsed())
	a.at = freshet.Now()
	if wait = a.used - (rejectionsAtOnce-1)*rejectionEvery; wait > 0 {
		return wait
	}
	a.used += rejectionEvery
	a.last = fingerprint
	return 0
}

func (r *rejections) addLocked(k rejecter, a *allowance) {
	if r.by == nil {
		r.by = make(map[rejecter]*allowance)
	}
	if len(r.ring) < maxRejecters {
		r.ring = append(r.ring, k)
	} else {
		delete(r.by, r.ring[r.next])
		r.ring[r.next] = k
		r.next = (r.next + 1) % maxRejecters
	}
	r.by[k] = a
}

// mayReject limits a caller's rejections.
func (b *Broker) mayReject(c Caller, name, fingerprint string) error {
	wait := b.rejections.take(c, fingerprint)
	if wait == 0 {
		return nil
	}
	b.audit.deny(c, name, "rejections")
	return &freshet.Error{
		Kind: freshet.Unavailable, Why: "identity " + name + ": too many rejections by one program", RetryAfter: wait,
		Hint: "reject a credential once, when a service says that it is expired, revoked or invalid; a plain 403 is about rights",
	}
}
