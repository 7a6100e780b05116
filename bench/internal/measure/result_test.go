package measure

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

func result(ours, theirs []float64) Result {
	rounds := func(values []float64) (list [][]float64) {
		for _, v := range values {
			list = append(list, []float64{v})
		}
		return list
	}
	return Result{
		Columns: []Column{{Name: "time", Unit: Nanoseconds, Compare: true}},
		Rows:    []Row{{Subject: "theirs", Role: Peer, Rounds: rounds(theirs)}, {Subject: "ours", Role: Freshet, Rounds: rounds(ours)}},
	}
}

func TestRatioIsOfTheSameRound(t *testing.T) {
	// Twice as slow in every round, while the machine slows down by a factor of eight.
	r := result([]float64{1, 2, 4, 8}, []float64{2, 4, 8, 16})
	got, ok := r.Against(r.Rows[0], 0)
	if !ok || !got.Shown || got.Median != 2 || got.Low != 2 || got.High != 2 {
		t.Errorf("got %+v, %v, want 2 and no spread", got, ok)
	}
	if _, ok := r.Against(r.Rows[1], 0); ok {
		t.Error("freshet has a ratio to itself")
	}
}

func TestNoDifferenceIsShownByRoundsThatDisagree(t *testing.T) {
	for _, tt := range []struct {
		theirs []float64
		shown  bool
	}{
		{[]float64{1, 1, 1, 1, 1}, false},
		{[]float64{1.3, 1.3, 1.3, 1.3, 1.3}, true},
		{[]float64{1.1, 1.5, 1.3, 0.9, 1.3}, true},  // quartiles 1.1 and 1.3, around 1.3
		{[]float64{0.9, 1.6, 1.2, 1.0, 1.5}, false}, // 1 and 1.5, around 1.2
		{[]float64{0.5, 0.6, 0.55, 0.5, 9}, true},   // one outlier says little
		{[]float64{3}, false},                       // one round says nothing
	} {
		r := result([]float64{1, 1, 1, 1, 1}, tt.theirs)
		if got, _ := r.Against(r.Rows[0], 0); got.Shown != tt.shown {
			t.Errorf("%v: got %+v, want shown: %v", tt.theirs, got, tt.shown)
		}
	}
}

func TestSpreadIsTheMiddleHalf(t *testing.T) {
	row := Row{Rounds: [][]float64{{5}, {1}, {4}, {2}, {3}}}
	if got, ok := row.Of(0); !ok || got != (Spread{2, 3, 4}) {
		t.Errorf("got %+v, %v", got, ok)
	}
	if got, ok := (Row{Rounds: [][]float64{{7}}}).Of(0); !ok || got != (Spread{7, 7, 7}) {
		t.Errorf("of one round: got %+v, %v", got, ok)
	}
	if _, ok := (Row{}).Of(0); ok {
		t.Error("a row without rounds has a spread")
	}
}

// subject returns one value a round, and notes its turns.
func subject(name string, turns *[]string, err error) Subject {
	return Subject{Name: name, Role: Freshet, Start: func(s *Setup) (Round, error) {
		s.Cleanup(func() { *turns = append(*turns, "end of "+name) })
		return func() ([]float64, error) {
			*turns = append(*turns, name)
			return []float64{1}, err
		}, nil
	}}
}

func TestSubjectsTakeTurnsAndFailAlone(t *testing.T) {
	var turns []string
	broken := errors.New("broken")
	c := Case{Name: "x", Columns: []Column{{Name: "time"}}, Rounds: 3, Subjects: []Subject{
		subject("a", &turns, nil), subject("b", &turns, broken),
		{Name: "c", Start: func(*Setup) (Round, error) { return nil, broken }},
	}}
	res, err := Run(t.Context(), c, Options{Rounds: 5})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Rows[0].Rounds) != 3 || res.Rows[0].Err != "" || res.Rows[1].Err != "broken" || res.Rows[2].Err != "broken" || res.Rows[1].Rounds != nil {
		t.Errorf("got %+v", res.Rows)
	}
	count := make(map[string]int)
	for _, turn := range turns {
		count[turn]++
	}
	if count["a"] != 3 || count["b"] != 1 || turns[len(turns)-2] != "end of b" || turns[len(turns)-1] != "end of a" {
		t.Errorf("turns were %v", turns)
	}
}

func TestRunRefusesValuesThatFitNoColumn(t *testing.T) {
	c := Case{Name: "x", Columns: []Column{{}, {}}, Subjects: []Subject{subject("a", new([]string), nil)}}
	if _, err := Run(t.Context(), c, Options{Rounds: 1}); err == nil {
		t.Error("one value for two columns is no error")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	rounds := 0
	c := Case{Name: "x", Columns: []Column{{}}, Subjects: []Subject{{Name: "a", Start: func(*Setup) (Round, error) {
		return func() ([]float64, error) {
			if rounds++; rounds == 2 {
				cancel(enough)
			}
			return []float64{1}, nil
		}, nil
	}}}}
	if _, err := Run(ctx, c, Options{Rounds: 100}); !errors.Is(err, enough) || rounds != 2 {
		t.Errorf("got %v after %d rounds", err, rounds)
	}
}

func TestLoopMeasuresWhatItIsGiven(t *testing.T) {
	var sink atomic.Pointer[[64]byte]
	round := Loop(&Setup{Smoke: true}, func(n int) {
		for range n {
			sink.Store(new([64]byte))
		}
	})
	values, err := round()
	if err != nil || len(values) != len(LoopColumns()) || values[0] <= 0 || values[1] <= 0 || values[2] < 1 || values[2] > 2 {
		t.Errorf("got %v, %v", values, err)
	}
}

func TestCurveIsPutAtEachSize(t *testing.T) {
	sized := func(name string, most int) Sized {
		return Sized{Name: name, Role: Freshet, Most: most, Start: func(_ *Setup, size int) (Round, error) {
			return func() ([]float64, error) { return []float64{float64(size)}, nil }, nil
		}}
	}
	c := Curve{Name: "x", At: []int{1, 10, 100}, Columns: []Column{{}}, Subjects: []Sized{sized("all", 0), sized("few", 10)}}
	res, err := RunCurve(t.Context(), c, Options{Rounds: 2})
	if err != nil || len(res.Sizes) != 3 {
		t.Fatalf("got %+v, %v", res, err)
	}
	if rows := res.Sizes[2].Rows; len(rows) != 1 || rows[0].Rounds[1][0] != 100 {
		t.Errorf("at 100: %+v", rows)
	}
	if res, _ = RunCurve(t.Context(), c, Options{Rounds: 2, Smoke: true}); len(res.Sizes) != 1 || len(res.Sizes[0].Rows) != 2 {
		t.Errorf("a smoke run has %+v", res)
	}
}
