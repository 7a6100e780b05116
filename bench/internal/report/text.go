package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"freshet.dev/bench/internal/measure"
)

// Text writes a case's result for a terminal.
func Text(w io.Writer, res measure.Result) {
	fmt.Fprintf(w, "\n%s: %s\n", res.Name, res.Title)
	if res.Missing != "" {
		fmt.Fprintf(w, "  left out: %s\n", res.Missing)
		return
	}
	textTable(w, res)
}

// TextCurve writes a curve's results for a terminal, size by size.
func TextCurve(w io.Writer, c measure.CurveResult) {
	fmt.Fprintf(w, "\n%s: %s\n", c.Name, c.Title)
	for i, res := range c.Sizes {
		fmt.Fprintf(w, " %s %s\n", number(float64(c.At[i])), c.X)
		textTable(w, res)
	}
}

func textTable(w io.Writer, res measure.Result) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, line := range table(res, func(s string) string { return s }) {
		fmt.Fprintln(t, "  "+strings.Join(line, "\t"))
	}
	_ = t.Flush()
}
