package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"freshet.dev/internal/field"
)

// Position is a place in the file, both counted from 1; columns are characters. The zero value is the file as a whole.
type Position struct{ Line, Col int }

// Error is one problem with the configuration, on one line.
type Error struct {
	File      string
	Line, Col int    // 0 where the file as a whole is at fault
	What      string // the key, as identities.prod.role_arn
	Why       string
	Help      string
	cause     error
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s: %s", e.File, e.What, e.Why)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", e.File, e.Line, e.Col, e.What, e.Why)
}

// Hint says what to do, or nothing.
func (e *Error) Hint() string { return e.Help }

// Unwrap gives the cause, if there is one.
func (e *Error) Unwrap() error { return e.cause }

// Errors are the problems found, in the order of the file. Its text has one line for each.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each problem to errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, err := range e {
		all[i] = err
	}
	return all
}

// maxErrors is about what a person reads: one wrong indentation can make thousands.
const maxErrors = 50

// sorted is the error to return, in the order of the file, and nil if there is none.
func (e Errors) sorted() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	if more := len(e) - maxErrors; more > 0 {
		next := e[maxErrors]
		e = append(e[:maxErrors:maxErrors], &Error{
			File: next.File, Line: next.Line, Col: next.Col, What: "from here on", Why: fmt.Sprintf("%d more problems", more),
		})
	}
	return e
}

// places are where the keys of one mapping and of those inside it were written.
type places struct {
	file string
	path string              // of the mapping: identities.prod
	pos  Position            // of the mapping's own key
	keys map[string]Position // path from the mapping: refresh.at → the key's position
}

// located is a value and where it was written.
type located[T any] struct {
	value T
	at    *places
	path  string // from at
}

// join makes a path of two, either of which may be empty; the second may be an index.
func join(path, key string) string {
	if path == "" || key == "" || key[0] == '[' {
		return path + key
	}
	return path + "." + key
}

// find gives the position of a key, or of what it would have been written in.
func (p *places) find(path string) Position {
	for path != "" {
		if pos, ok := p.keys[path]; ok {
			return pos
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return p.pos
}

// problem is one about the key at path.
func (p *places) problem(path, why, help string) *Error {
	pos := p.find(path)
	what := join(p.path, path)
	if what == "" {
		what = "configuration"
	}
	return &Error{File: p.file, Line: pos.Line, Col: pos.Col, What: what, Why: why, Help: help}
}

// problems are what a Check found in the value at path: errors joined, field.Errors and others.
func (p *places) problems(path string, err error) Errors {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all Errors
		for _, one := range many.Unwrap() {
			all = append(all, p.problems(path, one)...)
		}
		return all
	}
	var e *Error
	var hinter interface{ Hint() string }
	if fault := (*field.Error)(nil); errors.As(err, &fault) {
		e = p.problem(join(path, fault.Field), fault.Why, fault.Help)
	} else if errors.As(err, &hinter) {
		e = p.problem(path, err.Error(), hinter.Hint())
	} else {
		e = p.problem(path, err.Error(), "")
	}
	e.cause = err
	return Errors{e}
}

func (p *places) explain(err error) error {
	if p == nil {
		return err // made by hand, not read from a file
	}
	return p.problems("", err).sorted()
}
