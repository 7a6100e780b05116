package freshet

import "context"

// Source yields a credential: an issuer's client, a cache over one, a remote broker.
//
// Retrieve obtains a credential now, and may block. It returns promptly when ctx ends, ends whatever it started, and may be
// called by many goroutines at once. What it returns is immutable and never nil without an error. Failures are *[Error]s
// whose text holds no secret and no response body; a Source does not retry, since the engine above it does.
//
// A Source that is made from another's credential finds that in Request.Input, if it implements [Deriver].
type Source interface {
	Retrieve(ctx context.Context, req Request) (*Credential, error)
}

// SourceFunc is a function that is a [Source].
type SourceFunc func(ctx context.Context, req Request) (*Credential, error)

// Retrieve calls f.
func (f SourceFunc) Retrieve(ctx context.Context, req Request) (*Credential, error) {
	return f(ctx, req)
}

// Target is whom a retrieval asks, and as whom: what an issuer's limits apply to.
type Target struct {
	Host   string // the issuer's host and port as its URL has them, in lower case; for a program, its name
	Tenant string // the directory, account or realm; "" where the issuer has none
	Client string // who asks, as the issuer knows it: a client id, a role; "" where it does not matter
}

// Targeter is a [Source] that says whom a retrieval of a request would ask. It is called once per retrieval and for status, holds
// no lock, and does no I/O. Of a Source that is none, [IdentityConfig].Issuer and the request's tenant are taken.
//
// What one issuer answers with Retry-After, 429 or repeated 5xx holds for every identity with the same Target; where that
// happens to several tenants (or clients, where there are no tenants), for all of its host.
type Targeter interface {
	Target(req Request) Target
}

// Fields is a set of a request's fields.
type Fields uint8

// The fields of a [Request] that a source may vary by.
const (
	FieldTenant Fields = 1 << iota
	FieldScopes
	FieldAudience
	FieldClaims
	FieldCAE
	FieldSubject

	FieldsAll = FieldTenant | FieldScopes | FieldAudience | FieldClaims | FieldCAE | FieldSubject
)

// Varier is a [Source] whose credentials differ by fields of the request. A field asked for that a source neither varies by
// nor has pinned is refused, never ignored: a token for one scope must not answer a request for another. A Source that is no
// Varier varies by none.
type Varier interface {
	Varies() Fields
}

// Deriver is a [Source] whose credential is made from another identity's. The engine resolves the input before it takes any
// slot for the derived one, so nested issuers cannot deadlock, and passes it in Request.Input.
type Deriver interface {
	Needs(req Request) Need
}

// Need is what a [Deriver] asks of its input.
type Need struct {
	// Request is what to ask the input's identity for.
	Request Request
	// Fresh asks for a new credential per exchange, kept by nobody: for assertions that their reader checks for replay.
	// Otherwise a cached one is used, refreshed first if it is due, so that what is derived is not born short.
	Fresh bool
}
