package freshet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Kind says what sort of failure an [Error] is, and so what a caller can do about it. A Kind is itself an error, so that
// errors.Is(err, freshet.Denied) holds for an *Error of that kind, however wrapped.
type Kind string

// The kinds of failure.
const (
	Invalid     Kind = "invalid request"  // unknown identity, a request it cannot serve, configuration
	LoginNeeded Kind = "login needed"     // a person has to log in
	Denied      Kind = "denied"           // policy says no, or the issuer does: invalid_client, AccessDenied
	Unavailable Kind = "unavailable"      // timeout, 5xx, throttled, a helper that failed; trying later may succeed
	Malformed   Kind = "malformed answer" // garbage, oversized or expired output of a source
	Bug         Kind = "bug"              // a panic, or what cannot happen
)

// Error is the kind's name.
func (k Kind) Error() string { return string(k) }

// Error is a failure as callers get it: a public message, a private cause, and what to do.
//
// Error() prints only what is public. It holds no response body, no secret and no claim; the cause is for errors.Is and
// errors.As, and is printed by nobody.
type Error struct {
	Kind       Kind
	Identity   string        // whose retrieval failed; empty where none was begun
	Source     string        // the kind of source, such as "oauth2"
	Why        string        // lowercase, "thing: cause"
	Hint       string        // what the user can do; may be empty
	RetryAfter time.Duration // how long not to ask again; 0 when unknown
	// Status is the HTTP status that the issuer answered with; 0 where it gave none. Whatever else says that too much is asked
	// of it, as AWS's Throttling does, is 429. The engine goes by it: see [Cache.Issuers].
	Status int
	Cause  error // never printed; may be nil
}

// Error is "identity NAME (SOURCE): why".
func (e *Error) Error() string {
	switch {
	case e.Identity == "":
		return e.Why
	case e.Source == "":
		return fmt.Sprintf("identity %s: %s", e.Identity, e.Why)
	}
	return fmt.Sprintf("identity %s (%s): %s", e.Identity, e.Source, e.Why)
}

// Unwrap yields the kind and the cause, for errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// Errorf makes an error of a kind with a formatted public message. Like fmt.Errorf it keeps an operand of %w as the cause; the
// operand's text becomes public too, so only errors known to hold no secret go in.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Why: err.Error(), Cause: errors.Unwrap(err)}
}

// WithHint returns e with a hint; it changes e, so it is for errors just made.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// AsError returns err as an *Error. One that is none becomes [Unavailable] with a fixed message, since a foreign error's text
// may hold anything (url.Error holds the query, for one); a context's end says so.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if k, ok := errors.AsType[Kind](err); ok {
		return &Error{Kind: k, Why: string(k), Cause: err}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Kind: Unavailable, Why: "timed out", Cause: err}
	case errors.Is(err, context.Canceled):
		return &Error{Kind: Unavailable, Why: "cancelled", Cause: err}
	}
	return &Error{Kind: Unavailable, Why: "retrieval failed", Cause: err}
}

// Format implements [fmt.Formatter], for every verb alike: %#v would print the cause.
func (e Error) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.Error()) }

// MarshalText implements [encoding.TextMarshaler], so that JSON shows no more than Error: a cause may be a url.Error.
func (e Error) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// of returns a copy of e that names the identity and its source, unless e names one already: an input's failure keeps the
// input's name.
func (e *Error) of(id *Identity) *Error {
	c := *e
	if c.Identity == "" {
		c.Identity, c.Source = id.name, id.kind
		return &c
	}
	if c.Identity != id.name {
		c.Why = "input: " + e.Error()
		c.Identity, c.Source = id.name, id.kind
	}
	return &c
}
