package scale

import (
	"context"
	"math/rand/v2"

	"github.com/puzpuzpuz/xsync/v4"

	"freshet.dev/bench/internal/measure"
	"freshet.dev/freshet"
)

// hot is how many of the keys are asked for.
const hot = 1024

const xsyncModule = "github.com/puzpuzpuz/xsync/v4"

func hits() measure.Curve {
	return measure.Curve{
		Name:  "scale/hits",
		Title: "A hit among many keys",
		About: "1,024 keys, chosen at random, are asked for in turn by one goroutine, among as many keys as the row says, each a tenant's.",
		Complexity: "By handle O(1), and nothing is looked up. From strings, O(1) expected: the request is encoded and hashed, and found in a table of " +
			"open addressing. The map has the encoded key already; what its lookup grows by is what caches of the processor miss.",
		X: "keys", At: []int{1_000, 10_000, 100_000, 1_000_000},
		Columns: []measure.Column{{Name: "time of a hit", Unit: measure.Nanoseconds, Compare: true}},
		Subjects: []measure.Sized{
			{Name: "freshet by handle", Role: measure.Freshet, Start: func(s *measure.Setup, keys int) (measure.Round, error) {
				w, err := warm(s, keys)
				if err != nil {
					return nil, err
				}
				handles := make([]*freshet.Handle, min(hot, keys))
				for i := range handles {
					if handles[i], err = w.id.Handle(tenant(rand.IntN(keys))); err != nil {
						return nil, err
					}
				}
				return serial(s, func(n int) {
					ctx := context.Background()
					for i := range n {
						_, _ = handles[i%len(handles)].Get(ctx)
					}
				}), nil
			}},
			{Name: "freshet from strings", Role: measure.Freshet, Start: func(s *measure.Setup, keys int) (measure.Round, error) {
				w, err := warm(s, keys)
				if err != nil {
					return nil, err
				}
				asked := make([]freshet.Request, min(hot, keys))
				for i := range asked {
					asked[i] = tenant(rand.IntN(keys))
				}
				return serial(s, func(n int) {
					ctx := context.Background()
					for i := range n {
						_, _ = w.id.Get(ctx, asked[i%len(asked)])
					}
				}), nil
			}},
			{
				Name: "xsync.Map", Role: measure.Floor, Modules: []string{xsyncModule}, Note: "a concurrent map from strings to pointers; no clock is read.",
				Start: func(s *measure.Setup, keys int) (measure.Round, error) {
					m := xsync.NewMap[string, *freshet.Request]()
					asked := make([]string, min(hot, keys))
					for i := range keys {
						req := tenant(i)
						m.Store(req.Tenant, &req)
					}
					for i := range asked {
						asked[i] = tenant(rand.IntN(keys)).Tenant
					}
					return serial(s, func(n int) {
						for i := range n {
							_, _ = m.Load(asked[i%len(asked)])
						}
					}), nil
				},
			},
		},
	}
}

// serial is the first column of a loop.
func serial(s *measure.Setup, f func(n int)) measure.Round {
	loop := measure.Loop(s, f)
	return func() ([]float64, error) {
		values, err := loop()
		if err != nil {
			return nil, err
		}
		return values[:1], nil
	}
}
