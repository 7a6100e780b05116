package report

import (
	"fmt"
	"io"
	"path"
	"strings"

	"freshet.dev/bench/internal/measure"
)

// Markdown writes the whole report as a page. plots is the folder of its plots, relative to the page.
func (r *Report) Markdown(w io.Writer, plots string) error {
	p := &page{}
	p.line("# Results")
	p.line("")
	p.line("Made by `%s` on %s; do not edit. Each case says what commit of this repository was measured.", r.Command, day(r.Made))
	p.line("")
	p.line("- Machine: %s, %d processors, %s of memory, %s, %s.", r.Machine.CPU, r.Machine.Cores,
		quantity(float64(r.Machine.Memory), measure.Column{Unit: measure.Bytes}), r.Machine.Kernel, r.Machine.Go)
	p.line("- %d rounds, in which subjects take turns in another order each time; fewer where a round takes long. A figure is the median, with the "+
		"middle half of the rounds in brackets.", r.Rounds)
	p.line("- A ratio is the median of the rounds' ratios to the row in bold. Where the middle half of those is wider than the median's distance from 1, " +
		"there is *no difference shown*. More than 1 × is slower than freshet, or larger; in requests a second, more is faster. A peer that is " +
		"ahead is marked so; a floor is what nothing that does the work can be below.")
	if warning := r.Warning(); warning != "" {
		p.line("- %s", warning)
	}
	p.line("")
	p.line("| module | version |")
	p.line("|---|---|")
	for _, m := range sortedKeys(r.Versions) {
		p.line("| %s | %s |", m, r.Versions[m])
	}
	for _, c := range r.Cases {
		p.result(c)
	}
	for _, c := range r.Curves {
		p.curve(c, plots)
	}
	_, err := io.WriteString(w, p.String())
	return err
}

type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *page) head(name, commit, title, about string) {
	p.line("")
	p.line("## %s", title)
	p.line("")
	if commit == "" {
		p.line("`%s`", name)
	} else {
		p.line("`%s`, at %s", name, commit)
	}
	if about != "" {
		p.line("")
		p.line("%s", strings.TrimSpace(about))
	}
	p.line("")
}

func (p *page) result(res measure.Result) {
	p.head(res.Name, res.Commit, res.Title, res.About)
	if res.Missing != "" {
		p.line("Left out: %s", res.Missing)
		return
	}
	p.table(table(res, bold))
	p.notes(notes(res))
}

func (p *page) curve(c measure.CurveResult, plots string) {
	p.head(c.Name, c.Commit, c.Title, c.About)
	if len(c.Sizes) == 0 {
		return
	}
	p.line("![%s](%s)", c.Title, path.Join(plots, PlotName(c)))
	p.line("")
	p.line("%s", strings.TrimSpace(c.Complexity))
	p.line("")
	p.table(curveTable(c, bold))
	p.notes(notes(c.Sizes[0]))
}

// curveTable has a row for each size and a column for each subject, of each of the curve's columns.
func curveTable(c measure.CurveResult, bold func(string) string) [][]string {
	cells := [][]string{{c.X}}
	first := c.Sizes[0]
	for _, row := range first.Rows {
		for _, column := range first.Columns {
			head := row.Subject
			if len(first.Columns) > 1 {
				head += ", " + column.Name
			}
			if row.Role == measure.Freshet {
				head = bold(head)
			}
			cells[0] = append(cells[0], head)
		}
	}
	for i, res := range c.Sizes {
		line := []string{number(float64(c.At[i]))}
		for _, row := range first.Rows {
			for k, column := range res.Columns {
				cell := ""
				for _, at := range res.Rows {
					if at.Subject == row.Subject {
						if cell = value(at, k, column); at.Err != "" {
							cell = "failed: " + firstLine(at.Err)
						}
					}
				}
				line = append(line, cell)
			}
		}
		cells = append(cells, line)
	}
	return cells
}

func (p *page) table(cells [][]string) {
	for i, line := range cells {
		p.line("| %s |", strings.Join(line, " | "))
		if i == 0 {
			p.line("|%s", strings.Repeat("---|", len(line)))
		}
	}
}

func (p *page) notes(list []string) {
	if len(list) == 0 {
		return
	}
	p.line("")
	for _, n := range list {
		p.line("- %s", n)
	}
}

func bold(s string) string { return "**" + s + "**" }
