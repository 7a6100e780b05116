package peers

import (
	"context"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/freshet"
)

// Freshet is freshet, asked with the strings of a request each time.
var Freshet = Peer{
	Name: "freshet", Role: measure.Freshet, Modules: []string{"freshet.dev/freshet"},
	Note:   "one Identity in one Cache; Identity.Get with the request's strings",
	Scopes: true, Tenants: true,
	New: func(i *issuer.Issuer) (Get, error) {
		id, err := NewIdentity(i, freshet.CacheConfig{})
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, w issuer.Wanted) (string, time.Time, error) {
			return answer(id.Get(ctx, Request(w)))
		}, nil
	},
}

// FreshetHandle is freshet, for a caller that has one request and keeps its handle.
var FreshetHandle = Peer{
	Name: "freshet, by handle", Role: measure.Freshet, Modules: []string{"freshet.dev/freshet"},
	Note: "one Handle of an Identity, made once",
	New: func(i *issuer.Issuer) (Get, error) {
		id, err := NewIdentity(i, freshet.CacheConfig{})
		if err != nil {
			return nil, err
		}
		h, err := id.Handle(Request(Only))
		if err != nil {
			return nil, err
		}
		return only(Only, func(ctx context.Context) (string, time.Time, error) { return answer(h.Get(ctx)) }), nil
	},
}

// NewIdentity returns an identity over the issuer, in a cache of its own that the issuer's Close ends.
func NewIdentity(i *issuer.Issuer, cfg freshet.CacheConfig) (*freshet.Identity, error) {
	cache := freshet.NewCache(cfg)
	i.OnClose(func() { _ = cache.Close(context.Background()) }) // the issuer heeds contexts, so its calls end
	return cache.Add(freshet.IdentityConfig{Name: "bench", Kind: "bench", Source: Source{i}})
}

// Request is what freshet is asked for a token.
func Request(w issuer.Wanted) freshet.Request {
	return freshet.Request{Tenant: w.Tenant, Scopes: []string{w.Scope}}
}

// Source has freshet ask an issuer.
type Source struct{ Issuer *issuer.Issuer }

// Varies makes a Source a [freshet.Varier].
func (Source) Varies() freshet.Fields { return freshet.FieldTenant | freshet.FieldScopes }

// Target makes a Source a [freshet.Targeter].
func (Source) Target(r freshet.Request) freshet.Target {
	return freshet.Target{Host: issuer.Host, Tenant: r.Tenant}
}

// Retrieve makes a Source a [freshet.Source].
func (s Source) Retrieve(ctx context.Context, r freshet.Request) (*freshet.Credential, error) {
	sent := freshet.Now()
	w := issuer.Wanted{Tenant: r.Tenant}
	if len(r.Scopes) > 0 {
		w.Scope = r.Scopes[0]
	}
	t, err := s.Issuer.Token(ctx, w)
	if err != nil {
		return nil, failure(err)
	}
	v := freshet.Validity{Sent: sent, Lifetime: t.Expires.Sub(t.Issued)}
	if !t.RefreshAt.IsZero() {
		v.RefreshIn = t.RefreshAt.Sub(t.Issued)
	}
	return freshet.NewBearer(t.Secret, "", v)
}

func answer(a freshet.Answer, err error) (string, time.Time, error) {
	if err != nil {
		return "", time.Time{}, err
	}
	return a.Credential.Token(), a.Credential.Expires(), nil
}
