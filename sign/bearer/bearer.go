// Package bearer signs requests by putting a token, or a user name and password, into one header as they are:
//
//	Authorization: Bearer eyJhbGciOi…          (RFC 6750 §2.1; a token of another type has that for its scheme)
//	Authorization: Basic QWxhZGRpbjpvcGVu…     (RFC 7617 §2)
//	api-key: eyJhbGciOi…                       (header: api-key, as Azure OpenAI has it; Anthropic's is x-api-key)
//
// In a header other than Authorization it is the bare token. Of a user name and password, it is the password: keys of APIs are
// kept as such, beside a name that is somebody's note. The body is sent as it comes, whatever its length.
//
// An upstream refuses a token by 401, or by 403 in words that name the token. A challenge of continuous access evaluation
// (Microsoft Entra) comes with the 401, and says what a new token has to meet:
//
//	WWW-Authenticate: Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize",
//	  error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7…"
package bearer

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"freshet.dev/freshet"
	"freshet.dev/internal/signing"
)

const authorization = "Authorization"

// Signer puts a credential on requests. It is safe for concurrent use.
type Signer struct {
	header string // in the form of http.Header's keys
	last   atomic.Pointer[version]
}

// version is what the header says for one version of the credential, which stays the same for thousands of requests. It is let go of
// when the next one signs.
type version struct {
	of     *freshet.Credential
	values []string // one, and no room for another
}

// Format implements fmt.Formatter, for every verb alike.
func (s *Signer) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "bearer(%s)", s.header) }

// New makes a signer. It is the same for every upstream. Errors are of kind Invalid.
func New(c Config, _ *url.URL) (*Signer, error) {
	if err := c.Check(); err != nil {
		return nil, invalid(err)
	}
	header := http.CanonicalHeaderKey(c.Header)
	if header == "" {
		header = authorization
	}
	return &Signer{header: header}, nil
}

// Prepare takes away what would stand beside the credential, and what says whence the request comes: that is no concern of the
// upstream's, and it may believe it. The body is not read.
func (s *Signer) Prepare(r *http.Request) (signing.Plan, error) {
	for _, h := range []http.Header{r.Header, r.Trailer} {
		for name := range h {
			if s.own(http.CanonicalHeaderKey(name)) {
				delete(h, name)
			}
		}
	}
	return signing.Plan{}, nil
}

// own reports a header that callers may not send, by its canonical name.
func (s *Signer) own(name string) bool {
	switch name {
	case s.header, authorization, "Proxy-Authorization", "Forwarded", "Via":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-")
}

// Sign sets the one header. The body's hash is not used. Errors are of kind Invalid, and hold nothing of the credential.
func (s *Signer) Sign(r *http.Request, c *freshet.Credential, _ string) error {
	if v := s.last.Load(); v != nil && v.of == c {
		r.Header[s.header] = v.values
		return nil
	}
	value, err := s.value(c)
	if err != nil {
		return err
	}
	if !fit(value) {
		return freshet.Errorf(freshet.Invalid, "the credential has bytes that no header may carry")
	}
	v := &version{c, []string{value}}
	s.last.Store(v)
	r.Header[s.header] = v.values
	return nil
}

// value is what the header says for a credential.
func (s *Signer) value(c *freshet.Credential) (string, error) {
	bare := s.header != authorization
	switch typ := c.Type(); typ {
	case freshet.Bearer, freshet.IDToken:
		name, err := scheme(c.TokenType())
		if err != nil || bare {
			return c.Token(), err
		}
		return name + " " + c.Token(), nil
	case freshet.Basic:
		user, password := c.Basic()
		switch {
		case bare && password == "":
			return "", freshet.Errorf(freshet.Invalid, "the credential has no password for header %s", s.header)
		case bare:
			return password, nil
		case strings.Contains(user, ":"): // RFC 7617 §2: what follows the first colon is the password
			return "", freshet.Errorf(freshet.Invalid, "a user name with a colon has no Authorization header")
		}
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)), nil
	case freshet.AWS:
		return "", freshet.Errorf(freshet.Invalid, "AWS keys are no bearer token: requests are signed with them").
			WithHint("use signer: sigv4")
	default:
		return "", freshet.Errorf(freshet.Invalid, "a credential of type %s cannot be put into a header", typ)
	}
}

const bearer = "Bearer"

// scheme is the Authorization scheme of a token of some type, "" being an ID token's. Bearer is spelt as RFC 6750 does: issuers write
// "bearer", and there are services that compare by letter. A type whose tokens are nothing without a proof that is made for each
// request is refused, as RFC 6749 §7.1 asks of clients that do not know it.
func scheme(tokenType string) (string, error) {
	switch strings.ToLower(tokenType) {
	case "", "bearer":
		return bearer, nil
	case "dpop", "pop", "mac": // RFC 9449; Microsoft's signed requests; RFC 6749 §7.1's example
		return "", freshet.Errorf(freshet.Invalid, "a token of type %s needs a proof beside it on every request", tokenType).
			WithHint("have the issuer give bearer tokens")
	case "n_a": // RFC 8693 §2.2.1
		return "", freshet.Errorf(freshet.Invalid, "the issuer says that its token is no access token").
			WithHint("ask it for an access token")
	}
	return tokenType, nil
}

// fit reports whether a header carries a value as it is (RFC 9110 §5.5): white space around it would be dropped, and a line break
// would begin another header.
func fit(value string) bool {
	return value != "" && strings.Trim(value, " \t") == value &&
		!strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
