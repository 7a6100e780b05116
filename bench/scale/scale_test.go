package scale

import (
	"os"
	"testing"

	"freshet.dev/bench/internal/measure"
)

func TestMain(m *testing.M) {
	ChildMain() // the tests' program is also the one that is filled with keys
	os.Exit(m.Run())
}

func TestSmoke(t *testing.T) {
	for _, c := range Curves() {
		c.At = []int{20, 100}
		for _, size := range c.At {
			at := c
			at.At = []int{size}
			res, err := measure.RunCurve(t.Context(), at, measure.Options{Rounds: 1, Smoke: true})
			if err != nil {
				t.Fatalf("%s at %d: %v", c.Name, size, err)
			}
			for _, row := range res.Sizes[0].Rows {
				if row.Err != "" || len(row.Rounds) != 1 || row.Rounds[0][0] <= 0 {
					t.Errorf("%s at %d: %s: %s %v", c.Name, size, row.Subject, row.Err, row.Rounds)
				}
			}
		}
	}
}
