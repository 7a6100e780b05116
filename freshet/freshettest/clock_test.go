package freshettest_test

import (
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

func TestSetWallClock(t *testing.T) {
	t.Run("shifted", func(t *testing.T) {
		before := freshet.Now()
		freshettest.SetWallClock(t, time.Hour)
		if d := freshet.Now().Wall().Sub(before.Wall()); d < time.Hour || d > time.Hour+time.Minute {
			t.Errorf("wall clock moved by %v, want 1h", d)
		}
		if d := before.Elapsed(); d > time.Minute {
			t.Errorf("monotonic clock moved by %v", d)
		}
		freshettest.SetWallClock(t, -time.Hour)
		if d := before.Wall().Sub(freshet.Now().Wall()); d < 59*time.Minute || d > time.Hour {
			t.Errorf("wall clock moved back by %v, want 1h", d)
		}
	})
	if d := time.Since(freshet.Now().Wall()).Abs(); d > time.Minute {
		t.Errorf("wall clock is %v off after the test", d)
	}
}
