package azure

import (
	"context"
	"sync"
	"time"

	"freshet.dev/freshet"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// source is the wrapped credential as freshet sees it.
type source struct {
	inner azcore.TokenCredential

	mu     sync.Mutex // never held over a call of inner
	failed map[string]failed
}

// failed is the last failure of a request.
type failed struct {
	err  *freshet.Error
	at   freshet.Instant
	took time.Duration
}

const (
	memory    = time.Second // how long a failure is remembered at most
	maxFailed = 1024
)

// Varies makes a source a [freshet.Varier].
func (s *source) Varies() freshet.Fields {
	return freshet.FieldTenant | freshet.FieldScopes | freshet.FieldClaims | freshet.FieldCAE
}

// Retrieve asks the credential.
func (s *source) Retrieve(ctx context.Context, req freshet.Request) (*freshet.Credential, error) {
	key := name(req.Tenant, req.Scopes, req.CAE) + req.Claims // name ends where it says
	if err := s.remembered(key); err != nil {
		return nil, err
	}
	sent := freshet.Now()
	t, err := s.inner.GetToken(ctx, policy.TokenRequestOptions{
		TenantID: req.Tenant, Scopes: req.Scopes, Claims: req.Claims, EnableCAE: req.CAE,
	})
	if err != nil {
		e := failure(err)
		s.remember(key, failed{err: e, at: freshet.Now(), took: min(sent.Elapsed(), memory)})
		return nil, e
	}
	v := freshet.Validity{Sent: sent, Expires: t.ExpiresOn}
	if !t.RefreshOn.IsZero() {
		// One that has passed, of a token that the credential could not refresh, still says when: soon.
		v.RefreshIn = max(1, t.RefreshOn.Sub(sent.Wall()))
	}
	return freshet.NewBearer(t.Token, "", v)
}

// remembered is the last failure of a request, for as long as it took.
func (s *source) remembered(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.failed[key]
	if !ok {
		return nil
	}
	if f.at.Elapsed() >= f.took {
		delete(s.failed, key)
		return nil
	}
	return f.err
}

func (s *source) remember(key string, f failed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failed) >= maxFailed {
		for k, old := range s.failed {
			if old.at.Elapsed() >= old.took {
				delete(s.failed, k)
			}
		}
		if len(s.failed) >= maxFailed {
			return
		}
	}
	if s.failed == nil {
		s.failed = make(map[string]failed)
	}
	s.failed[key] = f
}
