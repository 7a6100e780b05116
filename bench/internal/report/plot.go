package report

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"freshet.dev/bench/internal/measure"
)

// PlotName is the name of a curve's file.
func PlotName(c measure.CurveResult) string { return strings.ReplaceAll(c.Name, "/", "-") + ".svg" }

// Plot draws a curve's first column, with both axes logarithmic, into a folder.
func Plot(dir string, c measure.CurveResult) error {
	if len(c.Sizes) == 0 {
		return nil
	}
	p := plot.New()
	p.Title.Text = c.Title
	p.X.Label.Text = c.X
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, sizes{}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, quantities{c.Sizes[0].Columns[0]}
	p.Y.Label.Text = c.Sizes[0].Columns[0].Name
	p.BackgroundColor = color.White
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	low, high := math.Inf(1), 0.0
	for i, subject := range c.Sizes[0].Rows {
		points := line(c, subject.Subject)
		if len(points) == 0 {
			continue
		}
		for _, at := range points {
			low, high = min(low, at.Y), max(high, at.Y)
		}
		l, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		l.Color, dots.Color = plotutil.Color(i), plotutil.Color(i)
		dots.Shape = plotutil.Shape(i)
		if subject.Role == measure.Floor {
			l.Dashes = plotutil.Dashes(1)
		}
		p.Add(l, dots)
		p.Legend.Add(subject.Subject, l, dots)
	}
	if high > 0 { // whole decades, so that a flat curve looks flat
		p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)+1e-9))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := p.Save(7*vg.Inch, 4*vg.Inch, filepath.Join(dir, PlotName(c))); err != nil {
		return fmt.Errorf("drawing %s: %w", c.Name, err)
	}
	return nil
}

// line is a subject's medians; a logarithmic axis has no place for what is not positive.
func line(c measure.CurveResult, subject string) plotter.XYs {
	var points plotter.XYs
	for i, res := range c.Sizes {
		for _, row := range res.Rows {
			if s, ok := row.Of(0); ok && row.Subject == subject && s.Median > 0 {
				points = append(points, plotter.XY{X: float64(c.At[i]), Y: s.Median})
			}
		}
	}
	return points
}

// sizes label the powers of ten.
type sizes struct{}

func (sizes) Ticks(low, high float64) []plot.Tick {
	return labelled(low, high, number)
}

// quantities label them with a column's unit.
type quantities struct{ c measure.Column }

func (q quantities) Ticks(low, high float64) []plot.Tick {
	return labelled(low, high, func(v float64) string { return quantity(v, q.c) })
}

func labelled(low, high float64, name func(float64) string) []plot.Tick {
	ticks := plot.LogTicks{}.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = name(ticks[i].Value)
		}
	}
	return ticks
}
