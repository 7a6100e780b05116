package freshet

import (
	"testing"
	"testing/synctest"
	"time"
)

// A refresh whose connection died, which nothing tells, is given up while another can still be made before the credential ends.
func TestRefreshThatHangsLeavesTimeForAnother(t *testing.T) {
	for _, lifetime := range []time.Duration{30 * time.Second, time.Minute, 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			src := newIssuer("idp", "app")
			src.lifetime = lifetime
			src.takes = 100 * time.Millisecond
			id := alone(t, src)
			mustGet(t, id, Request{})
			src.slow(time.Hour)
			time.Sleep(dueAfter(lifetime) + time.Second/2)
			src.slow(100 * time.Millisecond) // the line is well again; the request that went into it never returns
			for range 2 * lifetime / (100 * time.Millisecond) {
				if a, err := id.Get(t.Context(), Request{}); err != nil || a.Retrieved {
					t.Fatalf("a life of %v: got %+v, %v", lifetime, a, err)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

func TestRefreshOfASlowSourceIsGivenItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{lifetime: time.Minute, takes: 20 * time.Second}
		id := alone(t, src)
		mustGet(t, id, Request{})
		for range 600 {
			if a, err := id.Get(t.Context(), Request{}); err != nil || a.Stale || a.Retrieved {
				t.Fatalf("got %+v, %v, want it replaced in time by a source that takes 20s", a, err)
			}
			time.Sleep(time.Second)
		}
	})
}
