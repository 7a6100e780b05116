// Package builtin is where every source, endpoint, format and signer is named, and the only importer of their packages. Adding one is
// a folder and a row here.
package builtin

import (
	"context"
	"net/http"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/guard"
)

// Source is a kind of source that an identity can name.
type Source struct {
	Name string
	// Config returns a pointer to the zero value of its settings.
	Config func() any
	// New makes a source of settings that came from Config and were checked. run is the process's one runner of children.
	New func(settings any, run *child.Runner) (freshet.Source, error)
	// Type is what its credentials consist of; "" where that is known only once it has answered.
	Type freshet.Type
	// Azure tells that its tokens are Microsoft Entra's, which Azure's SDKs ask for by resource.
	Azure bool
	// Warn says what settings may do that their author may not want; nil or "" for nothing.
	Warn func(settings any) string
}

// Door hands out credentials of the identities that an endpoint was granted.
type Door interface {
	Get(ctx context.Context, identity string, req freshet.Request) (freshet.Answer, error)
	Names() []string
}

// Endpoint is a dialect that a server can speak.
type Endpoint struct {
	Name   string
	Config func() any
	// Path is the one path it answers.
	Path string
	// Type is what it can carry.
	Type freshet.Type
	// Azure tells that a session opens it for the identities of such sources, and no other for them. Whoever configures an
	// endpoint knows what it is for.
	Azure bool
	// Many tells that one handler serves many identities; otherwise it serves one.
	Many bool
	// New makes its handler.
	New func(settings any, door Door, secret guard.Secret) http.Handler
	// Deny answers in its dialect what the guard refuses.
	Deny func(w http.ResponseWriter, status int, why string)
	// Environment is what points a program at it, served at base.
	Environment func(base, secret, identity string) map[string]string
}

// Format is a rendering of a credential on standard output.
type Format struct {
	Name   string
	Render func(freshet.Answer, Rendering) ([]byte, error)
}

// Rendering is what a format may depend on beside the credential.
type Rendering struct {
	Request freshet.Request     // what was asked for
	Getenv  func(string) string // the environment of the program that wants it
}

// source makes a row of a constructor with its own type of settings.
func source[C any, S freshet.Source](name string, typ freshet.Type, construct func(C, *child.Runner) (S, error)) Source {
	return Source{
		Name: name, Type: typ,
		Config: func() any { return new(C) },
		New: func(settings any, run *child.Runner) (freshet.Source, error) {
			return construct(*settings.(*C), run)
		},
	}
}

// find returns the row of a name, or nil.
func find[T any](rows []T, name string, of func(*T) string) *T {
	for i := range rows {
		if of(&rows[i]) == name {
			return &rows[i]
		}
	}
	return nil
}
