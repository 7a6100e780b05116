package hit

import (
	"context"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
	"freshet.dev/freshet"
)

// roomy is a cache for n keys and their tokens.
func roomy(n int) freshet.CacheConfig { return freshet.CacheConfig{Entries: 2 * n, Bytes: 1 << 40} }

// manyTokens is an identity that has n tokens of an issuer.
type manyTokens struct {
	issuer *issuer.Issuer
	id     *freshet.Identity
}

func newManyTokens(s *measure.Setup, n int, nth func(int) issuer.Wanted) (m manyTokens, err error) {
	m.issuer = opened(s)
	if m.id, err = peers.NewIdentity(m.issuer, roomy(n)); err != nil {
		return m, err
	}
	return m, fill(m.issuer, n, func(k int) error {
		_, err := m.id.Get(s.Context, peers.Request(nth(k)))
		return err
	})
}

func amongStrings(tokens *shared[manyTokens], nth func(int) issuer.Wanted) measure.Sized {
	return measure.Sized{
		Name: "freshet, from strings", Role: measure.Freshet, Modules: ours, Note: "Identity.Get with a tenant and a scope",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			m, err := tokens.get(s, func() (manyTokens, error) { return newManyTokens(s, size, nth) })
			if err != nil {
				return nil, err
			}
			ctx := context.Background()
			var wishes []issuer.Wanted
			var asked []freshet.Request
			for _, n := range hot(size) {
				wishes, asked = append(wishes, nth(n)), append(asked, peers.Request(nth(n)))
			}
			return among(s, m.issuer, len(wishes), func(from, n int) (string, issuer.Wanted, error) {
				k, last := from, (*freshet.Credential)(nil)
				for range n {
					if k++; k >= len(asked) {
						k = 0
					}
					a, err := m.id.Get(ctx, asked[k])
					if err != nil {
						return "", issuer.Wanted{}, err
					}
					last = a.Credential
				}
				return last.Token(), wishes[k], nil
			}), nil
		},
	}
}

func amongHandles(tokens *shared[manyTokens], nth func(int) issuer.Wanted) measure.Sized {
	return measure.Sized{
		Name: "freshet, by handle", Role: measure.Freshet, Modules: ours, Note: "a Handle for each that is asked for",
		Start: func(s *measure.Setup, size int) (measure.Round, error) {
			m, err := tokens.get(s, func() (manyTokens, error) { return newManyTokens(s, size, nth) })
			if err != nil {
				return nil, err
			}
			ctx := context.Background()
			var wishes []issuer.Wanted
			var handles []*freshet.Handle
			for _, n := range hot(size) {
				h, err := m.id.Handle(peers.Request(nth(n)))
				if err != nil {
					return nil, err
				}
				wishes, handles = append(wishes, nth(n)), append(handles, h)
			}
			return among(s, m.issuer, len(wishes), func(from, n int) (string, issuer.Wanted, error) {
				k, last := from, (*freshet.Credential)(nil)
				for range n {
					if k++; k >= len(handles) {
						k = 0
					}
					a, err := handles[k].Get(ctx)
					if err != nil {
						return "", issuer.Wanted{}, err
					}
					last = a.Credential
				}
				return last.Token(), wishes[k], nil
			}), nil
		},
	}
}
