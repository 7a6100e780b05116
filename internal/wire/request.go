package wire

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"freshet.dev/freshet"
)

// Request is the body of POST /v1/identities/NAME/credential. Every field may be left out.
type Request struct {
	Tenant   string   `json:"tenant,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`
	Audience string   `json:"audience,omitempty"`
	Claims   string   `json:"claims,omitempty"`   // a claims challenge in base64, as services send it
	MinTTL   string   `json:"min_ttl,omitempty"`  // a duration such as "5m"
	Rejected string   `json:"rejected,omitempty"` // fingerprint of a version that a service refused
	Hold     string   `json:"hold,omitempty"`     // how long to wait for an issuer that fails, where nothing valid is to be had: "30s"
}

// RequestOf renders a request.
func RequestOf(r freshet.Request) Request {
	w := Request{Tenant: r.Tenant, Scopes: r.Scopes, Audience: r.Audience, Rejected: r.Rejected}
	if r.Claims != "" {
		w.Claims = base64.StdEncoding.EncodeToString([]byte(r.Claims))
	}
	if r.MinTTL > 0 {
		w.MinTTL = r.MinTTL.String()
	}
	w.Hold = holdOf(r.Hold)
	return w
}

// Parse reads a request. Errors are of kind [freshet.Invalid].
func (w Request) Parse() (freshet.Request, error) {
	r := freshet.Request{Tenant: w.Tenant, Scopes: w.Scopes, Audience: w.Audience, Rejected: w.Rejected}
	if err := checkScopes(w.Scopes); err != nil {
		return r, err
	}
	if w.Claims != "" {
		claims, err := DecodeClaims(w.Claims)
		if err != nil {
			return r, err
		}
		r.Claims = claims
	}
	if w.MinTTL != "" {
		d, err := time.ParseDuration(w.MinTTL)
		if err != nil || d < 0 {
			return r, freshet.Errorf(freshet.Invalid, "min_ttl: not a duration").WithHint(`write it like "90s", "5m" or "1h30m"`)
		}
		r.MinTTL = d
	}
	var err error
	r.Hold, err = parseHold(w.Hold)
	return r, err
}

// MaxHold bounds how long a caller is held: it costs the daemon a connection for as long.
const MaxHold = time.Hour

func holdOf(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return min(d, MaxHold).String()
}

func parseHold(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > MaxHold {
		return 0, freshet.Errorf(freshet.Invalid, "hold: not a duration of at most %s", MaxHold).WithHint(`write it like "30s" or "5m"`)
	}
	return d, nil
}

// DecodeClaims reads a claims challenge: base64 with or without padding, in either alphabet, of a JSON object.
func DecodeClaims(s string) (string, error) {
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := enc.DecodeString(s); err == nil {
			if len(b) > 0 && b[0] == '{' && json.Valid(b) {
				return string(b), nil
			}
			break
		}
	}
	return "", freshet.Errorf(freshet.Invalid, "claims: not a claims challenge").
		WithHint("pass the claims value of the WWW-Authenticate header as it came, in base64")
}

// Session is the body of POST /v1/sessions.
type Session struct {
	Identities []string `json:"identities"`
	Hold       string   `json:"hold,omitempty"` // as in [Request]
}

// SessionOf renders a request for a session.
func SessionOf(identities []string, hold time.Duration) Session {
	return Session{Identities: identities, Hold: holdOf(hold)}
}

// Held reads how long to wait. Errors are of kind [freshet.Invalid].
func (s Session) Held() (time.Duration, error) { return parseHold(s.Hold) }

// SessionOpened is the first line of a session's reply. The session lasts as long as the reply's body stays open.
type SessionOpened struct {
	ID          string                  `json:"id"`
	Environment map[string]string       `json:"environment"` // for the child; values are secret
	Types       map[string]freshet.Type `json:"types"`       // identity name → what it consists of
}
