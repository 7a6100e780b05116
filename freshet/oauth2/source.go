package oauth2

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
	"golang.org/x/oauth2"
)

// Config says how to wrap a token source. The zero value is what [Wrap] uses.
type Config struct {
	// Name is the identity's name in errors and events, unique in its cache. "" makes one that is unique in the process.
	Name string
	// Cache is one to share with other adapters, so that they have one bound and one observer; nil makes one for this alone.
	Cache *freshet.Cache
	// Timeout bounds a retrieval, which no caller's context does; 0 means one minute.
	Timeout time.Duration
	// Lifetime is that of tokens that do not say when they expire; 0 means that they do not.
	Lifetime time.Duration
	// Target is whom the source asks, and as whom, which a TokenSource does not say: the token endpoint's host and the client id.
	// What that issuer answers with Retry-After, 429 or repeated 5xx then holds for every identity of Cache with the same Target.
	// The zero value holds for this one alone.
	Target freshet.Target
}

// Source is an oauth2.TokenSource that shares the tokens of another. Its methods may be called by many goroutines. It prints as
// the name of its identity.
type Source struct {
	s *state // behind a pointer, so that no print of a Source shows what it holds
}

type state struct {
	inner    *inner
	identity *freshet.Identity
	handle   *freshet.Handle
	rendered atomic.Pointer[rendered]
}

// rendered is a version of the token as x/oauth2 has it, and is copied to callers.
type rendered struct {
	cred  *freshet.Credential
	token oauth2.Token // Expiry is when it is to be replaced, and early more
}

const (
	// early is how much before its Expiry x/oauth2 takes a token for expired (defaultExpiryDelta in its token.go).
	early = 10 * time.Second
	// renewal is how soon who holds a token whose replacement is awaited asks again.
	renewal = 5 * time.Second
)

var unnamed atomic.Int64 // Sources made without a name

// Wrap returns a source over src with a cache of its own. It panics if src is nil.
func Wrap(src oauth2.TokenSource) *Source {
	s, err := New(src, Config{})
	if err != nil {
		panic("freshet/oauth2: " + err.Error())
	}
	return s
}

// New returns a source over src. Errors are of kind [freshet.Invalid].
func New(src oauth2.TokenSource, cfg Config) (*Source, error) {
	if src == nil {
		return nil, freshet.Errorf(freshet.Invalid, "no token source to wrap")
	}
	if cfg.Cache == nil {
		cfg.Cache = freshet.NewCache(freshet.CacheConfig{})
	}
	if cfg.Name == "" {
		cfg.Name = "oauth2"
		if n := unnamed.Add(1); n > 1 {
			cfg.Name = fmt.Sprintf("oauth2-%d", n)
		}
	}
	// ReuseTokenSource returns what is one already.
	in := &inner{
		src: src, lifetime: cfg.Lifetime, reuse: oauth2.ReuseTokenSource(nil, src) == src, target: cfg.Target,
	}
	if in.target.Host == "" {
		in.target.Host = cfg.Name
	}
	id, err := cfg.Cache.Add(freshet.IdentityConfig{
		Name: cfg.Name, Kind: strings.TrimPrefix(fmt.Sprintf("%T", src), "*"), Source: in, Timeout: cfg.Timeout,
		Concurrency: 1, // x/oauth2's refresher is not safe for two callers, and a retrieval may outlive its time
	})
	if err != nil {
		return nil, err
	}
	h, err := id.Handle(freshet.Request{})
	if err != nil {
		return nil, err
	}
	return &Source{&state{inner: in, identity: id, handle: h}}, nil
}

// Token makes a Source an oauth2.TokenSource. A caller who may wait less than a retrieval's time limit uses
// [Source.TokenContext].
func (s *Source) Token() (*oauth2.Token, error) { return s.TokenContext(context.Background()) }

// TokenContext returns a copy of the token served, or waits for one up to ctx, whose end leaves the retrieval to the others.
// Errors wrap the wrapped source's own, whose text they do not show.
func (s *Source) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	a, err := s.s.handle.Get(ctx)
	if err != nil {
		return nil, err
	}
	return s.s.copy(a), nil
}

// Replace is TokenContext for a caller whose token a service refused: it rejects that, as [Source.Reject] does, and waits for
// another. Where there is none to be had, or it is too soon to ask, that is an error.
func (s *Source) Replace(ctx context.Context, refused *oauth2.Token) (*oauth2.Token, error) {
	a, err := s.s.identity.Get(ctx, freshet.Request{Rejected: fingerprint(refused)})
	if err != nil {
		return nil, err
	}
	return s.s.copy(a), nil
}

// Reject says that a service refused this token, and reports whether it is the one served now. It is replaced in the
// background; until then others go on getting it. N rejections of one token cause one retrieval, and those of one that was
// replaced already cause none.
//
// Only a service's word that the token itself is bad is a reason: a 401 with the error invalid_token (RFC 6750 §3.1). A 403
// speaks of rights, which a new token does not change.
//
// An oauth2.ReuseTokenSource above holds on to what it has, and has no way to be told.
func (s *Source) Reject(refused *oauth2.Token) bool { return s.s.identity.Reject(fingerprint(refused)) }

// fingerprint names a token's version; "" if there is none.
func fingerprint(t *oauth2.Token) string {
	if t == nil {
		return ""
	}
	cred, err := freshet.NewBearer(t.AccessToken, "", freshet.Validity{Static: true})
	if err != nil {
		return ""
	}
	return cred.Fingerprint()
}

// copy is an answer as a caller gets it, to keep and to change.
func (s *state) copy(a freshet.Answer) *oauth2.Token {
	r := s.version(a)
	t := r.token // a copy
	if (a.Due || a.Rejected) && !t.Expiry.IsZero() {
		t.Expiry = freshet.Now().Wall().Add(min(early+renewal, a.Credential.Remaining()))
	}
	return &t
}

// version is an answer as x/oauth2 has it, to read.
func (s *state) version(a freshet.Answer) *rendered {
	if r := s.rendered.Load(); r != nil && r.cred == a.Credential {
		return r
	}
	return s.render(a)
}

// render converts a version, once.
func (s *state) render(a freshet.Answer) *rendered {
	r := &rendered{cred: a.Credential, token: s.inner.original(a.Credential)}
	r.token.RefreshToken = ""
	r.token.Expiry = a.Credential.Expires()
	if at := a.RefreshAt(); !at.IsZero() && at.Add(early).Before(r.token.Expiry) {
		r.token.Expiry = at.Add(early)
	}
	s.rendered.Store(r)
	return r
}

// String is the identity's name.
func (s Source) String() string { return s.s.identity.String() }

// Format implements [fmt.Formatter], for every verb alike.
func (s Source) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }
