package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"freshet.dev/bench/internal/machine"
	"freshet.dev/bench/internal/measure"
)

func TestQuantities(t *testing.T) {
	ns, b := measure.Column{Unit: measure.Nanoseconds}, measure.Column{Unit: measure.Bytes}
	rate, words := measure.Column{Unit: measure.PerSecond}, measure.Column{Words: []string{"served", "error"}}
	for _, tt := range []struct {
		v    float64
		c    measure.Column
		want string
	}{
		{2.1, ns, "2.1 ns"}, {51.04, ns, "51 ns"}, {873, ns, "873 ns"}, {999.7, ns, "1 µs"}, {1400, ns, "1.4 µs"},
		{26.94e6, ns, "26.9 ms"}, {51e9, ns, "51 s"}, {5100e9, ns, "5,100 s"}, {0, ns, "0 ns"},
		{249, b, "249 B"}, {1536, b, "1.5 KiB"}, {2 << 30, b, "2 GiB"},
		{68123.4, rate, "68,100/s"}, {991, measure.Column{}, "991"}, {1507, measure.Column{}, "1,507"}, {1234567, measure.Column{}, "1,234,567"},
		{0.0001, measure.Column{}, "0"}, {0.3, measure.Column{}, "0.3"},
		{0, words, "served"}, {1, words, "error"}, {7, words, "?"},
	} {
		if got := quantity(tt.v, tt.c); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.v, got, tt.want)
		}
	}
}

func row(name string, role measure.Role, values ...float64) measure.Row {
	r := measure.Row{Subject: name, Role: role, Modules: []string{"example.org/" + name}}
	for _, v := range values {
		r.Rounds = append(r.Rounds, []float64{v})
	}
	return r
}

func sample() *Report {
	res := measure.Result{
		Name: "hit/one", Commit: "abc", Title: "A hit", Columns: []measure.Column{{Name: "serial", Unit: measure.Nanoseconds, Compare: true}},
		Rows: []measure.Row{
			row("floor", measure.Floor, 25, 25, 25), row("freshet", measure.Freshet, 50, 50, 50), row("slow", measure.Peer, 150, 150, 150),
			row("fast", measure.Peer, 25, 25, 25), row("alike", measure.Peer, 40, 50, 60),
			{Subject: "broken", Role: measure.Peer, Err: "went away\nwith details"},
		},
	}
	served := res
	served.Name, served.Columns = "serve/x", []measure.Column{{Name: "requests", Unit: measure.PerSecond, More: true, Compare: true}}
	return &Report{
		Made: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Command: "go -C bench run .", Rounds: 3,
		Machine: machine.Facts{CPU: "a CPU", Cores: 2, Memory: 1 << 30, Kernel: "Linux 6", Go: "go1.26", Commit: "abc"},
		During:  machine.Busy{Share: 0.5, Known: true},
		Cases:   []measure.Result{res, served, {Name: "serve/nginx", Title: "Left out", Missing: "install nginx"}},
		Curves: []measure.CurveResult{{
			Name: "scale/hits", Title: "Hits", Complexity: "O(1).", X: "keys", At: []int{10, 1000},
			Sizes: []measure.Result{res, {Columns: res.Columns, Rows: []measure.Row{row("freshet", measure.Freshet, 60, 60)}}},
		}},
	}
}

func TestPageSaysWhoIsAheadAndWhatIsNotShown(t *testing.T) {
	r := sample()
	r.Used(map[string]string{"example.org/slow": "v1.2.3", "example.org/unused": "v9"})
	var b strings.Builder
	if err := r.Markdown(&b, "plots"); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{
		"| floor | 25 ns | 0.5 × |\n", "| **freshet** | 50 ns |  |\n", "| slow | 150 ns | 3 × |\n", "| fast | 25 ns | 0.5 × **ahead** |\n",
		"| alike | 50 ns (45 ns–55 ns) | no difference shown |\n", "| broken | failed: went away |  |\n",
		"| slow | 150/s | 3 × **ahead** |\n", "| fast | 25/s | 0.5 × |\n", "Left out: install nginx\n",
		"![Hits](plots/scale-hits.svg)\n", "| 1,000 |  | 60 ns |  |  |  |  |\n", "| example.org/slow | v1.2.3 |\n", "others had 0 % of its processors before the run, and 50 % during it",
		"on 2 January 2026; do not edit", "`hit/one`, at abc\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "unused") {
		t.Error("the page has the version of a module that nobody used")
	}
	if t.Failed() {
		t.Log(page)
	}
}

func TestFailuresAreListed(t *testing.T) {
	got := strings.Join(sample().Failed(), "\n")
	for _, want := range []string{"hit/one: broken: went away", "hit/one at 10 keys: broken: went away"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, which lacks %q", got, want)
		}
	}
}

func TestJSONHasEveryRound(t *testing.T) {
	var b bytes.Buffer
	if err := sample().JSON(&b); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if got := back.Cases[0].Rows[4].Rounds; len(got) != 3 || got[2][0] != 60 {
		t.Errorf("got %v", got)
	}
}

func TestPlotIsDrawn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plots")
	c := sample().Curves[0]
	if err := Plot(dir, c); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, PlotName(c)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "freshet", "Hits", "1,000"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the plot lacks %q", want)
		}
	}
}

func TestTextShowsTheSameCells(t *testing.T) {
	var b strings.Builder
	r := sample()
	Text(&b, r.Cases[0])
	Text(&b, r.Cases[2])
	TextCurve(&b, r.Curves[0])
	for _, want := range []string{"hit/one: A hit", "no difference shown", "left out: install nginx", "1,000 keys"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing from\n%s", want, b.String())
		}
	}
}
