package trouble

import (
	"os"
	"testing"

	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

func TestMain(m *testing.M) {
	ChildMain()
	os.Exit(m.Run())
}

func run(t *testing.T, c measure.Case) measure.Result {
	t.Helper()
	res, err := measure.Run(t.Context(), c, measure.Options{Rounds: 1, Smoke: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range res.Rows {
		if row.Err != "" || len(row.Rounds) != 1 {
			t.Errorf("%s: %d rounds, %s", row.Subject, len(row.Rounds), row.Err)
		}
	}
	return res
}

func TestSmoke(t *testing.T) {
	for _, c := range Cases() {
		if c.Name != panicking().Name && c.Name != fewMinutes().Name { // below
			t.Run(c.Name, func(t *testing.T) { run(t, c) })
		}
	}
}

// wantRows compares the first column, where it comes to the same on every machine.
func wantRows(t *testing.T, res measure.Result, want map[string]float64) {
	t.Helper()
	for _, row := range res.Rows {
		if v, ok := want[row.Subject]; ok && len(row.Rounds) > 0 {
			delete(want, row.Subject)
			if got := row.Rounds[0][0]; got != v {
				t.Errorf("%s: %s %v, want %v", row.Subject, res.Columns[0].Name, got, v)
			}
		}
	}
	for name := range want {
		t.Errorf("no figure of %s", name)
	}
}

func TestPanicIsSeenForWhatItBecomes(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector has every process linger for a second
	wantRows(t, run(t, panicking()), map[string]float64{
		peers.Freshet.Name:           errorToEach,
		peers.MSAL.Name:              panicInEach,
		peers.AWS.Name:               crash,
		peers.BearerTokenPolicy.Name: hang,
	})
}

func TestCallsForATokenOfFewMinutesAreCounted(t *testing.T) {
	wantRows(t, run(t, fewMinutes()), map[string]float64{peers.Freshet.Name: 1, peers.AWS.Name: 1, awsEarly.Name: 100, peers.MSAL.Name: 100})
}
