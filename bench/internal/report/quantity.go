package report

import (
	"math"
	"strconv"
	"strings"
	"time"

	"freshet.dev/bench/internal/measure"
)

// quantity is a value with its unit, in three digits.
func quantity(v float64, c measure.Column) string {
	if len(c.Words) > 0 {
		if i := int(math.Round(v)); i >= 0 && i < len(c.Words) {
			return c.Words[i]
		}
		return "?"
	}
	switch c.Unit {
	case measure.Nanoseconds:
		return scaled(v, []string{"ns", "µs", "ms", "s"}, 1000)
	case measure.Bytes:
		return scaled(v, []string{"B", "KiB", "MiB", "GiB"}, 1024)
	case measure.PerSecond:
		return number(v) + "/s"
	}
	return number(v)
}

func scaled(v float64, units []string, step float64) string {
	i := 0
	for math.Abs(v) >= step*0.9995 && i < len(units)-1 {
		v /= step
		i++
	}
	return number(v) + " " + units[i]
}

// number has three digits that mean something, and commas between thousands.
func number(v float64) string {
	abs := math.Abs(v)
	switch {
	case abs < 0.005:
		return "0"
	case abs < 9.995:
		return trim(strconv.FormatFloat(v, 'f', 2, 64))
	case abs < 99.95:
		return trim(strconv.FormatFloat(v, 'f', 1, 64))
	case abs >= 1000 && abs != math.Trunc(abs):
		round := math.Pow(10, math.Floor(math.Log10(abs))-2)
		v = math.Round(v/round) * round
	}
	return commas(strconv.FormatFloat(v, 'f', 0, 64))
}

func trim(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

func commas(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006") }
