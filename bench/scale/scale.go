// Package scale measures how freshet's costs grow with keys and tenants: a hit, memory, refreshes, and the way from a miss to the source.
package scale

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"freshet.dev/bench/internal/measure"
	"freshet.dev/freshet"
)

// Curves are those of the family.
func Curves() []measure.Curve {
	return []measure.Curve{hits(), memory(), refreshes(), tenants(), misses()}
}

// source answers at once with a token that all its keys share: what is measured is the cache.
type source struct{ calls atomic.Int64 }

func (s *source) Varies() freshet.Fields { return freshet.FieldTenant | freshet.FieldScopes }

func (s *source) Retrieve(context.Context, freshet.Request) (*freshet.Credential, error) {
	s.calls.Add(1)
	return freshet.NewBearer(token, "", freshet.Validity{Lifetime: 12 * time.Hour})
}

const token = "a-token-that-every-key-has"

// world is a cache of one identity.
type world struct {
	cache *freshet.Cache
	id    *freshet.Identity
	src   *source
}

func newWorld(keys int) (*world, error) {
	w := &world{cache: freshet.NewCache(freshet.CacheConfig{Entries: 2*keys + 1000, Bytes: 1 << 40}), src: &source{}}
	var err error
	w.id, err = w.cache.Add(freshet.IdentityConfig{Name: "scale", Source: w.src})
	return w, err
}

// warm is a world that holds keys, each a tenant's.
func warm(s *measure.Setup, keys int) (*world, error) {
	w, err := newWorld(keys)
	if err != nil {
		return nil, err
	}
	s.Cleanup(w.close)
	for i := range keys {
		if err := w.ask(tenant(i)); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *world) close() { _ = w.cache.Close(context.Background()) }

func (w *world) ask(req freshet.Request) error {
	a, err := w.id.Get(context.Background(), req)
	if err == nil && a.Credential.Token() != token {
		return measure.ErrWrong
	}
	return err
}

// tenant is a request for a tenant named by a UUID, as Entra's are.
func tenant(i int) freshet.Request {
	return freshet.Request{Tenant: fmt.Sprintf("%08x-5ca1-4ab1-8e55-000000000000", i)}
}
