package process

import (
	"errors"
	"slices"
	"strings"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
)

// failure turns a run that gave no answer into one of our errors.
func (s *Source) failure(out child.Output, err error) *freshet.Error {
	e := &freshet.Error{Kind: freshet.Unavailable, Why: s.cfg.program() + ": could not be run", Cause: err}
	c, ok := errors.AsType[*child.Error](err)
	if !ok {
		return e
	}
	// The error names the program by the whole path.
	e.Why = s.cfg.program() + strings.TrimPrefix(c.Error(), c.Program)
	e.Hint = c.Hint()
	switch c.Reason {
	case child.NotFound, child.NotExecutable:
		e.Kind = freshet.Invalid
	case child.Overflow:
		e.Kind = freshet.Malformed
	case child.Exited, child.Signaled:
		if said := child.Redact(out.Stderr, s.known()...); said != "" {
			e.Why += ": " + said
		}
		if login := child.LoginIn(out.Stderr + "\n" + string(out.Stdout)); login != "" {
			e.Kind, e.Hint = freshet.LoginNeeded, "run "+login
		}
	}
	return e
}

// known are the values of the environment that was configured, which no pattern would recognise in standard error. Short ones
// are words like "true", and leaving those out would leave gaps in every sentence.
func (s *Source) known() []string {
	var values []string
	for _, v := range s.cfg.Env {
		if len(v) >= 8 {
			values = append(values, v)
		}
	}
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) }) // a part of another goes after it
	return values
}
