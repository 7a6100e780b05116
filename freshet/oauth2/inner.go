package oauth2

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"sync"
	"time"

	"freshet.dev/freshet"
	"golang.org/x/oauth2"
)

// inner is the wrapped source as freshet sees it. Its retrievals do not overlap.
type inner struct {
	src      oauth2.TokenSource
	reuse    bool // src is a ReuseTokenSource
	lifetime time.Duration
	target   freshet.Target

	mu   sync.Mutex  // never held over a call of src
	kept [4]original // the latest, newest first: a key has one version, and a flight that outlived its time may add one
}

// original is what the source gave, with what a freshet.Credential has no place for.
type original struct {
	cred  *freshet.Credential
	token oauth2.Token
}

// Target makes an inner a [freshet.Targeter].
func (in *inner) Target(freshet.Request) freshet.Target { return in.target }

// Retrieve asks the source. oauth2.TokenSource has no context: the engine above releases who waits.
func (in *inner) Retrieve(context.Context, freshet.Request) (*freshet.Credential, error) {
	sent := freshet.Now()
	token, err := in.next().Token()
	if err != nil {
		return nil, failure(err)
	}
	if token == nil {
		return nil, freshet.Errorf(freshet.Malformed, "source returned neither a token nor an error")
	}
	cred, err := freshet.NewBearer(token.AccessToken, token.TokenType, in.validity(token, sent))
	if err != nil {
		return nil, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	copy(in.kept[1:], in.kept[:])
	in.kept[0] = original{cred, *token}
	return cred, nil
}

// next is whom to ask: at first the source as it was given, which may hold a token already; then, if that is a ReuseTokenSource,
// what is beneath it. x/oauth2 takes a ReuseTokenSource apart to wrap it again, and an invalid token makes the new one ask at
// once.
func (in *inner) next() oauth2.TokenSource {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.kept[0].cred == nil || !in.reuse {
		return in.src
	}
	return oauth2.ReuseTokenSource(&oauth2.Token{}, in.src)
}

func (in *inner) validity(t *oauth2.Token, sent freshet.Instant) freshet.Validity {
	v := freshet.Validity{Sent: sent}
	switch {
	case !t.Expiry.IsZero():
		v.Expires = t.Expiry
	case t.ExpiresIn > 0:
		v.Lifetime = time.Duration(min(t.ExpiresIn, 100*365*24*3600)) * time.Second // NewBearer refuses more than 10 years
	case expires(t.AccessToken):
		// It fills in by itself.
	case in.lifetime > 0:
		v.Lifetime = in.lifetime
	default:
		v.Static = true
	}
	return v
}

// expires reports whether a token is a JWT (RFC 7519) with an exp that freshet reads. Of what only looks like one, NewBearer would
// say that it does not know when it ends.
func expires(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp float64 `json:"exp"`
	}
	return err == nil && json.Unmarshal(text, &claims) == nil && claims.Exp >= 1 && claims.Exp < math.MaxInt32*1000
}

// original is what the source gave for a credential, or as much of it as the credential tells.
func (in *inner) original(cred *freshet.Credential) oauth2.Token {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, o := range in.kept {
		if o.cred == cred {
			return o.token
		}
	}
	return oauth2.Token{AccessToken: cred.Token(), TokenType: cred.TokenType()}
}
