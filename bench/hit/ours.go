package hit

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
	"freshet.dev/freshet"
	freshetaws "freshet.dev/freshet/aws"
	freshetazure "freshet.dev/freshet/azure"
	freshetoauth2 "freshet.dev/freshet/oauth2"
)

var ours = []string{"freshet.dev/freshet"}

func byHandle() measure.Subject {
	return measure.Subject{
		Name: "freshet, by handle", Role: measure.Freshet, Modules: ours, Note: "a Handle made once; Handle.Get",
		Start: func(s *measure.Setup) (measure.Round, error) {
			i := opened(s)
			id, err := peers.NewIdentity(i, freshet.CacheConfig{})
			if err != nil {
				return nil, err
			}
			h, err := id.Handle(peers.Request(peers.Only))
			if err != nil {
				return nil, err
			}
			ctx := context.Background()
			return once(s, i, func(n int) (string, error) {
				var last *freshet.Credential
				for range n {
					a, err := h.Get(ctx)
					if err != nil {
						return "", err
					}
					last = a.Credential
				}
				return last.Token(), nil
			})
		},
	}
}

func byStrings() measure.Subject {
	return measure.Subject{
		Name: "freshet, from strings", Role: measure.Freshet, Modules: ours,
		Note: "Identity.Get with a tenant and a scope, which are hashed each time",
		Start: func(s *measure.Setup) (measure.Round, error) {
			i := opened(s)
			id, err := peers.NewIdentity(i, freshet.CacheConfig{})
			if err != nil {
				return nil, err
			}
			ctx, w := context.Background(), peers.Only
			return once(s, i, func(n int) (string, error) {
				scopes := []string{w.Scope}
				var last *freshet.Credential
				for range n {
					a, err := id.Get(ctx, freshet.Request{Tenant: w.Tenant, Scopes: scopes})
					if err != nil {
						return "", err
					}
					last = a.Credential
				}
				return last.Token(), nil
			})
		},
	}
}

func underAWS() measure.Subject {
	return measure.Subject{
		Name: "freshet/aws", Role: measure.Freshet, Modules: []string{"freshet.dev/freshet/aws"},
		Note: "Provider.Retrieve over a provider; adds to a hit by handle a copy of the keys as the SDK has them",
		Start: func(s *measure.Setup) (measure.Round, error) {
			i := opened(s)
			p := freshetaws.Wrap(peers.AWSProvider(i))
			ctx := context.Background()
			return once(s, i, func(n int) (last string, err error) {
				for range n {
					keys, err := p.Retrieve(ctx)
					if err != nil {
						return "", err
					}
					last = keys.SessionToken
				}
				return last, nil
			})
		},
	}
}

func underAzure() measure.Subject {
	return measure.Subject{
		Name: "freshet/azure", Role: measure.Freshet, Modules: []string{"freshet.dev/freshet/azure"},
		Note: "Credential.GetToken over a credential; adds to a hit by handle the search for the request's, and RefreshOn",
		Start: func(s *measure.Setup) (measure.Round, error) {
			i := opened(s)
			c := freshetazure.Wrap(peers.TokenCredential{Issuer: i})
			ctx, o := context.Background(), policy.TokenRequestOptions{TenantID: peers.Only.Tenant, Scopes: []string{peers.Only.Scope}}
			return once(s, i, func(n int) (last string, err error) {
				for range n {
					t, err := c.GetToken(ctx, o)
					if err != nil {
						return "", err
					}
					last = t.Token
				}
				return last, nil
			})
		},
	}
}

func underOAuth2() measure.Subject {
	return measure.Subject{
		Name: "freshet/oauth2", Role: measure.Freshet, Modules: []string{"freshet.dev/freshet/oauth2"},
		Note: "Source.TokenContext over a TokenSource; adds to a hit by handle a copy of the token, which its caller may change",
		Start: func(s *measure.Setup) (measure.Round, error) {
			i := opened(s)
			src := freshetoauth2.Wrap(peers.TokenSource{Issuer: i})
			ctx := context.Background()
			return once(s, i, func(n int) (last string, err error) {
				for range n {
					t, err := src.TokenContext(ctx)
					if err != nil {
						return "", err
					}
					last = t.AccessToken
				}
				return last, nil
			})
		},
	}
}
