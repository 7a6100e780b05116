package aws

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
	"github.com/aws/aws-sdk-go-v2/aws"
)

// Config says how to wrap a provider. The zero value is what [Wrap] uses.
type Config struct {
	// Name is the identity's name in errors and events, unique in its cache; nested providers need different names too. ""
	// makes one that is unique in the process.
	Name string
	// Cache is one to share with other adapters, so that they have one bound and one observer; nil makes one for this alone.
	Cache *freshet.Cache
	// Timeout bounds a retrieval, which no caller's context does; 0 means one minute.
	Timeout time.Duration
}

// Provider is an aws.CredentialsProvider that shares what another provider retrieves. Its methods may be called by many
// goroutines. It prints as the name of its identity.
type Provider struct {
	s *state // behind a pointer, so that no print of a Provider shows what it holds
}

type state struct {
	inner    aws.CredentialsProvider
	source   *source
	identity *freshet.Identity
	handle   *freshet.Handle
	rendered atomic.Pointer[rendered]
}

// rendered is a version of the credentials as the SDK has them.
type rendered struct {
	cred *freshet.Credential
	keys aws.Credentials // Expires is when they are to be replaced
}

// renewal is how soon who holds credentials whose replacement is awaited asks again.
const renewal = 5 * time.Second

var unnamed atomic.Int64 // Providers made without a name

// Wrap returns a provider over p with a cache of its own. It panics if p is nil.
func Wrap(p aws.CredentialsProvider) *Provider {
	w, err := New(p, Config{})
	if err != nil {
		panic("freshet/aws: " + err.Error())
	}
	return w
}

// New returns a provider over p. Errors are of kind [freshet.Invalid].
func New(p aws.CredentialsProvider, cfg Config) (*Provider, error) {
	if p == nil {
		return nil, freshet.Errorf(freshet.Invalid, "no provider to wrap")
	}
	if cfg.Cache == nil {
		cfg.Cache = freshet.NewCache(freshet.CacheConfig{})
	}
	if cfg.Name == "" {
		cfg.Name = "aws"
		if n := unnamed.Add(1); n > 1 {
			cfg.Name = fmt.Sprintf("aws-%d", n)
		}
	}
	src := newSource(p)
	id, err := cfg.Cache.Add(freshet.IdentityConfig{
		Name: cfg.Name, Kind: strings.TrimPrefix(fmt.Sprintf("%T", p), "*"), Source: src, Timeout: cfg.Timeout,
	})
	if err != nil {
		return nil, err
	}
	h, err := id.Handle(freshet.Request{})
	if err != nil {
		return nil, err
	}
	return &Provider{&state{inner: p, source: src, identity: id, handle: h}}, nil
}

// Retrieve makes a Provider an aws.CredentialsProvider. Expires is when the credentials are to be replaced; the rest is as the
// wrapped provider gave it. A caller whose context ends leaves at once with an *aws.RequestCanceledError, while the retrieval
// goes on for the others. Errors wrap the provider's own, whose text they do not show.
func (p *Provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	s := p.s
	a, err := s.handle.Get(ctx)
	if err != nil {
		return aws.Credentials{}, ended(ctx, err)
	}
	return s.keys(a), nil
}

// Replace is Retrieve for a caller whose credentials a service refused: it rejects them, as [Provider.Reject] does, and waits
// for others. Where there are none to be had, or it is too soon to ask, that is an error.
func (p *Provider) Replace(ctx context.Context, refused aws.Credentials) (aws.Credentials, error) {
	cred, err := credential(refused, freshet.Validity{Static: true})
	if err != nil {
		return p.Retrieve(ctx)
	}
	a, err := p.s.identity.Get(ctx, freshet.Request{Rejected: cred.Fingerprint()})
	if err != nil {
		return aws.Credentials{}, ended(ctx, err)
	}
	return p.s.keys(a), nil
}

// ended is an error as the SDK knows it where the caller's own context has ended: its retryer does not try such again.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &aws.RequestCanceledError{Err: err}
	}
	return err
}

// keys are an answer as the SDK has it. While a replacement is awaited they are to be asked for again soon, yet not at every call.
func (s *state) keys(a freshet.Answer) aws.Credentials {
	r := s.rendered.Load()
	if r == nil || r.cred != a.Credential {
		r = s.render(a)
	}
	if !a.Due && !a.Rejected || !r.keys.CanExpire {
		return r.keys
	}
	keys := r.keys
	keys.Expires = freshet.Now().Wall().Add(min(renewal, r.cred.Remaining()/2))
	return keys
}

// render converts a version, once.
func (s *state) render(a freshet.Answer) *rendered {
	r := &rendered{cred: a.Credential, keys: s.source.original(a.Credential)}
	if r.keys.CanExpire {
		r.keys.Expires = a.Credential.Expires()
		if at := a.RefreshAt(); !at.IsZero() && at.Before(r.keys.Expires) {
			r.keys.Expires = at
		}
	}
	s.rendered.Store(r)
	return r
}

// Reject says that a service refused these credentials, and reports whether they are the ones served now. They are replaced in
// the background; until then others go on getting them. N rejections of the same credentials cause one retrieval, and those that
// were replaced already cause none.
//
// Only a service's word that the credentials themselves are bad is a reason: ExpiredToken, ExpiredTokenException,
// InvalidClientTokenId, InvalidAccessKeyId, UnrecognizedClientException. AccessDenied speaks of rights, which new ones do not
// change.
//
// An aws.CredentialsCache above keeps what it has until it is told as well, by its Invalidate.
func (p *Provider) Reject(refused aws.Credentials) bool {
	cred, err := credential(refused, freshet.Validity{Static: true})
	return err == nil && p.s.identity.Reject(cred.Fingerprint())
}

// AdjustExpiresBy leaves Expires alone: an aws.CredentialsCache with an ExpiryWindow would come back before there is anything
// new. It makes a Provider an aws.AdjustExpiresByCredentialsCacheStrategy.
func (p *Provider) AdjustExpiresBy(keys aws.Credentials, _ time.Duration) (aws.Credentials, error) {
	return keys, nil
}

// ProviderSources is the wrapped provider's, if it has any. It makes a Provider an aws.CredentialProviderSource.
func (p *Provider) ProviderSources() []aws.CredentialSource {
	if src, ok := p.s.inner.(aws.CredentialProviderSource); ok {
		return src.ProviderSources()
	}
	return nil
}

// IsCredentialsProvider answers aws.IsCredentialsProvider for the wrapped provider, so that the SDK still knows anonymous
// credentials when it sees them.
func (p *Provider) IsCredentialsProvider(target aws.CredentialsProvider) bool {
	if _, ok := target.(*Provider); ok {
		return true
	}
	return aws.IsCredentialsProvider(p.s.inner, target)
}

// String is the identity's name.
func (p Provider) String() string { return p.s.identity.String() }

// Format implements [fmt.Formatter], for every verb alike.
func (p Provider) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }
