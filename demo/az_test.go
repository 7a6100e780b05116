package demo

import (
	"math"
	"testing"
)

// TestAzFitIntoMemory bounds what all az hold together.
func TestAzFitIntoMemory(t *testing.T) {
	for _, test := range []struct {
		n         int
		available int64
		known     bool
		want      int64
	}{
		{200, 64 << 30, true, azMemory},
		{200, 19200 << 20, true, azMemory}, // a quarter is 24 MiB each, 8 of them Go's
		{200, 12800 << 20, true, 8 << 20},
		{200, 1 << 30, true, 1 << 20},
		{200, 0, true, 1 << 20},
		{10, 2 << 30, true, azMemory},
		{200, 0, false, (azUnknown / 200) - azRuntime},
		{2, math.MaxInt64, true, azMemory},
	} {
		if got := azWeight(test.n, test.available, test.known); got != test.want {
			t.Errorf("%d az in %d bytes (known: %v): got %d each, want %d", test.n, test.available, test.known, got, test.want)
		}
	}
}
