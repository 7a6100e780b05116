// Package report shows what the cases came to: as text, as Markdown, as JSON, and as plots.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"freshet.dev/bench/internal/machine"
	"freshet.dev/bench/internal/measure"
)

// Report is one run of the command.
type Report struct {
	Made     time.Time             `json:"made"`
	Command  string                `json:"command"` // that makes it again
	Rounds   int                   `json:"rounds"`
	Machine  machine.Facts         `json:"machine"`
	Before   machine.Busy          `json:"busy_before"`
	During   machine.Busy          `json:"busy_during"`
	Versions map[string]string     `json:"versions"` // of the modules that subjects name
	Cases    []measure.Result      `json:"cases"`
	Curves   []measure.CurveResult `json:"curves"`
}

// JSON writes everything, each round's values included.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Read reads what JSON wrote. Each case is of the commit that it says, or else of the report's.
func Read(path string) (r Report, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	for i := range r.Cases {
		r.Cases[i].Commit = cmp.Or(r.Cases[i].Commit, r.Machine.Commit)
	}
	for i := range r.Curves {
		r.Curves[i].Commit = cmp.Or(r.Curves[i].Commit, r.Machine.Commit)
	}
	return r, nil
}

// Case is the case of a name, or none.
func (r *Report) Case(name string) []measure.Result {
	for _, c := range r.Cases {
		if c.Name == name {
			return []measure.Result{c}
		}
	}
	return nil
}

// Curve is the curve of a name, or none.
func (r *Report) Curve(name string) []measure.CurveResult {
	for _, c := range r.Curves {
		if c.Name == name {
			return []measure.CurveResult{c}
		}
	}
	return nil
}

// Warning says that other work disturbed the run, if it did.
func (r *Report) Warning() string {
	switch {
	case r.Before.Disturbed() || r.During.Disturbed():
		return fmt.Sprintf("The machine was busy: others had %.0f %% of its processors before the run, and %.0f %% during it. Ratios are "+
			"worth more than times then, and small differences nothing.", 100*r.Before.Share, 100*r.During.Share)
	case !r.During.Known:
		return "Whether the machine was busy with other work is not known on this system."
	}
	return ""
}

// Failed lists the subjects that could not do their work.
func (r *Report) Failed() []string {
	var list []string
	add := func(res measure.Result, size string) {
		for _, row := range res.Rows {
			if row.Err != "" {
				list = append(list, fmt.Sprintf("%s%s: %s: %s", res.Name, size, row.Subject, row.Err))
			}
		}
	}
	for _, c := range r.Cases {
		add(c, "")
	}
	for _, c := range r.Curves {
		for i, at := range c.Sizes {
			add(at, fmt.Sprintf(" at %d %s", c.At[i], c.X))
		}
	}
	return list
}

// Used keeps those versions that the report's subjects name.
func (r *Report) Used(all map[string]string) {
	r.Versions = make(map[string]string)
	use := func(res measure.Result) {
		for _, row := range res.Rows {
			for _, m := range row.Modules {
				if v, ok := all[m]; ok {
					r.Versions[m] = v
				}
			}
		}
	}
	for _, c := range r.Cases {
		use(c)
	}
	for _, c := range r.Curves {
		for _, at := range c.Sizes {
			use(at)
		}
	}
}

// table is a case's rows as cells, the first row the heads.
func table(res measure.Result, bold func(string) string) [][]string {
	heads := []string{""}
	for _, c := range res.Columns {
		heads = append(heads, c.Name)
		if c.Compare {
			heads = append(heads, "× freshet")
		}
	}
	cells := [][]string{heads}
	for _, row := range res.Rows {
		name := row.Subject
		if row.Role == measure.Freshet {
			name = bold(name)
		}
		line := []string{name}
		if row.Err != "" {
			line = append(line, "failed: "+firstLine(row.Err))
			cells = append(cells, append(line, make([]string, len(heads)-len(line))...))
			continue
		}
		for i, c := range res.Columns {
			line = append(line, value(row, i, c))
			if c.Compare {
				line = append(line, ratio(res, row, i, bold))
			}
		}
		cells = append(cells, line)
	}
	return cells
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// value is a column's median, and the middle half of its rounds where that can be told from it.
func value(row measure.Row, i int, c measure.Column) string {
	s, ok := row.Of(i)
	if !ok {
		return ""
	}
	median := quantity(s.Median, c)
	if low, high := quantity(s.Low, c), quantity(s.High, c); low != median || high != median {
		return fmt.Sprintf("%s (%s–%s)", median, low, high)
	}
	return median
}

// ratio is a row's figure over freshet's, as far as the rounds show a difference. A peer's is marked that is ahead.
func ratio(res measure.Result, row measure.Row, i int, bold func(string) string) string {
	r, ok := res.Against(row, i)
	switch {
	case !ok:
		return ""
	case !r.Shown:
		return "no difference shown"
	}
	text := number(r.Median) + " ×"
	if ahead := r.Median < 1 != res.Columns[i].More; ahead && row.Role == measure.Peer {
		text += " " + bold("ahead")
	}
	return text
}

// notes are the sentences of a case's subjects.
func notes(res measure.Result) []string {
	var list []string
	for _, row := range res.Rows {
		if row.Note != "" {
			list = append(list, row.Subject+": "+row.Note)
		}
	}
	return list
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
