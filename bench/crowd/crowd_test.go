package crowd

import (
	"testing"

	"freshet.dev/bench/internal/measure"
)

func TestSmoke(t *testing.T) {
	t.Chdir("..") // where the command is run, and what it builds is found from
	tools, err := measure.NewTools()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tools.Close)
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			if c.Missing != "" {
				t.Skip(c.Missing)
			}
			res, err := measure.Run(t.Context(), c, measure.Options{Rounds: 1, Smoke: true, Tools: tools})
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range res.Rows {
				if row.Err != "" || len(row.Rounds) != 1 {
					t.Errorf("%s: %d rounds, %s", row.Subject, len(row.Rounds), row.Err)
				}
			}
		})
	}
}
