package freshet

import (
	"context"
	"testing"
	"time"
)

// The bar is 1.3; the tests allow for a machine that is shared.
const hitSlack = 1.7

func TestHandleHitCostsLittleMoreThanReadingTheClock(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("a measurement")
	}
	_, hs := many(t, 1, 1)
	ctx := context.Background()
	for name, parallel := range map[string]bool{"serial": false, "parallel": true} {
		base, got := compare(25, 100_000, parallel, func() { floorHit() }, func() { _, _ = hs[0].Get(ctx) })
		ratio := float64(got) / float64(base)
		t.Logf("%s: hit by handle %v, floor %v: %.2f ×", name, got, base, ratio)
		if ratio > hitSlack {
			t.Errorf("%s: a hit by handle takes %.2f × its floor, want at most %.2f", name, ratio, hitSlack)
		}
	}
	_ = time.Now
}
