// Package hit measures what a token costs that is there already: by one key, among many scopes, tenants and keys, and while another
// key's token is being retrieved. It is what a program pays for each of its requests.
package hit

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"freshet.dev/bench/internal/measure"
)

// Cases are the questions about hits.
func Cases() []measure.Case {
	return []measure.Case{oneKey(), heldKeys(), stringKeys(), beside()}
}

// Curves are those about hits among as many as one likes.
func Curves() []measure.Curve {
	return []measure.Curve{scopes(), tenants()}
}

// loop is measure.Loop for work that can go wrong: f does n hits and says whether they were. More is asked about a round once it is
// over; it may be nil.
//
// A round that allocates has its garbage collected, so that the next subject's does not pay for it.
func loop(s *measure.Setup, f func(n int) error, after func() error) measure.Round {
	var failed atomic.Pointer[error]
	round := measure.Loop(s, func(n int) {
		if err := f(n); err != nil {
			failed.Store(&err)
		}
	})
	return func() ([]float64, error) {
		values, err := round()
		if p := failed.Load(); p != nil && err == nil {
			err = *p
		}
		if after != nil && err == nil {
			err = after()
		}
		if values[allocations] >= 1 {
			runtime.GC()
		}
		return values, err
	}
}

// allocations is the column of measure.LoopColumns that counts them.
const allocations = 2

// wrong is a hit that was none, or another's.
func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", measure.ErrWrong, fmt.Sprintf(format, args...))
}

// shared is what several subjects of a run use, made by the first of them: where it takes long to make.
type shared[T any] struct {
	of    *measure.Setup
	value T
	err   error
}

// get is the value of a run, which f makes.
func (v *shared[T]) get(s *measure.Setup, f func() (T, error)) (T, error) {
	if v.of != s {
		value, err := f()
		*v = shared[T]{s, value, err}
		s.Cleanup(func() { *v = shared[T]{} })
	}
	return v.value, v.err
}
