// Package peers is what people get their tokens from today, each as its users use it: one client, made once and kept, with the
// options that it has unless told otherwise, in front of the issuer that all of them share.
//
// A case that measures nanoseconds makes a client itself, with the constructors here, and calls it directly. Others take them all
// alike, as a [Get].
package peers

import (
	"context"
	"fmt"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
)

// Get asks a client for a token. expires is zero where the client does not tell.
type Get func(ctx context.Context, w issuer.Wanted) (secret string, expires time.Time, err error)

// Peer is a way to tokens.
type Peer struct {
	Name    string
	Role    measure.Role
	Modules []string // whose versions are printed
	Note    string   // how it is used, in a sentence
	// One client serves several scopes, or tenants. One that does not serves [Only], and answers anything else with an error.
	Scopes, Tenants bool
	// New makes a client. What of it has to be ended ends with the issuer: see [issuer.Issuer.Close].
	New func(*issuer.Issuer) (Get, error)
}

// Only is what a client of one token asks for.
var Only = issuer.Wanted{Tenant: "00000000-0000-0000-0000-000000000000", Scope: "https://graph.example/.default"}

// All are freshet and its peers.
func All() []Peer {
	return []Peer{Freshet, FreshetHandle, AWS, OAuth2, GCP, MSAL, AzIdentity, BearerTokenPolicy}
}

// only is for clients of one token.
func only(w issuer.Wanted, f func(context.Context) (string, time.Time, error)) Get {
	return func(ctx context.Context, asked issuer.Wanted) (string, time.Time, error) {
		if asked != w {
			return "", time.Time{}, fmt.Errorf("a client of one token: %w", measure.ErrWrong)
		}
		return f(ctx)
	}
}
