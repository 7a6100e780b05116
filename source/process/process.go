// Package process is a source of the credentials that a program prints: a vendor's CLI, or a helper of one's own.
//
// The program gets null stdin and a short listed environment, plus env and FRESHET_ANCESTRY: the names, joined by commas, of the
// identities whose retrieval it serves, by which a freshet that it calls in turn recognises a circle. It has ended, with all
// it started, when Retrieve returns.
//
// What it prints is told apart by its form:
//
//	{"Version": 1, "AccessKeyId", "SecretAccessKey", "SessionToken"?, "Expiration"?, "AccountId"?}    AWS credential_process
//	{"accessToken", "expires_on": 1767225600, "expiresOn": "2026-01-01 00:00:00.000000"}              az account get-access-token
//	{"token", "expiresOn": "2026-01-01T00:00:00Z"}                                                    azd auth token
//	{"access_token", "expires_in"?, "token_type"?}                                                    an OAuth token response
//	eyJhbGciOi…                                                                                       one line: a token
//
// Of az's two expiries expires_on counts, since expiresOn is local time and ambiguous for an hour a year; older ones have only
// that. A token without an expiry beside it lives until its own exp if it is a JWT, else for the configured lifetime. AWS keys
// without Expiration are long-term keys, which do not expire, if they have no session token; else lifetime counts.
//
// Exit status 0 is success; anything else is a failure, whatever was printed. Standard error is shown in the failure, cut and
// with what looks like a secret removed.
package process

import (
	"context"
	"fmt"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
)

// Source runs a program for every retrieval. It is safe for concurrent use.
type Source struct {
	cfg    Config
	runner *child.Runner
	client string // names the command and its environment
}

// New returns a source that runs its program through runner, which bounds how many run at once in the whole process. Errors
// are of kind Invalid.
func New(cfg Config, runner *child.Runner) (*Source, error) {
	if err := cfg.Check(); err != nil {
		return nil, invalid(err)
	}
	if runner == nil {
		return nil, freshet.Errorf(freshet.Bug, "process: no runner")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	return &Source{cfg: cfg, runner: runner, client: cfg.digest()}, nil
}

// Format implements fmt.Formatter, for every verb alike.
func (s *Source) Format(f fmt.State, verb rune) { s.cfg.Format(f, verb) }

// Varies implements freshet.Varier. It is by tenant, scopes and audience even where the command has no place for them: the
// program is then asked the same whatever a caller wants, but what one caller wanted is never handed to another unasked.
// Whether the answer fits is checked per request where it can be: the engine compares a JWT's aud with the audience that was
// asked for.
func (s *Source) Varies() freshet.Fields {
	return freshet.FieldTenant | freshet.FieldScopes | freshet.FieldAudience
}

// Target implements freshet.Targeter: the program, and as its client the whole command with its environment, by a digest. Whom
// a program asks, and as whom, is decided there: what one helper fails at with one account says little of another's.
func (s *Source) Target(req freshet.Request) freshet.Target {
	return freshet.Target{Host: s.cfg.program(), Tenant: req.Tenant, Client: s.client}
}

// Placeholders is the set of fields that reach the program.
func (s *Source) Placeholders() freshet.Fields { return s.cfg.Placeholders() }

// Retrieve implements freshet.Source: one run.
func (s *Source) Retrieve(ctx context.Context, req freshet.Request) (*freshet.Credential, error) {
	args, err := expand(s.cfg.Command, req)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, time.Duration(s.cfg.Timeout))
	defer cancel()
	sent := freshet.Now()
	out, err := s.runner.Run(bounded, child.Command{Args: args, Env: s.cfg.Env})
	if err != nil {
		return nil, s.failure(out, err)
	}
	cred, err := parse(out.Stdout, sent, time.Duration(s.cfg.Lifetime))
	if err != nil {
		e := *freshet.AsError(err)
		e.Why = s.cfg.program() + ": " + e.Why
		return nil, &e
	}
	return cred, nil
}
