package azure

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// source is the wrapped credential as freshet sees it.
type source struct {
	inner azcore.TokenCredential
	name  string // of the identity that this is the source of
	kind  string

	failing atomic.Bool // whether failed has any, readable without the lock
	mu      sync.Mutex  // never held over a call of inner
	failed  map[string]failed
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
	sent := freshet.Now()
	t, err := s.inner.GetToken(ctx, policy.TokenRequestOptions{
		TenantID: req.Tenant, Scopes: req.Scopes, Claims: req.Claims, EnableCAE: req.CAE,
	})
	if err != nil {
		e := failure(err)
		e.Identity, e.Source = s.name, s.kind
		s.remember(&req, failed{err: e, at: freshet.Now(), took: min(sent.Elapsed(), memory)})
		return nil, e
	}
	v := freshet.Validity{Sent: sent, Expires: t.ExpiresOn}
	if !t.RefreshOn.IsZero() {
		// Credentials have caches of their own, with nothing newer before. One that has passed, of a token that the credential
		// could not refresh, still says when: soon.
		v.RefreshIn, v.NoneSooner = max(1, t.RefreshOn.Add(margin).Sub(sent.Wall())), true
	}
	return freshet.NewBearer(t.Token, "", v)
}

// remembered is the last failure of a request, for as long as it took.
func (s *source) remembered(req *freshet.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweepLocked()
	if f, ok := s.failed[failedKey(req)]; ok {
		return f.err
	}
	return nil
}

func (s *source) remember(req *freshet.Request, f failed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sweepLocked(); len(s.failed) >= maxFailed {
		return
	}
	if s.failed == nil {
		s.failed = make(map[string]failed)
	}
	s.failed[failedKey(req)] = f
	s.failing.Store(true)
}

// sweepLocked forgets the failures that have had their time: they hold the issuer's answers.
func (s *source) sweepLocked() {
	maps.DeleteFunc(s.failed, func(_ string, f failed) bool { return f.at.Elapsed() >= f.took })
	s.failing.Store(len(s.failed) > 0)
}

func failedKey(req *freshet.Request) string {
	return name(req.Tenant, req.Scopes, req.CAE) + req.Claims // name ends where it says
}
