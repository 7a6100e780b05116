package freshet

import (
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet/internal/clock"
)

func TestExpiredByEitherClockIsExpired(t *testing.T) {
	for _, lifetime := range []time.Duration{5 * time.Minute, 20 * time.Second} {
		for _, by := range []time.Duration{10 * time.Minute, -10 * time.Minute, 0} {
			synctest.Test(t, func(t *testing.T) {
				src := &fake{lifetime: lifetime}
				id := alone(t, src)
				h := mustHandle(t, id, Request{})
				first, err := h.Get(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				step(t, by)
				src.fail(errDown)
				if by > 0 { // the wall clock says that it has expired
					_, err := h.Get(t.Context())
					wantKind(t, err, Unavailable)
					return
				}
				time.Sleep(lifetime - floor(lifetime) - 1)
				if a, err := h.Get(t.Context()); err != nil || a.Credential != first.Credential {
					t.Fatalf("got %v, %v just before the floor, want the valid credential", a.Credential, err)
				}
				synctest.Wait()
				time.Sleep(time.Nanosecond) // the monotonic clock says so
				_, err = h.Get(t.Context())
				wantKind(t, err, Unavailable)
				if by < 0 && first.Credential.Remaining() > floor(lifetime) {
					t.Errorf("%v are left by the wall clock alone, want what the monotonic one leaves", first.Credential.Remaining())
				}
			})
		}
	}
}

func TestWallStepBackCausesNoRetrieval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		mustGet(t, id, Request{})
		step(t, -10*time.Minute)
		for range 30 {
			mustGet(t, id, Request{})
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		wantCalls(t, src, 1)
	})
}

func TestWallStepForwardCausesOneRetrieval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{lifetime: 12 * time.Minute}
		id := alone(t, src)
		mustGet(t, id, Request{})
		step(t, 10*time.Minute) // due by the wall clock
		for range 100 {
			mustGet(t, id, Request{})
			synctest.Wait()
			time.Sleep(time.Second)
		}
		wantCalls(t, src, 2)
	})
}

func TestBackwardStepDuringARetrievalDoesNotLengthenALife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		undo := func() {}
		src := &fake{}
		src.reply = func(int64, Request) (*Credential, error) {
			sent := Now()
			undo = clock.SetOffset(-10 * time.Minute)
			return NewBearer("t", "", Validity{Sent: sent, Lifetime: 5 * time.Minute})
		}
		id := alone(t, src)
		first := mustGet(t, id, Request{})
		t.Cleanup(undo)
		src.fail(errDown)
		time.Sleep(5 * time.Minute)
		_, err := id.Get(t.Context(), Request{})
		wantKind(t, err, Unavailable)
		if left := first.Credential.Remaining(); left != 0 {
			t.Errorf("%v left, want none", left)
		}
	})
}

func TestInstantMeasuresByTheMonotonicClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := Now()
		step(t, time.Hour)
		time.Sleep(time.Minute)
		if got := began.Elapsed(); got != time.Minute {
			t.Errorf("got %v, want a minute", got)
		}
		if got := Now().Wall().Sub(began.Wall()); got != time.Hour+time.Minute {
			t.Errorf("got %v by the wall clock, want the step too", got)
		}
		if began.IsZero() || !(Instant{}).IsZero() {
			t.Error("IsZero is wrong")
		}
	})
}
