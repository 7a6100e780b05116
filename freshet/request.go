package freshet

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"
)

// Request is what varies from call to call. The zero Request asks for the identity's defaults.
//
// Tenant, Scopes, Audience, Claims, CAE and Subject tell credentials apart. MinTTL and Rejected say which of one key's
// versions will do, and are no part of the key.
type Request struct {
	Tenant   string   // directory or account to obtain the credential in
	Scopes   []string // as a set: order and duplicates mean nothing
	Audience string   // who the token is for: a JWT's aud, RFC 8707's resource
	Claims   string   // a claims challenge, decoded JSON
	CAE      bool     // the caller handles continuous access evaluation
	Subject  string   // on whose behalf

	// MinTTL is how much life the credential must have left. A valid one with less is served only after a retrieval brought
	// none longer, or once the caller's context has ended, and is then marked short.
	MinTTL time.Duration
	// Rejected is the fingerprint of a version that a service refused: the answer is never that version.
	Rejected string
	// Hold is how long to wait for a further attempt where nothing valid is to be had and the issuer fails, but not past the
	// context's deadline. Without it a caller is held until that deadline, and one that has none is not held.
	Hold time.Duration
	// Input is set by the engine alone, for a source that is a [Deriver].
	Input *Credential
}

// String names the fields that are set. Claims are not shown: a challenge is evidence about a session.
func (r Request) String() string {
	s := "request"
	show := func(name string, v any, set bool) {
		if set {
			s += fmt.Sprintf(" %s=%v", name, v)
		}
	}
	show("tenant", r.Tenant, r.Tenant != "")
	show("scopes", r.Scopes, len(r.Scopes) > 0)
	show("audience", r.Audience, r.Audience != "")
	show("claims", redacted, r.Claims != "")
	show("cae", r.CAE, r.CAE)
	show("subject", redacted, r.Subject != "")
	show("min_ttl", r.MinTTL, r.MinTTL != 0)
	show("rejected", r.Rejected, r.Rejected != "")
	return s
}

// Format implements [fmt.Formatter], for every verb alike.
func (r Request) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// LogValue implements [slog.LogValuer].
func (r Request) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalText implements [encoding.TextMarshaler], so that JSON shows no more than String.
func (r Request) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// canonical returns scopes as a sorted set. The slice given is returned where it is one already, and is never changed.
func canonical(scopes []string) []string {
	for i := 1; i < len(scopes); i++ {
		if scopes[i-1] >= scopes[i] {
			scopes = slices.Clone(scopes)
			slices.Sort(scopes)
			return slices.Compact(scopes)
		}
	}
	return scopes
}

// fields is the set of key fields that r sets.
func (r *Request) fields() Fields {
	var f Fields
	if r.Tenant != "" {
		f |= FieldTenant
	}
	if len(r.Scopes) > 0 {
		f |= FieldScopes
	}
	if r.Audience != "" {
		f |= FieldAudience
	}
	if r.Claims != "" {
		f |= FieldClaims
	}
	if r.CAE {
		f |= FieldCAE
	}
	if r.Subject != "" {
		f |= FieldSubject
	}
	return f
}

// names of fields, as users write them.
func (f Fields) String() string {
	var s []byte
	for i, name := range []string{"tenant", "scopes", "audience", "claims", "cae", "subject"} {
		if f&(1<<i) != 0 {
			if s != nil {
				s = append(s, ", "...)
			}
			s = append(s, name...)
		}
	}
	return string(s)
}
