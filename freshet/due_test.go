package freshet

import (
	"testing"
	"testing/synctest"
	"time"
)

// An adapter that reports RefreshAt to another cache learns from the answer, and not from a second reading of the clock, whether
// that time has passed.
func TestAnswerTellsWhetherItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		h := mustHandle(t, id, Request{})
		for range 2 { // retrieved, and from memory
			if a, err := h.Get(t.Context()); err != nil || a.Due {
				t.Errorf("at first: got due %v, %v; want it not due", a.Due, err)
			}
		}
		src.fail(errDown)
		time.Sleep(46 * time.Minute)
		got, err := h.Get(t.Context())
		if err != nil || !got.Due || got.RefreshAt().After(time.Now()) {
			t.Errorf("after 46 of 60 minutes: got due %v, refresh at %v, %v; want due", got.Due, got.RefreshAt(), err)
		}
		synctest.Wait()
		if a := mustGet(t, id, Request{MinTTL: 30 * time.Minute}); !a.Due || !a.Short {
			t.Errorf("of one that is short because its replacement fails: got due %v, short %v; want both", a.Due, a.Short)
		}
		src.fail(nil)
		time.Sleep(5 * time.Minute)
		mustGet(t, id, Request{})
		synctest.Wait()
		if a := mustGet(t, id, Request{}); a.Due {
			t.Errorf("its replacement is due")
		}
	})
}
