package expiry

import (
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

func TestMarginIsATenthAndAtMostTwoMinutes(t *testing.T) {
	for lifetime, want := range map[time.Duration]time.Duration{
		30 * time.Second: 3 * time.Second, 10 * time.Minute: time.Minute, 20 * time.Minute: 2 * time.Minute, 24 * time.Hour: 2 * time.Minute,
	} {
		c, err := freshet.NewBearer("t", "", freshet.Validity{Lifetime: lifetime})
		if err != nil {
			t.Fatal(err)
		}
		if got := Margin(c); got != want {
			t.Errorf("%v: %v, want %v", lifetime, got, want)
		}
	}
}

// TestWhatIsToldOfOneExpiryAgrees: the instant and the seconds are of one truth, whole, and never past.
func TestWhatIsToldOfOneExpiryAgrees(t *testing.T) {
	for _, lifetime := range []time.Duration{time.Minute, time.Hour, 0} {
		synctest.Test(t, func(t *testing.T) {
			<-time.After(700 * time.Millisecond)
			c, err := freshet.NewBearer("t", "", freshet.Validity{Lifetime: lifetime, Static: lifetime == 0})
			if err != nil {
				t.Fatal(err)
			}
			for range 50 {
				at, seconds := Advertised(c), Seconds(c)
				off := time.Until(at) - time.Duration(seconds)*time.Second
				if at.Nanosecond() != 0 || off > time.Second || off < -time.Second || time.Until(at) <= 0 || seconds < 1 {
					t.Fatalf("lifetime %v: in %v, and in %d s", lifetime, time.Until(at), seconds)
				}
				if lifetime == 0 && seconds != 3600 {
					t.Fatalf("one that does not expire is said to live %d s", seconds)
				}
				<-time.After(lifetime / 52)
			}
		})
	}
}

func TestStepOfTheWallClockNeverMakesTheSecondsMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := freshet.NewBearer("t", "", freshet.Validity{Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		before := Seconds(c)
		freshettest.SetWallClock(t, -30*time.Minute)
		if got := Seconds(c); got != before {
			t.Errorf("%d s after a step back, want %d", got, before)
		}
		freshettest.SetWallClock(t, 30*time.Minute)
		if got := Seconds(c); got > before-1700 {
			t.Errorf("%d s after a step ahead, want half an hour less than %d", got, before)
		}
	})
}
