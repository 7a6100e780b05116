package hit

import (
	"context"
	"fmt"
	"time"

	"freshet.dev/bench/internal/measure"
	"freshet.dev/freshet"
)

// stringKey is what a program that keeps tokens itself would use as a map's key.
type stringKey struct{ identity, tenant, scope, audience string }

// nth is the nth of many keys, with a tenant that is nobody else's memory.
func nth(n int) stringKey {
	return stringKey{"bench", fmt.Sprintf("%08d-0000-0000-0000-000000000000", n), "https://graph.example/.default", "api://service"}
}

func (k stringKey) request() freshet.Request {
	return freshet.Request{Tenant: k.tenant, Scopes: []string{k.scope}, Audience: k.audience}
}

// sameToken is a source that gives everybody one token.
type sameToken struct{}

func (sameToken) Varies() freshet.Fields {
	return freshet.FieldTenant | freshet.FieldScopes | freshet.FieldAudience
}

func (sameToken) Retrieve(context.Context, freshet.Request) (*freshet.Credential, error) {
	return freshet.NewBearer("token-of-all-entries", "", freshet.Validity{Lifetime: 24 * time.Hour})
}

// manyKeys is an identity with n keys.
type manyKeys struct {
	id    *freshet.Identity
	bytes float64 // that a key takes
}

func newManyKeys(s *measure.Setup, n int) (m manyKeys, err error) {
	m.bytes, err = weighed(n, func() (err error) {
		cache := freshet.NewCache(roomy(n))
		s.Cleanup(func() { _ = cache.Close(context.Background()) })
		m.id, err = cache.Add(freshet.IdentityConfig{Name: "bench", Kind: "bench", Source: sameToken{}})
		if err != nil {
			return err
		}
		for k := range n {
			if _, err := m.id.Get(s.Context, nth(k).request()); err != nil {
				return err
			}
		}
		if got := cache.Stats().Entries; got != n {
			return wrong("%d entries of %d", got, n)
		}
		return nil
	})
	return m, err
}

func keysHandle() measure.Sized {
	return measure.Sized{
		Name: "freshet, by handle", Role: measure.Freshet, Modules: ours, Note: "a Handle for each that is asked for",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			m, err := newManyKeys(s, size)
			if err != nil {
				return nil, err
			}
			var handles []*freshet.Handle
			for _, n := range hot(size) {
				h, err := m.id.Handle(nth(n).request())
				if err != nil {
					return nil, err
				}
				handles = append(handles, h)
			}
			ctx := context.Background()
			return keyRound(s, m.bytes, func(n int) (hits int, err error) {
				for k := range n {
					a, err := handles[k*7%len(handles)].Get(ctx)
					if err != nil {
						return hits, err
					}
					if !a.Retrieved {
						hits++
					}
				}
				return hits, nil
			}), nil
		},
	}
}

func keysStrings() measure.Sized {
	return measure.Sized{
		Name: "freshet, from strings", Role: measure.Freshet, Modules: ours, Note: "Identity.Get with the request's strings",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			m, err := newManyKeys(s, size)
			if err != nil {
				return nil, err
			}
			var asked []freshet.Request
			for _, n := range hot(size) {
				asked = append(asked, nth(n).request())
			}
			ctx := context.Background()
			return keyRound(s, m.bytes, func(n int) (hits int, err error) {
				for k := range n {
					a, err := m.id.Get(ctx, asked[k*7%len(asked)])
					if err != nil {
						return hits, err
					}
					if !a.Retrieved {
						hits++
					}
				}
				return hits, nil
			}), nil
		},
	}
}
