package mcp

import (
	"errors"
	"testing"

	"freshet.dev/bench/internal/measure"
)

func TestSmoke(t *testing.T) {
	t.Chdir("..") // where programs are built
	tools, err := measure.NewTools()
	if err != nil {
		t.Fatal(err)
	}
	defer tools.Close()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			res, err := measure.Run(t.Context(), c, measure.Options{Smoke: true, Tools: tools})
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range res.Rows {
				if row.Err != "" {
					t.Errorf("%s: %s", row.Subject, row.Err)
				}
			}
		})
	}
}

func TestBridgeThatDoesNotSignIsNotMeasured(t *testing.T) {
	t.Chdir("..")
	tools, err := measure.NewTools()
	if err != nil {
		t.Fatal(err)
	}
	defer tools.Close()
	w := new(world)
	c := measure.Case{Name: "mcp/wrong", Columns: []measure.Column{{Name: "nothing"}}, Subjects: []measure.Subject{{Name: "another credential", Start: func(s *measure.Setup) (measure.Round, error) {
		if err := w.begin(s); err != nil {
			return nil, err
		}
		other := *direct
		other.signed = "Bearer another"
		if _, err := w.agent(s, &other); !errors.Is(err, measure.ErrWrong) {
			t.Errorf("got %v, want %v", err, measure.ErrWrong)
		}
		return func() ([]float64, error) { return []float64{0}, nil }, nil
	}}}}
	if res, err := measure.Run(t.Context(), c, measure.Options{Smoke: true, Tools: tools}); err != nil || res.Rows[0].Err != "" {
		t.Fatal(err, res.Rows)
	}
}
