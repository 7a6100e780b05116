package serve

import (
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
				if row.Err != "" && row.Err != notInstalled {
					t.Errorf("%s: %s", row.Subject, row.Err)
				}
			}
		})
	}
}
