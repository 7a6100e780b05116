package scale

import (
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"freshet.dev/bench/internal/measure"
)

// asked is how many keys a round asks for that are not there.
const asked = 2000

func misses() measure.Curve {
	return measure.Curve{
		Name:  "scale/misses",
		Title: "A miss, source aside",
		About: "2,000 keys are asked for, one after the other, that are not there yet, beside as many as the row says; the source answers at once. The time is " +
			"that of one miss: key, slot, gates, flight in a goroutine of its own, plan, schedule.",
		Complexity: "O(log keys), for the schedule; the table is doubled now and then, which is O(1) for each key that was added.",
		X:          "keys", At: []int{1_000, 10_000, 100_000, 1_000_000},
		Columns: []measure.Column{{Name: "time of a miss", Unit: measure.Nanoseconds, Compare: true}},
		Subjects: []measure.Sized{
			{Name: "freshet", Role: measure.Freshet, Start: func(s *measure.Setup, keys int) (measure.Round, error) {
				w, err := warm(s, keys)
				if err != nil {
					return nil, err
				}
				next := keys
				return func() ([]float64, error) {
					took, err := each(s.Size(asked, 100), func(i int) error { return w.ask(tenant(next + i)) })
					next += asked
					return took, err
				}, nil
			}},
			{
				Name: "map and singleflight", Role: measure.Floor, Modules: []string{"golang.org/x/sync"},
				Note: "a map under a mutex, and x/sync's singleflight in front of the same source: no expiry, no bounds, a cancelled caller's work is lost.",
				Start: func(s *measure.Setup, keys int) (measure.Round, error) {
					var mu sync.Mutex
					var group singleflight.Group
					cache := make(map[string]any, keys)
					src := &source{}
					ask := func(i int) error {
						req := tenant(i)
						mu.Lock()
						_, ok := cache[req.Tenant]
						mu.Unlock()
						if ok {
							return measure.ErrWrong
						}
						_, err, _ := group.Do(req.Tenant, func() (any, error) {
							cred, err := src.Retrieve(s.Context, req)
							mu.Lock()
							cache[req.Tenant] = cred
							mu.Unlock()
							return cred, err
						})
						return err
					}
					next := 0
					for ; next < keys; next++ {
						if err := ask(next); err != nil {
							return nil, err
						}
					}
					return func() ([]float64, error) {
						took, err := each(s.Size(asked, 100), func(i int) error { return ask(next + i) })
						next += asked
						return took, err
					}, nil
				},
			},
		},
	}
}

// each is the time that one of n calls takes.
func each(n int, f func(i int) error) ([]float64, error) {
	began := time.Now()
	for i := range n {
		if err := f(i); err != nil {
			return nil, err
		}
	}
	return []float64{float64(time.Since(began)) / float64(n)}, nil
}
