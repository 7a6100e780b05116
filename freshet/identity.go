package freshet

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"slices"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// IdentityConfig describes an identity to a [Cache].
type IdentityConfig struct {
	// Name is what callers ask for; unique in its cache.
	Name string
	// Version tells configurations of one name apart: a credential retrieved under another version, such as one with another
	// client secret, never answers.
	Version string
	// Kind names the kind of source in errors and events, such as "oauth2".
	Kind string
	// Source yields the credentials.
	Source Source
	// From is the identity whose credential the source is made from; needed exactly if Source is a [Deriver].
	From *Identity
	// Defaults fill in what a request leaves open. A field with a default that the source does not vary by is pinned: a
	// request may name that value and no other.
	Defaults Request
	// Pinned fields accept their default alone, although the source varies by them.
	Pinned Fields
	// RefreshAt is when a credential is due, as a fraction of its lifetime in (0, 1); 0 leaves it to the issuer's word and the
	// schedule.
	RefreshAt float64
	// Timeout bounds a retrieval, all inputs included; 0 means one minute.
	Timeout time.Duration
	// Concurrency bounds retrievals of this identity that run at once; 0 means no bound.
	Concurrency int
	// Rate bounds retrievals of this identity that begin in a second; 0 means no bound. Tenants take turns at what both bounds
	// leave.
	Rate float64
	// Pin keeps the credential of the identity's defaults loaded, whether or not anybody asks: it is retrieved at once, and
	// replaced for as long as the identity is in its cache. It is never evicted.
	Pin bool
	// Issuer names the issuer of a Source that is no [Targeter]; "" means the identity's own name.
	Issuer string
	// Around, if set, runs in place of each retrieval: see [Around].
	Around Around
}

const defaultTimeout = time.Minute

// String is "identity NAME (KIND)": what a source is made of is nobody's to print.
func (cfg IdentityConfig) String() string { return "identity " + cfg.Name + " (" + cfg.Kind + ")" }

// Format implements [fmt.Formatter], for every verb alike.
func (cfg IdentityConfig) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, cfg.String()) }

// LogValue implements [slog.LogValuer].
func (cfg IdentityConfig) LogValue() slog.Value { return slog.StringValue(cfg.String()) }

// MarshalText implements [encoding.TextMarshaler], so that JSON shows no more than String.
func (cfg IdentityConfig) MarshalText() ([]byte, error) { return []byte(cfg.String()), nil }

// Identity is a named source in a [Cache]. It is itself a [Source]; its methods may be called by many goroutines.
type Identity struct {
	cache   *Cache
	name    string
	version string
	kind    string
	around  Around
	from    *Identity
	*private
	pinned    Fields
	varies    Fields
	refreshAt float64
	timeout   time.Duration
	limit     limit        // under governor.mu
	yielded   int          // its refreshes that wait for their input, under governor.mu
	resting   fifo[*queue] // those that wait until fewer do, under governor.mu
	issuer    string
	salt      uint64   // tells hashes of its keys from those of others
	ancestry  []string // its own name and those of all the identities it is made from
	ring      ring     // its slots, under cache.mu
	removed   bool     // under cache.mu
}

// private is what no print of an identity may show; see [Credential] for why it is behind a pointer.
type private struct {
	source   Source
	deriver  Deriver  // nil if the source is none
	targeter Targeter // nil if the source is none
	defaults Request
}

func newIdentity(c *Cache, cfg IdentityConfig) (*Identity, error) {
	id := &Identity{
		cache: c, name: cfg.Name, version: cfg.Version, kind: cfg.Kind, from: cfg.From, around: cfg.Around,
		private: &private{source: cfg.Source, defaults: cfg.Defaults}, pinned: cfg.Pinned, refreshAt: cfg.RefreshAt, timeout: cfg.Timeout,
		issuer: cfg.Issuer, ancestry: []string{cfg.Name},
	}
	id.salt = maphash.String(seed, string(wholeKey(id, "")))
	id.limit.set(cfg.Concurrency, cfg.Rate)
	id.deriver, _ = cfg.Source.(Deriver)
	id.targeter, _ = cfg.Source.(Targeter)
	if v, ok := cfg.Source.(Varier); ok {
		id.varies = v.Varies()
	}
	id.defaults.Scopes = slices.Clone(canonical(cfg.Defaults.Scopes))
	if id.timeout <= 0 {
		id.timeout = defaultTimeout
	}
	if id.issuer == "" {
		id.issuer = id.name
	}
	switch {
	case cfg.Name == "":
		return nil, Errorf(Invalid, "identity without a name")
	case cfg.Source == nil:
		return nil, Errorf(Invalid, "identity %s: no source", cfg.Name)
	case cfg.RefreshAt != 0 && !(cfg.RefreshAt > 0 && cfg.RefreshAt < 1):
		return nil, Errorf(Invalid, "identity %s: refresh at %v of a lifetime, which is not between 0 and 1", cfg.Name, cfg.RefreshAt)
	case id.deriver != nil && id.from == nil:
		return nil, Errorf(Invalid, "identity %s: source %s is made from another identity's credential, and none is named", id.name, id.kind).
			WithHint("add from: with the name of that identity")
	case id.deriver == nil && id.from != nil:
		return nil, Errorf(Invalid, "identity %s: source %s takes no input", id.name, id.kind).WithHint("remove from:")
	}
	if id.from != nil {
		if slices.Contains(id.from.ancestry, id.name) {
			return nil, Errorf(Invalid, "identity %s is made from itself", id.name)
		}
		id.ancestry = append(id.ancestry, id.from.ancestry...)
	}
	return id, nil
}

// Name is what callers ask for.
func (id *Identity) Name() string { return id.name }

// String is "identity NAME (KIND)".
func (id *Identity) String() string { return "identity " + id.name + " (" + id.kind + ")" }

// Format implements [fmt.Formatter], for every verb alike.
func (id *Identity) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, id.String()) }

// LogValue implements [slog.LogValuer].
func (id *Identity) LogValue() slog.Value { return slog.StringValue(id.String()) }

// Varies is the set of fields that tell this identity's credentials apart.
func (id *Identity) Varies() Fields { return id.varies }

// Answer is a credential as a caller gets it.
type Answer struct {
	Credential *Credential
	// Stale: it is valid, but should have been replaced, and the last attempt to do so failed; or a service refused it and no
	// newer one has come yet.
	Stale bool
	// Short: it has less life left than the request's MinTTL, and the issuer gives no longer.
	Short bool
	// Rejected: a service refused this version, though not to this caller.
	Rejected bool
	// Due: the time to replace it has come, so RefreshAt has passed.
	Due bool
	// Retrieved: this caller waited for a retrieval; otherwise the answer came from memory.
	Retrieved bool

	due int64 // wall clock, nanoseconds; 0: not from a cache
}

// RefreshAt is when the credential is to be replaced, in UTC; the zero time if nobody knows.
func (a Answer) RefreshAt() time.Time {
	switch {
	case a.due == clock.Never.Wall:
		return time.Time{}
	case a.due != 0:
		return time.Unix(0, a.due).UTC()
	case a.Credential != nil && a.Credential.more().refreshIn > 0:
		return a.Credential.sent.Add(a.Credential.more().refreshIn).Time()
	}
	return time.Time{}
}

// Retrieve makes an Identity a [Source].
func (id *Identity) Retrieve(ctx context.Context, req Request) (*Credential, error) {
	a, err := id.Get(ctx, req)
	return a.Credential, err
}

// Get answers a request: from memory if there is a credential that will do, else from the key's one flight. A caller whose
// context ends leaves at once with that error while the flight goes on; what is in memory is answered even so. Errors are
// [*Error]s.
//
// A hit takes no lock and allocates nothing, provided that the request's scopes are sorted; a [Handle] is cheaper still, as
// it hashes its request once.
func (id *Identity) Get(ctx context.Context, req Request) (Answer, error) {
	if err := id.normalise(&req); err != nil {
		return Answer{}, err
	}
	var buf [256]byte
	key := appendKey(buf[:0], id, &req)
	hash := hashKey(id, key)
	want := wish{minTTL: req.MinTTL, rejected: req.Rejected}
	if s := id.cache.index.find(id, hash, key); s != nil {
		if want == (wish{}) {
			if v := s.calm(); v != nil {
				return Answer{Credential: v.cred, due: v.due.Wall}, nil
			}
		}
		if a, ok := s.hit(&want); ok {
			return a, nil
		}
	}
	_, a, err := id.cache.wait(ctx, &ask{id: id, key: string(key), hash: hash, hold: req.Hold, wish: want})
	return a, err
}

// normalise fills in the identity's defaults, makes the scopes a sorted set, and refuses what the source can neither vary by
// nor has pinned.
func (id *Identity) normalise(req *Request) error {
	req.Scopes = canonical(req.Scopes)
	asked := req.fields()
	if refused := asked &^ (id.varies &^ id.pinned); refused != 0 {
		if odd := refused &^ id.same(req); odd != 0 {
			return id.refuse(odd)
		}
	}
	d := &id.defaults
	if req.Tenant == "" {
		req.Tenant = d.Tenant
	}
	if len(req.Scopes) == 0 {
		req.Scopes = d.Scopes
	}
	if req.Audience == "" {
		req.Audience = d.Audience
	}
	if req.Subject == "" {
		req.Subject = d.Subject
	}
	return nil
}

// same is the set of fields in which req names exactly the default.
func (id *Identity) same(req *Request) Fields {
	d := &id.defaults
	var f Fields
	if req.Tenant == d.Tenant {
		f |= FieldTenant
	}
	if slices.Equal(req.Scopes, d.Scopes) {
		f |= FieldScopes
	}
	if req.Audience == d.Audience {
		f |= FieldAudience
	}
	if req.Subject == d.Subject {
		f |= FieldSubject
	}
	return f
}

func (id *Identity) refuse(odd Fields) error {
	e := &Error{Kind: Invalid, Identity: id.name, Source: id.kind, Why: "cannot be asked for another " + odd.String()}
	if odd&FieldClaims != 0 {
		e.Why = "its source cannot answer a claims challenge"
	}
	return e.WithHint("leave it out to get the identity's own, or configure an identity for it")
}
