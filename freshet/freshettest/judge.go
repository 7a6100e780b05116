package freshettest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"
	"unicode"

	"freshet.dev/freshet"
)

// maxText is what a public message may take: it is one line of a log and of a terminal.
const maxText = 600

// judgeError returns what is wrong with an error of a source.
func (s *SourceSuite) judgeError(err error, want freshet.Kind) []string {
	e, ok := errors.AsType[*freshet.Error](err)
	if !ok {
		return []string{fmt.Sprintf("error is a %T, want a *freshet.Error", err)}
	}
	var problems []string
	if e.Kind != want {
		problems = append(problems, fmt.Sprintf("error %q is of kind %q, want %q", e, e.Kind, want))
	}
	for name, text := range map[string]string{"text": e.Error(), "hint": e.Hint} {
		switch {
		case name == "text" && text == "":
			problems = append(problems, "error has no text")
		case len(text) > maxText:
			problems = append(problems, fmt.Sprintf("error's %s has %d bytes, want at most %d", name, len(text), maxText))
		case strings.ContainsFunc(text, unicode.IsControl):
			problems = append(problems, fmt.Sprintf("error's %s %q has control characters", name, text))
		}
	}
	return append(problems, s.printed("error: ", e.Hint, err)...)
}

// judgeLimit returns what is wrong with what an error tells of its issuer's limits.
func judgeLimit(u Upstream, err error) []string {
	e := freshet.AsError(err)
	switch {
	case u == Throttled && e.Status != http.StatusTooManyRequests:
		return []string{fmt.Sprintf("error %q has status %d, want 429", e, e.Status)}
	case u == Throttled && e.RetryAfter != ThrottledFor:
		return []string{fmt.Sprintf("error %q says to retry after %v, want %v", e, e.RetryAfter, ThrottledFor)}
	case u == Failing && e.Status != 0 && e.Status < http.StatusInternalServerError:
		return []string{fmt.Sprintf("error %q has status %d, want what says that the issuer fails", e, e.Status)}
	}
	return nil
}

// judgeTarget returns what is wrong with whom a source says it asks.
func (s *SourceSuite) judgeTarget(src freshet.Source) []string {
	by, ok := src.(freshet.Targeter)
	if !ok {
		return nil
	}
	target := by.Target(s.Request)
	problems := s.printed("target: ", target)
	if target.Host == "" {
		problems = append(problems, "target has no host")
	}
	if text := target.Host + target.Tenant + target.Client; strings.ContainsFunc(text, unicode.IsControl) || len(text) > maxText {
		problems = append(problems, fmt.Sprintf("target %q is not fit for a line of text", target))
	}
	if again := by.Target(s.Request); again != target {
		problems = append(problems, fmt.Sprintf("target is %v and then %v", target, again))
	}
	if v, ok := src.(freshet.Varier); ok && v.Varies()&freshet.FieldTenant != 0 {
		req := s.Request
		if req.Tenant = "tenant-of-the-suite"; by.Target(req).Tenant != req.Tenant {
			problems = append(problems, fmt.Sprintf("target of another tenant is %v", by.Target(req)))
		}
	}
	return problems
}

// printed searches everything that values print for the suite's secrets.
func (s *SourceSuite) printed(where string, values ...any) []string {
	var problems []string
	for _, v := range values {
		for format, text := range renderings(v) {
			for _, leak := range leaks(text, s.Secrets) {
				problems = append(problems, fmt.Sprintf("%s%T printed with %s: %s", where, v, format, leak))
			}
		}
	}
	return problems
}

// renderings is a value as each of the ways things are printed shows it.
func renderings(v any) map[string]string {
	if v == nil {
		return nil
	}
	all := make(map[string]string)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		all[format] = fmt.Sprintf(format, v)
	}
	if b, err := json.Marshal(v); err == nil {
		all["json"] = string(b)
	}
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("", "value", v)
	all["slog text"] = b.String()
	b.Reset()
	slog.New(slog.NewJSONHandler(&b, nil)).Info("", "value", v)
	all["slog json"] = b.String()
	return all
}

// goroutines are the stacks of all goroutines, by "goroutine N".
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := make(map[string]string)
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if name, _, ok := strings.Cut(stack, " ["); ok {
			all[name] = stack
		}
	}
	return all
}

// leftRunning are the goroutines that were not among before, once they have had time to end.
func leftRunning(before map[string]string, patience time.Duration) []string {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var left []string
		for name, stack := range goroutines() {
			// os/signal and the like start one goroutine for the whole process, at its first use.
			if _, known := before[name]; !known && !strings.Contains(stack, "os/signal.loop") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return left
		}
	}
}
