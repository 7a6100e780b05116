package process

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
				if row.Err != "" && row.Err != notInstalled {
					t.Errorf("%s: %s", row.Subject, row.Err)
				}
			}
		})
	}
}

func TestRunsThatDoOtherThanAskedAreNotMeasured(t *testing.T) {
	const good = "1500000 2000000 0 68656c6c6f0a \n" // hello
	for name, c := range map[string]struct {
		out  string
		runs int
		want error
	}{
		"as asked":               {good + good, 2, nil},
		"one is missing":         {good, 2, measure.ErrWrong},
		"another exit status":    {"1500000 2000000 1 68656c6c6f0a \n", 1, measure.ErrWrong},
		"it prints another text": {"1500000 2000000 0 68656c70 \n", 1, measure.ErrWrong},
		"it prints nothing":      {"1500000 2000000 0  \n", 1, measure.ErrWrong},
	} {
		times, memory, err := program{want: "hello"}.read([]byte(c.out), c.runs)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if c.want == nil && (len(times) != 2 || times[0] != 1.5e6 || memory[1] != 2e6) {
			t.Errorf("%s: times %v, memory %v", name, times, memory)
		}
	}
}
