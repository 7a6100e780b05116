package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Config says how to wrap a credential. The zero value is what [Wrap] uses.
type Config struct {
	// Name is the identity's name in errors and events, unique in its cache; nested credentials need different names too. ""
	// makes one that is unique in the process.
	Name string
	// Cache is one to share with other adapters, so that they have one bound and one observer; nil makes one for this alone. Its
	// bound is the only one on tokens: those that claims challenges were answered with, and a later challenge has replaced, stay
	// in it until it needs room.
	Cache *freshet.Cache
	// Timeout bounds a retrieval, which no caller's context does; 0 means one minute. A credential that asks a person to log in
	// needs more.
	Timeout time.Duration
	// Target is whom the credential asks, and as whom. What that issuer answers with Retry-After, 429 or repeated 5xx holds for
	// every identity of Cache with the same Target; a request's tenant takes the place of its Tenant. Where Host is empty, it is
	// that of AZURE_AUTHORITY_HOST or of Azure's public cloud for those credentials of azidentity that ask it, each as a client of
	// its own unless Client is given, and for any other credential its own.
	Target freshet.Target
}

// Credential is an azcore.TokenCredential that shares the tokens of another. Its methods may be called by many goroutines. It
// prints as the name of its identity.
type Credential struct {
	s *state // behind a pointer, so that no print of a Credential shows what it holds
}

type state struct {
	identity *freshet.Identity
	ways     ways
}

// margin is how long after a cache's own time to refresh whoever it answers is to ask again, so as to find that time come, however
// the times in between are rounded. It is kept by freshet with the wrapped credential's RefreshOn, and given to others with its own.
const margin = time.Second

var unnamed atomic.Int64 // Credentials made without a name

// Wrap returns a credential over cred with a cache of its own. It panics if cred is nil.
func Wrap(cred azcore.TokenCredential) *Credential {
	c, err := New(cred, Config{})
	if err != nil {
		panic("freshet/azure: " + err.Error())
	}
	return c
}

// New returns a credential over cred. Errors are of kind [freshet.Invalid].
func New(cred azcore.TokenCredential, cfg Config) (*Credential, error) {
	if cred == nil {
		return nil, freshet.Errorf(freshet.Invalid, "no credential to wrap")
	}
	if cfg.Cache == nil {
		cfg.Cache = freshet.NewCache(freshet.CacheConfig{})
	}
	if cfg.Name == "" {
		cfg.Name = "azure"
		if n := unnamed.Add(1); n > 1 {
			cfg.Name = fmt.Sprintf("azure-%d", n)
		}
	}
	kind := strings.TrimPrefix(fmt.Sprintf("%T", cred), "*")
	src := &source{inner: cred, target: target(&cfg, kind)}
	id, err := cfg.Cache.Add(freshet.IdentityConfig{Name: cfg.Name, Kind: kind, Source: src, Timeout: cfg.Timeout})
	if err != nil {
		return nil, err
	}
	return &Credential{&state{identity: id}}, nil
}

// GetToken makes a Credential an azcore.TokenCredential. RefreshOn is just after the token is to be replaced. A caller whose
// context ends leaves at once with that error, while the retrieval goes on for the others.
func (c *Credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	a, err := c.s.answer(ctx, &o)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	t := azcore.AccessToken{Token: a.Credential.Token(), ExpiresOn: a.Credential.Expires(), RefreshOn: a.RefreshAt()}
	if !t.RefreshOn.IsZero() {
		if t.RefreshOn = t.RefreshOn.Add(margin); t.RefreshOn.After(t.ExpiresOn) {
			t.RefreshOn = t.ExpiresOn
		}
	}
	return t, nil
}

func (s *state) answer(ctx context.Context, o *policy.TokenRequestOptions) (freshet.Answer, error) {
	if o.Claims != "" {
		return s.challenged(ctx, o)
	}
	if w := s.ways.recent(o); w != nil {
		return s.follow(ctx, w)
	}
	if w := s.ways.add(s.identity, o); w != nil {
		return s.follow(ctx, w)
	}
	return s.identity.Get(ctx, request(o))
}

// follow gets the token at the end of a way. Where a challenge's token has ended and the issuer gives none with its claims, the
// request as it was put is the better one. An issuer that does not answer would not answer that either, and the caller would wait
// twice.
func (s *state) follow(ctx context.Context, w *way) (freshet.Answer, error) {
	a, err := w.handle.Get(ctx)
	if err == nil || w.request.Claims == "" || !errors.Is(err, freshet.Denied) && !errors.Is(err, freshet.LoginNeeded) {
		return a, err
	}
	s.ways.straighten(w)
	plain := w.request
	plain.Claims = ""
	return s.identity.Get(ctx, plain)
}

// settled is how old a token must be for the challenge that it answered to mean, if it comes again, that this token was refused.
// Until then it comes from those who were challenged at the same time, and for the token before.
const settled = 30 * time.Second

// impatient is a context that ends with another and shows no deadline. The engine holds a caller that has one until its issuer may
// be asked again; whoever has an answer already does not wait for that.
type impatient struct{ context.Context }

func (impatient) Deadline() (time.Time, bool) { return time.Time{}, false }

// challenged answers a claims challenge, and has those who ask without claims get that answer from now on.
func (s *state) challenged(ctx context.Context, o *policy.TokenRequestOptions) (freshet.Answer, error) {
	req := request(o)
	h, err := s.identity.Handle(req)
	if err != nil {
		return freshet.Answer{}, err
	}
	a, err := h.Get(ctx)
	if err != nil {
		return a, err
	}
	if !a.Retrieved && a.Credential.Issued().Elapsed() >= settled {
		req.Rejected = a.Credential.Fingerprint()
		switch newer, err := s.identity.Get(impatient{ctx}, req); {
		case err == nil:
			a = newer
		case ctx.Err() != nil:
			return freshet.Answer{}, err
		}
		// Otherwise there is no other for now; whether this one will do is the service's to say.
	}
	s.ways.detour(o, h, a.Credential.Issued())
	return a, nil
}

func request(o *policy.TokenRequestOptions) freshet.Request {
	return freshet.Request{Tenant: o.TenantID, Scopes: o.Scopes, Claims: o.Claims, CAE: o.EnableCAE}
}

// Reject says that a service refused this token, and reports whether it is one served now. It is replaced in the background;
// until then it goes on being served. N rejections of one token cause one retrieval, and those of one that was replaced already
// cause none.
//
// Only a service's word that the token itself is bad is a reason: a 401. A 403 speaks of rights, which a new token does not
// change. Claims challenges need no Reject.
func (c *Credential) Reject(refused azcore.AccessToken) bool {
	cred, err := freshet.NewBearer(refused.Token, "", freshet.Validity{Static: true})
	return err == nil && c.s.identity.Reject(cred.Fingerprint())
}

// String is the identity's name.
func (c Credential) String() string { return c.s.identity.String() }

// Format implements [fmt.Formatter], for every verb alike.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }
