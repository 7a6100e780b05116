// Package chance is the one place where the library draws random numbers: jitter.
package chance

import (
	"math/rand/v2"
	"sync/atomic"
)

// Func is a random number in [0, n), n > 0, drawn for of.
type Func func(of string, n int64) int64

var simulated atomic.Pointer[Func] // only tests set it

// Below is a random number in [0, n), n > 0, drawn for of: a key, or a host.
func Below(of string, n int64) int64 {
	if f := simulated.Load(); f != nil {
		return (*f)(of, n)
	}
	return rand.Int64N(n)
}

// Simulate has f make every draw, for simulations that are to run alike each time, and returns what undoes it. Goroutines that act at
// the same moment of virtual time do so in any order: f depends on what it is given, the time and a seed, and not on what was
// drawn before.
func Simulate(f Func) (undo func()) {
	was := simulated.Swap(&f)
	return func() { simulated.Store(was) }
}
