package freshettest

import (
	"testing"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// SetWallClock shifts the wall clock that freshet reads by offset against the machine's, until the test ends. The monotonic
// clock stays: that is a step, or a suspend seen from the other side. A second call replaces the first.
//
// The clock belongs to the whole process: a test that shifts it must not run in parallel with others.
func SetWallClock(t testing.TB, offset time.Duration) {
	t.Helper()
	t.Cleanup(clock.SetOffset(offset))
}
