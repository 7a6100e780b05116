package oauth2

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
)

// The ways a client authenticates itself, by the names of OpenID Connect Core §9 without their client_secret_.
const (
	authBasic         = "basic"
	authPost          = "post"
	authPrivateKeyJWT = "private_key_jwt"
)

// Config is the settings of one client at one issuer.
type Config struct {
	TokenURL          string            `yaml:"token_url" required:"true" doc:"the issuer's token endpoint"`
	ClientID          string            `yaml:"client_id" required:"true" doc:"the client's id at the issuer"`
	Auth              string            `yaml:"auth" enum:"basic|post|private_key_jwt" doc:"how the client authenticates itself; basic if there is a client_secret, private_key_jwt if there is a private_key"`
	ClientSecret      secret.Ref        `yaml:"client_secret" doc:"the client's secret, for basic and post"`
	PrivateKey        secret.Ref        `yaml:"private_key" doc:"the client's private key in PEM (RSA, EC P-256, P-384 or P-521, Ed25519), for private_key_jwt"`
	KeyID             string            `yaml:"key_id" doc:"kid that the issuer knows the private key by"`
	AssertionAudience string            `yaml:"assertion_audience" doc:"aud of the assertion; the token_url unless given, while some issuers want their issuer name"`
	Resource          string            `yaml:"resource" doc:"resource parameter (RFC 8707): an absolute URI of what the token is for"`
	Params            map[string]string `yaml:"params" doc:"further form parameters that this issuer wants"`
	CAFile            string            `yaml:"ca_file" format:"path" doc:"PEM file of the certificate authorities to trust in place of the system's"`
	Lifetime          field.Duration    `yaml:"lifetime" doc:"how long a token lives where neither the reply nor the token says"`
}

// standard are the parameters that the source sets itself.
var standard = []string{
	"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "scope", "audience", "resource",
}

// Check says what is wrong with the settings, as field errors; it reads no secret.
func (c Config) Check() error {
	var errs []error
	add := func(name, why, help string) { errs = append(errs, &field.Error{Field: name, Why: why, Help: help}) }
	if err := field.URL("token_url", c.TokenURL); err != nil {
		errs = append(errs, err)
	}
	if c.ClientID == "" {
		add("client_id", "missing", "")
	}
	switch c.auth() {
	case authBasic, authPost:
		if c.ClientSecret.IsZero() {
			add("client_secret", "missing", secret.Forms)
		}
		if !c.PrivateKey.IsZero() {
			add("private_key", "goes with auth: private_key_jwt alone", "remove it, or client_secret and auth")
		}
	case authPrivateKeyJWT:
		if c.PrivateKey.IsZero() {
			add("private_key", "missing", secret.Forms)
		}
		if !c.ClientSecret.IsZero() {
			add("client_secret", "does not go with auth: private_key_jwt", "remove it, or private_key and auth")
		}
	default:
		add("auth", "not a way to authenticate", "write basic, post or private_key_jwt")
	}
	for _, s := range []struct {
		name string
		ref  secret.Ref
	}{{"client_secret", c.ClientSecret}, {"private_key", c.PrivateKey}} {
		if err := s.ref.Valid(); err != nil && !s.ref.IsZero() {
			errs = append(errs, within(s.name, err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Params)) {
		for _, own := range standard {
			if strings.EqualFold(name, own) {
				add("params."+name, "not a further parameter", "it has a setting of its own, or is always the same")
			}
		}
	}
	if c.CAFile != "" && !filepath.IsAbs(c.CAFile) {
		add("ca_file", "not an absolute path", "")
	}
	return errors.Join(errs...)
}

// auth is the way to authenticate, where it is not said the one that the secrets there are fit.
func (c Config) auth() string {
	switch {
	case c.Auth != "":
		return c.Auth
	case c.ClientSecret.IsZero() && !c.PrivateKey.IsZero():
		return authPrivateKeyJWT
	}
	return authBasic
}

// within puts the name of a setting before the error of a part of it.
func within(name string, err error) error {
	e, ok := errors.AsType[*field.Error](err)
	if !ok {
		return &field.Error{Field: name, Why: "not valid"}
	}
	inner := *e
	inner.Field = name
	if e.Field != "" {
		inner.Field += "." + e.Field
	}
	return &inner
}

// invalid is an error of the settings as one of the library's.
func invalid(err error) *freshet.Error {
	e := freshet.Errorf(freshet.Invalid, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	if f, ok := errors.AsType[*field.Error](err); ok {
		e.Hint = f.Help
	}
	return e
}

// unread is a failure to read a secret, of the setting of that name.
func unread(ctx context.Context, name string, err error) *freshet.Error {
	if ctx.Err() != nil {
		e := *freshet.AsError(ctx.Err())
		e.Why = name + ": " + e.Why
		return &e
	}
	if e, ok := errors.AsType[*child.Error](err); ok && e.Reason != child.NotFound && e.Reason != child.NotExecutable {
		return &freshet.Error{Kind: freshet.Unavailable, Why: name + ": " + e.Error(), Hint: e.Hint(), Cause: err}
	}
	return invalid(within(name, err))
}
