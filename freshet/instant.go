package freshet

import (
	"time"

	"freshet.dev/freshet/internal/clock"
)

// Instant is one reading of the wall clock and the monotonic clock, taken together. The zero Instant means none.
//
// Code outside the library takes Instants with [Now] and hands them back; it compares no clocks itself, because a wall clock
// can be stepped and a monotonic one stops in a suspend, and only the two together tell whether a credential still lives.
type Instant struct{ r clock.Reading }

// Now reads both clocks.
func Now() Instant { return Instant{clock.Now()} }

// Wall is the wall clock's part, in UTC.
func (i Instant) Wall() time.Time { return i.r.Time() }

// Elapsed is the monotonic time since i.
func (i Instant) Elapsed() time.Duration { return time.Duration(clock.Now().Mono - i.r.Mono) }

// IsZero reports whether i was never read.
func (i Instant) IsZero() bool { return i == Instant{} }
