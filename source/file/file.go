// Package file is a source of a token that something else keeps in a file: Kubernetes' projected service account tokens, a
// sidecar's, a CI runner's.
//
// The file holds one token and nothing else, with or without a line break at its end, and at most 1 MiB. A JWT (compact JWS,
// RFC 7515 §3.1) lives until its exp; the file's own times mean nothing, as a projected volume is rewritten when the token is
// not. Any other text lives for the configured lifetime, and does not expire without one.
//
// The file is read again a minute after it was, when somebody asks then. Kubelet replaces a token at 80 % of its life, or when
// it is a day old, long before it ends; client-go too re-reads its token file each minute (transport/token_source.go).
//
// A file that others can read is refused unless shared is set, which Kubernetes' volumes need: they are 0644.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch/jwt"
	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
)

// reread is how old what was read may get before the file is looked at again.
const reread = time.Minute

// Config is the settings of one file.
type Config struct {
	Path     string         `yaml:"path" required:"true" format:"path" doc:"file that holds the token: a JWT, or any text without spaces"`
	Shared   bool           `yaml:"shared" doc:"accept a file that others can read, as in Kubernetes' volumes"`
	Lifetime field.Duration `yaml:"lifetime" doc:"how long a token lives from when it was read, unless it is a JWT, which says"`
}

// Check says what is wrong with the settings, as a field error; it does not look at the file.
func (c Config) Check() error {
	switch {
	case c.Path == "":
		return &field.Error{Field: "path", Why: "missing"}
	case !filepath.IsAbs(c.Path):
		return &field.Error{Field: "path", Why: "not an absolute path", Help: "start it with /"}
	}
	return nil
}

// Source reads a file. It is safe for concurrent use.
type Source struct{ cfg Config }

// New returns a source. Errors are of kind Invalid. That there is no file yet is none.
func New(cfg Config) (*Source, error) {
	if err := cfg.Check(); err != nil {
		return nil, freshet.Errorf(freshet.Invalid, "%s", err)
	}
	return &Source{cfg}, nil
}

// Target implements freshet.Targeter: each file is an issuer of its own.
func (s *Source) Target(freshet.Request) freshet.Target { return freshet.Target{Host: s.cfg.Path} }

// Retrieve implements freshet.Source. A read of a file system that hangs cannot be ended; the engine releases its callers.
func (s *Source) Retrieve(ctx context.Context, _ freshet.Request) (*freshet.Credential, error) {
	if err := ctx.Err(); err != nil {
		return nil, freshet.AsError(err)
	}
	read := freshet.Now()
	text, err := secret.Ref{File: s.cfg.Path, Shared: s.cfg.Shared}.Read(ctx, nil)
	if err != nil {
		return nil, s.unread(err)
	}
	text = strings.TrimSpace(text)
	v := freshet.Validity{Sent: read, RefreshIn: reread}
	if exp, ok := jwt.Expiry(text); ok {
		v.Expires = exp
	} else if s.cfg.Lifetime > 0 {
		v.Lifetime = time.Duration(s.cfg.Lifetime)
	} else {
		v.Static = true
	}
	cred, err := freshet.NewBearer(text, "", v)
	if err != nil {
		e := *freshet.AsError(err)
		e.Why = s.cfg.Path + ": " + strings.Replace(e.Why, "answer", "file", 1)
		e.Hint = "look at what writes the file: it holds something else than a token, or has not replaced an old one"
		return nil, &e
	}
	return cred, nil
}

// unread is why the file cannot be read, as one of our errors.
func (s *Source) unread(err error) *freshet.Error {
	e := &freshet.Error{Kind: freshet.Invalid, Why: s.cfg.Path + ": cannot be read", Cause: err}
	if f, ok := errors.AsType[*field.Error](err); ok {
		e.Why, e.Hint = f.Why, f.Help
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind, e.Hint = freshet.Unavailable, "look at what should write the file: it may not have started yet"
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "let the user that freshet runs as read it"
	case strings.HasSuffix(e.Why, " is empty"), strings.HasSuffix(e.Why, " is over 1 MiB"):
		e.Kind, e.Hint = freshet.Malformed, "look at what writes the file"
	case errors.As(err, new(*fs.PathError)): // an I/O error
		e.Kind = freshet.Unavailable
	}
	return e
}

// Format implements fmt.Formatter, for every verb alike.
func (s *Source) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "file(%s)", s.cfg.Path) }
