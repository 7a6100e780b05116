// Package lab is a source without an issuer: it makes credentials itself, for a first configuration and for rehearsals. They
// look like real ones and open nothing.
//
// A bearer token is a JWT (RFC 7519) with what was asked for in it, signed with a key that nobody else has:
//
//	{"iss":"lab","sub":"freshet","tid":"…","scope":"…","aud":"…","iat":…,"exp":…,"jti":"…"}
//
// AWS keys are of the shape and length of AWS's own, with a session token.
package lab

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
)

const (
	typeBearer = "bearer"
	typeAWS    = "aws"
)

const (
	defaultLifetime = field.Duration(time.Hour)
	maxLifetime     = field.Duration(10 * 365 * 24 * time.Hour) // the library believes no more
)

// Config is the settings of one make-believe issuer.
type Config struct {
	Type      string         `yaml:"type" required:"true" enum:"bearer|aws" doc:"what it gives: a bearer token or AWS keys"`
	Latency   field.Duration `yaml:"latency" doc:"how long it takes to answer; no time unless given"`
	Lifetime  field.Duration `yaml:"lifetime" default:"1h" doc:"how long what it gives lives"`
	RefreshIn field.Duration `yaml:"refresh_in" doc:"when it wants that replaced, counted from its request"`
}

// Check says what is wrong with the settings, as field errors.
func (c Config) Check() error {
	var errs []error
	add := func(name, why, help string) { errs = append(errs, &field.Error{Field: name, Why: why, Help: help}) }
	switch c.Type {
	case typeBearer, typeAWS:
	case "":
		add("type", "missing", "write bearer or aws")
	default:
		add("type", "not a type that it gives", "write bearer or aws")
	}
	if l := c.Lifetime; l != 0 && l < field.Duration(time.Second) || l > maxLifetime {
		add("lifetime", "want 1s to 10 years", "")
	}
	if c.RefreshIn != 0 && c.RefreshIn >= c.lifetime() {
		add("refresh_in", "want less than the lifetime", "")
	}
	return errors.Join(errs...)
}

func (c Config) lifetime() field.Duration {
	if c.Lifetime == 0 {
		return defaultLifetime
	}
	return c.Lifetime
}

// Source makes credentials. It is safe for concurrent use.
type Source struct {
	cfg  Config
	name string
	key  []byte
	next func(sent time.Time) version
}

// version is what tells one credential from the next.
type version struct {
	serial string
	made   time.Time
}

// New returns a source. Errors are of kind Invalid.
func New(cfg Config) (*Source, error) {
	if err := cfg.Check(); err != nil {
		e := freshet.Errorf(freshet.Invalid, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		if f, ok := errors.AsType[*field.Error](err); ok {
			e.Hint = f.Help
		}
		return nil, e
	}
	next := func(sent time.Time) version { return version{rand.Text(), sent} }
	return &Source{cfg: cfg, name: rand.Text()[:8], key: []byte(rand.Text()), next: next}, nil
}

// Format implements fmt.Formatter, for every verb alike.
func (s *Source) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "lab(%s)", s.cfg.Type) }

// Varies implements freshet.Varier. AWS keys are of a tenant, an account as it were, and have neither scopes nor audience.
func (s *Source) Varies() freshet.Fields {
	if s.cfg.Type == typeAWS {
		return freshet.FieldTenant
	}
	return freshet.FieldTenant | freshet.FieldScopes | freshet.FieldAudience
}

// Target implements freshet.Targeter: each source is an issuer of its own, with a name that says nothing of its key.
func (s *Source) Target(req freshet.Request) freshet.Target {
	return freshet.Target{Host: "lab", Tenant: req.Tenant, Client: s.name}
}

// Retrieve implements freshet.Source.
func (s *Source) Retrieve(ctx context.Context, req freshet.Request) (*freshet.Credential, error) {
	v := freshet.Validity{Sent: freshet.Now(), Lifetime: time.Duration(s.cfg.lifetime()), RefreshIn: time.Duration(s.cfg.RefreshIn)}
	timer := time.NewTimer(time.Duration(s.cfg.Latency))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return nil, freshet.AsError(err)
	}
	one := s.next(v.Sent.Wall())
	if s.cfg.Type == typeAWS {
		return s.keys(one, req, v)
	}
	return s.bearer(one, req, v)
}

func (s *Source) bearer(one version, req freshet.Request, v freshet.Validity) (*freshet.Credential, error) {
	scopes := slices.Clone(req.Scopes)
	slices.Sort(scopes)
	payload, err := json.Marshal(struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Tenant   string `json:"tid,omitempty"`
		Scope    string `json:"scope,omitempty"`
		Audience string `json:"aud,omitempty"`
		IssuedAt int64  `json:"iat"`
		Expires  int64  `json:"exp"`
		ID       string `json:"jti"`
	}{
		"lab", "freshet", req.Tenant, strings.Join(slices.Compact(scopes), " "), req.Audience,
		// In whole seconds, and never before the end that is promised.
		one.made.Unix(), one.made.Add(v.Lifetime + time.Second - 1).Unix(), one.serial,
	})
	if err != nil {
		return nil, freshet.Errorf(freshet.Bug, "token: claims cannot be written")
	}
	encode := base64.RawURLEncoding.EncodeToString
	token := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(payload)
	return freshet.NewBearer(token+"."+encode(s.mac("token", token)), "", v)
}

func (s *Source) keys(one version, req freshet.Request, v freshet.Validity) (*freshet.Credential, error) {
	return freshet.NewAWS(freshet.AWSKeys{
		AccessKeyID:     "ASIA" + one.serial[:16],
		SecretAccessKey: freshet.Secret(base64.StdEncoding.EncodeToString(s.mac("secret", one.serial))[:40]),
		SessionToken:    freshet.Secret(base64.StdEncoding.EncodeToString(s.mac("session", one.serial+req.Tenant))),
	}, v)
}

func (s *Source) mac(use, of string) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write([]byte(use + "\x00" + of))
	return m.Sum(nil)
}
