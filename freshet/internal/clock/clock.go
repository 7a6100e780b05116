// Package clock is the one place where clocks are read.
//
// A [Reading] holds both clocks, taken together. The wall clock is what issuers speak of in absolute expiries, and it can be
// stepped; the monotonic clock measures age, and it stops while a machine is suspended. Neither is enough alone: whoever
// asks whether something has expired asks both, and believes whichever says yes.
package clock

import (
	"sync/atomic"
	"time"
)

// Reading is one reading of both clocks, in nanoseconds.
type Reading struct {
	Wall int64 // since the Unix epoch
	Mono int64 // since an arbitrary instant before this process began: always positive, so that 0 is before every reading
}

var (
	// 50 years back, because a testing/synctest bubble begins in the year 2000.
	base   = time.Now().Add(-50 * 365 * 24 * time.Hour)
	offset atomic.Int64 // added to the wall clock; only tests set it
)

// Now reads both clocks, at the cost of one time.Now.
//
// Inside a testing/synctest bubble time has no monotonic part, so both come from the bubble's clock and move together.
func Now() Reading {
	t := time.Now()
	return Reading{Wall: t.UnixNano() + offset.Load(), Mono: int64(t.Sub(base))}
}

// Time is the reading's wall clock, in UTC.
func (r Reading) Time() time.Time { return time.Unix(0, r.Wall).UTC() }

// Add is the reading d later, on both clocks; it stops at the end of time rather than wrap.
func (r Reading) Add(d time.Duration) Reading {
	return Reading{Wall: add(r.Wall, int64(d)), Mono: add(r.Mono, int64(d))}
}

// Reached reports whether either clock of r has come to other.
func (r Reading) Reached(other Reading) bool { return r.Wall >= other.Wall || r.Mono >= other.Mono }

// Sooner is, by each clock, the sooner of r and other.
func (r Reading) Sooner(other Reading) Reading {
	return Reading{Wall: min(r.Wall, other.Wall), Mono: min(r.Mono, other.Mono)}
}

// Until is how long it takes until either clock of r comes to other: negative once one has.
func (r Reading) Until(other Reading) time.Duration {
	return time.Duration(min(sub(other.Wall, r.Wall), sub(other.Mono, r.Mono)))
}

// Left is how long it takes until t, such as a context's deadline, by the clock that t was made with.
func Left(t time.Time) time.Duration { return time.Until(t) }

// Never is a reading that no clock reaches.
var Never = Reading{Wall: 1<<63 - 1, Mono: 1<<63 - 1}

// SetOffset shifts the wall clock by d against the machine's, for tests of steps and suspends, and returns what undoes it.
func SetOffset(d time.Duration) (undo func()) {
	was := offset.Swap(int64(d))
	return func() { offset.Store(was) }
}

func add(a, b int64) int64 {
	s := a + b
	if b > 0 && s < a {
		return 1<<63 - 1
	}
	if b < 0 && s > a {
		return -1 << 63
	}
	return s
}

func sub(a, b int64) int64 {
	d := a - b
	if b < 0 && d < a {
		return 1<<63 - 1
	}
	if b > 0 && d > a {
		return -1 << 63
	}
	return d
}
