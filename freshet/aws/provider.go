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
	// Target is whom the provider asks, and as whom, which a provider does not say: such as the STS endpoint's host and the role's
	// account. What that issuer answers with Retry-After, a throttle or repeated 5xx then holds for every identity of Cache with
	// the same Target. Where Host is empty, it is the instance's metadata service for keys that come from there, and otherwise the
	// provider's own.
	Target freshet.Target
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
	invalid  atomic.Pointer[string] // fingerprint of what Invalidate was called on last; nil: it was not
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
	src.target = target(&cfg, p)
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
	if a.Rejected {
		a = s.revalidated(ctx, a)
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
// change. [Provider.ReplaceRefused] has the SDK's clients do all this.
//
// An aws.CredentialsCache above keeps what it has until it is told as well, by its Invalidate.
func (p *Provider) Reject(refused aws.Credentials) bool {
	cred, err := credential(refused, freshet.Validity{Static: true})
	return err == nil && p.s.identity.Reject(cred.Fingerprint())
}

// Invalidate is what an aws.CredentialsCache has for whoever was refused and does not say with which credentials: it rejects those
// that are served now, and Retrieve waits for others, or goes on with the same while there are none.
func (p *Provider) Invalidate() {
	a, err := p.s.handle.Get(over)
	if err != nil {
		return // there is nothing to invalidate
	}
	refused := a.Credential.Fingerprint()
	p.s.invalid.Store(&refused)
	p.s.identity.Reject(refused)
}

// over is a context that has ended: who asks with it gets what is in memory, and waits for nothing.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// revalidated is what to answer with in place of an answer that was rejected, if that was by Invalidate and there are others.
func (s *state) revalidated(ctx context.Context, a freshet.Answer) freshet.Answer {
	refused := s.invalid.Load()
	if refused == nil || *refused != a.Credential.Fingerprint() {
		return a
	}
	if other, err := s.identity.Get(impatient{ctx}, freshet.Request{Rejected: *refused}); err == nil {
		return other
	}
	return a
}

// impatient is a context that ends with another and shows no deadline. The engine holds a caller that has one until its issuer may
// be asked again; whoever has an answer already does not wait for that.
type impatient struct{ context.Context }

func (impatient) Deadline() (time.Time, bool) { return time.Time{}, false }

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
