package measure

import (
	"math"
	"slices"
)

// Result is what a case came to.
type Result struct {
	Name    string   `json:"name"`
	Title   string   `json:"title,omitempty"`
	About   string   `json:"about,omitempty"`
	Missing string   `json:"missing,omitempty"`
	Commit  string   `json:"commit,omitempty"` // of what was measured
	Columns []Column `json:"columns"`
	Rows    []Row    `json:"rows"`
}

// Row is what a subject's rounds came to.
type Row struct {
	Subject string      `json:"subject"`
	Role    Role        `json:"role"`
	Modules []string    `json:"modules,omitempty"`
	Note    string      `json:"note,omitempty"`
	Err     string      `json:"error,omitempty"`
	Rounds  [][]float64 `json:"rounds,omitempty"` // a value for each column
}

// CurveResult is what a curve came to: a result for each size.
type CurveResult struct {
	Name       string   `json:"name"`
	Title      string   `json:"title"`
	About      string   `json:"about"`
	Complexity string   `json:"complexity"`
	Commit     string   `json:"commit,omitempty"`
	X          string   `json:"x"`
	At         []int    `json:"at"`
	Sizes      []Result `json:"sizes"`
}

// Spread is the middle half of what the rounds gave: from the first quartile to the third, around the median.
type Spread struct{ Low, Median, High float64 }

// Of is a column's spread in a row; false if the row has none.
func (r Row) Of(column int) (Spread, bool) {
	if len(r.Rounds) == 0 {
		return Spread{}, false
	}
	values := make([]float64, len(r.Rounds))
	for i, round := range r.Rounds {
		values[i] = round[column]
	}
	return spread(values), true
}

// Ratio is a row's figure over freshet's, round by round.
type Ratio struct {
	Spread
	Shown bool // whether the rounds agree that there is a difference
}

// Against is a row's ratio to the result's first row of freshet's; false if there is none.
//
// The rounds agree when their middle half is narrower than the median ratio's distance from 1.
func (r Result) Against(row Row, column int) (Ratio, bool) {
	i := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Role == Freshet })
	if i < 0 || r.Rows[i].Subject == row.Subject {
		return Ratio{}, false
	}
	ours := r.Rows[i].Rounds
	var ratios []float64
	for k := range min(len(ours), len(row.Rounds)) {
		if ours[k][column] <= 0 {
			return Ratio{}, false
		}
		ratios = append(ratios, row.Rounds[k][column]/ours[k][column])
	}
	if len(ratios) == 0 {
		return Ratio{}, false
	}
	s := spread(ratios)
	return Ratio{s, len(ratios) > 1 && s.High-s.Low < math.Abs(s.Median-1)}, true
}

// spread sorts values in place.
func spread(values []float64) Spread {
	slices.Sort(values)
	return Spread{quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)}
}

// quantile interpolates between the two sorted values next to it.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below := int(at)
	if below+1 >= len(sorted) {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}
