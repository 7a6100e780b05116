package chance

import (
	"math"
	"testing"
)

func TestDrawsStayInTheirRange(t *testing.T) {
	for _, n := range []int64{1, 2, 3, 10, math.MaxInt64} {
		seen := make(map[int64]bool)
		for range 1000 {
			got := Below("key", n)
			if got < 0 || got >= n {
				t.Fatalf("got %d, want it in [0, %d)", got, n)
			}
			seen[got] = true
		}
		if want := int(min(n, 10)); len(seen) < want {
			t.Errorf("1,000 draws below %d gave %d numbers, want %d at least", n, len(seen), want)
		}
	}
}

func TestSimulationMakesEveryDrawUntilItIsUndone(t *testing.T) {
	type draw struct {
		of string
		n  int64
	}
	var drawn []draw
	undo := Simulate(func(of string, n int64) int64 {
		drawn = append(drawn, draw{of, n})
		return n - 1
	})
	defer undo()
	for i, want := range []draw{{"key", 7}, {"host", 1}, {"key", math.MaxInt64}} {
		if got := Below(want.of, want.n); got != want.n-1 {
			t.Errorf("got %d, want the simulation's %d", got, want.n-1)
		}
		if len(drawn) != i+1 || drawn[i] != want {
			t.Errorf("the simulation was asked %v, want %v last", drawn, want)
		}
	}
	within := Simulate(func(string, int64) int64 { return 0 })
	if got := Below("key", 7); got != 0 || len(drawn) != 3 {
		t.Errorf("got %d, want what the simulation within it says", got)
	}
	within()
	if got := Below("key", 7); got != 6 || len(drawn) != 4 {
		t.Errorf("got %d once the one within is undone, want the first simulation's 6", got)
	}
	undo()
	seen := make(map[int64]bool)
	for range 1000 {
		seen[Below("key", 7)] = true
	}
	if len(drawn) != 4 || len(seen) != 7 {
		t.Errorf("got %d numbers below 7, and %d draws simulated; want all 7, and the 4 from before the end", len(seen), len(drawn))
	}
}
