package field

import (
	"errors"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"
)

// errForm is all that a scalar says of text it cannot read: the rest is in Form.
var errForm = errors.New("not of this form")

// Duration is a span of time, written as 60s, 1h or 1h30m. It is never negative.
type Duration time.Duration

func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || strings.Trim(string(text), "0123456789.nuµmsh") != "" || string(text) == "0" || barePoint(string(text)) {
		return errForm // ParseDuration also takes a sign, a bare 0, and .5s and 5.s, which the schema does not
	}
	*d = Duration(v)
	return nil
}

// barePoint reports whether a decimal point has no digit before it, or none after it.
func barePoint(text string) bool {
	digit := func(i int) bool { return i >= 0 && i < len(text) && text[i] >= '0' && text[i] <= '9' }
	for i := range len(text) {
		if text[i] == '.' && (!digit(i-1) || !digit(i+1)) {
			return true
		}
	}
	return false
}

func (d Duration) Form() (words, pattern string) {
	return "a duration such as 60s or 1h", `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
}

// String is the shortest form: 1h, not 1h0m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Percent is a whole percentage, 0 to 100, written as 75%.
type Percent int

func (p *Percent) UnmarshalText(text []byte) error {
	digits, ok := strings.CutSuffix(string(text), "%")
	v, err := parseDigits(digits)
	if !ok || err != nil || v > 100 || len(digits) > 3 || len(digits) == 3 && v != 100 {
		return errForm
	}
	*p = Percent(v)
	return nil
}

func (p Percent) Form() (words, pattern string) {
	return "a percentage such as 75%", `^(100|[0-9]{1,2})%$`
}

func (p Percent) String() string { return strconv.Itoa(int(p)) + "%" }

// Rate is how often something may happen, in times a second, written as 10/s, 600/m or 2/h. The zero Rate is none.
type Rate float64

// per are the units of Rate, shortest first, in seconds.
var per = []struct {
	unit    string
	seconds int
}{{"s", 1}, {"m", 60}, {"h", 3600}}

func (r *Rate) UnmarshalText(text []byte) error {
	digits, unit, _ := strings.Cut(string(text), "/")
	v, err := parseDigits(digits)
	if err != nil || v == 0 || len(digits) > 9 { // none at all is no rate: what has it would never be served
		return errForm
	}
	for _, p := range per {
		if p.unit == unit {
			*r = Rate(float64(v) / float64(p.seconds))
			return nil
		}
	}
	return errForm
}

func (r Rate) Form() (words, pattern string) {
	return "a rate such as 10/s, 600/m or 2/h", `^0{0,8}[1-9][0-9]{0,8}/[smh]$`
}

func (r Rate) String() string {
	for _, p := range per {
		n := math.Round(float64(r) * float64(p.seconds))
		if Rate(n/float64(p.seconds)) == r {
			return strconv.FormatFloat(n, 'f', -1, 64) + "/" + p.unit
		}
	}
	return strconv.FormatFloat(float64(r), 'g', -1, 64) + "/s"
}

// Size is a number of bytes, written as 512B, 64KiB, 256MiB or 1GiB.
type Size int64

// units are those of Size, largest first.
var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range units {
		digits, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		v, err := parseDigits(digits)
		if err != nil || v > math.MaxInt64/u.bytes {
			return errForm
		}
		*s = Size(v * u.bytes)
		return nil
	}
	return errForm
}

func (s Size) Form() (words, pattern string) {
	return "a size such as 64KiB or 256MiB", `^[0-9]+(B|KiB|MiB|GiB)$`
}

func (s Size) String() string {
	for _, u := range units {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// Mode is a file's permission bits, written in octal with a leading zero: 0600.
type Mode fs.FileMode

func (m *Mode) UnmarshalText(text []byte) error {
	digits, ok := strings.CutPrefix(string(text), "0") // without it, 600 is another number to other readers of YAML
	digits = strings.TrimPrefix(digits, "o")
	v, err := strconv.ParseUint(digits, 8, 16)
	if !ok || err != nil || len(digits) != 3 {
		return errForm
	}
	*m = Mode(v)
	return nil
}

func (m Mode) Form() (words, pattern string) {
	return "a file mode such as 0600", `^0o?[0-7]{3}$`
}

func (m Mode) String() string {
	return "0" + strconv.FormatUint(uint64(m&0o777|0o1000), 8)[1:]
}

// parseDigits reads digits alone: no sign, no underscore.
func parseDigits(s string) (int64, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, errForm
	}
	return strconv.ParseInt(s, 10, 64)
}
