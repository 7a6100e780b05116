package scale

import (
	"fmt"
	"time"

	"freshet.dev/bench/internal/measure"
	"freshet.dev/freshet"
)

// patience bounds how long a round waits for refreshes.
const patience = 2 * time.Minute

var perSecond = []measure.Column{{Name: "refreshes a second", Unit: measure.PerSecond, More: true}}

// refreshes has all keys of one tenant replaced at once.
func refreshes() measure.Curve {
	return measure.Curve{
		Name:  "scale/refreshes",
		Title: "Refreshing many keys at once",
		About: "Every key becomes due at the same moment, as after a change of what the source reads; the source answers at once. Keys are scopes of one " +
			"tenant, and so wait in one queue of one issuer, at its 64 workers.",
		Complexity: "A refresh takes O(log keys waiting): the queue is a heap, and so is the schedule that the key goes back to.",
		X:          "keys", At: []int{1_000, 10_000, 100_000, 1_000_000}, Rounds: 3,
		Columns:  perSecond,
		Subjects: []measure.Sized{{Name: "freshet", Role: measure.Freshet, Start: replaceAll(func(i int) freshet.Request { return freshet.Request{Scopes: []string{fmt.Sprint("scope-", i)}} }, 0)}},
	}
}

// tenants has as many keys replaced at once as there are tenants in the largest size, spread over tenants.
func tenants() measure.Curve {
	const keys = 100_000
	return measure.Curve{
		Name:       "scale/tenants",
		Title:      "Refreshing the keys of many tenants at once",
		About:      "100,000 keys become due at the same moment, spread evenly over as many tenants as the row says. Each tenant's wait in a queue of its own, and tenants take turns.",
		Complexity: "A turn takes O(1), and O(log keys of the tenant) in its queue: more tenants make shorter queues.",
		X:          "tenants", At: []int{1, 100, 10_000, 100_000}, Rounds: 3,
		Columns: perSecond,
		Subjects: []measure.Sized{{Name: "freshet", Role: measure.Freshet, Start: func(s *measure.Setup, tenants int) (measure.Round, error) {
			return replaceAll(func(i int) freshet.Request {
				req := tenant(i % tenants)
				req.Scopes = []string{fmt.Sprint("scope-", i/tenants)}
				return req
			}, s.Size(keys, 1000))(s, tenants)
		}}},
	}
}

// replaceAll counts how many of a world's keys are replaced in a second once all of them are due. keys is how many; 0 means the curve's
// size.
func replaceAll(request func(i int) freshet.Request, keys int) func(*measure.Setup, int) (measure.Round, error) {
	return func(s *measure.Setup, size int) (measure.Round, error) {
		keys := keys
		if keys == 0 {
			keys = size
		}
		w, err := newWorld(keys)
		if err != nil {
			return nil, err
		}
		s.Cleanup(w.close)
		for i := range keys {
			if err := w.ask(request(i)); err != nil {
				return nil, err
			}
		}
		return func() ([]float64, error) {
			want := w.src.calls.Load() + int64(keys)
			began := time.Now()
			w.id.Changed()
			for w.src.calls.Load() < want {
				if time.Since(began) > patience {
					return nil, fmt.Errorf("%w: %d of %d keys were not replaced within %v", measure.ErrWrong, want-w.src.calls.Load(), keys, patience)
				}
				time.Sleep(100 * time.Microsecond)
			}
			took := time.Since(began)
			for w.cache.Stats().Flights > 0 { // what has its credential still lands
				time.Sleep(time.Millisecond)
			}
			return []float64{float64(keys) / took.Seconds()}, nil
		}, nil
	}
}
