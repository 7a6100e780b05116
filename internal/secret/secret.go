// Package secret is how a setting names a secret without containing it: an environment variable, a file, or a command
// that prints it.
//
//	client_secret: {env: NAME}
//	client_secret: {file: PATH}
//	client_secret: {file: PATH, shared: true}   # a file that others can read, as Kubernetes volumes are
//	client_secret: {command: [pass, show, NAME]}
//
// A Ref holds names alone, and prints fewer than it holds: somebody may have put the secret where its name belongs.
package secret

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"time"

	"freshet.dev/internal/child"
	"freshet.dev/internal/field"
)

const (
	maxBytes = 1 << 20 // the largest secret are keys and certificate chains, of a few KiB
	// commandTime bounds a command beside its context: long enough for a person to touch a hardware key.
	commandTime = time.Minute
)

// Ref names one secret, in exactly one way. The zero value names none.
type Ref struct {
	Env     string   `yaml:"env" doc:"name of the environment variable that holds it"`
	File    string   `yaml:"file" format:"path" doc:"file that holds it; one line break at its end is dropped"`
	Shared  bool     `yaml:"shared" doc:"accept a file that others can read"`
	Command []string `yaml:"command" doc:"program, with its arguments, that prints it; one line break at the end is dropped"`
}

// IsZero reports whether r names no secret at all.
func (r Ref) IsZero() bool {
	return r.Env == "" && r.File == "" && !r.Shared && len(r.Command) == 0
}

// Valid reports whether r names its secret in exactly one way, without looking for it. Like Check and Read it returns
// a *field.Error.
func (r Ref) Valid() error {
	ways := 0
	for _, given := range []bool{r.Env != "", r.File != "", len(r.Command) > 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 0:
		return &field.Error{Why: "names no secret", Help: Forms}
	case ways > 1:
		return &field.Error{Why: "names a secret in more than one way", Help: "keep one of env, file and command"}
	case r.Shared && r.File == "":
		return &field.Error{Field: "shared", Why: "only a file can be shared", Help: "remove it"}
	case strings.ContainsAny(r.Env, "=\x00"):
		return &field.Error{Field: "env", Why: "not the name of a variable", Help: Forms}
	case r.File != "" && !filepath.IsAbs(r.File):
		return &field.Error{Field: "file", Why: "not an absolute path", Help: "start it with / or ~/"}
	case len(r.Command) > 0 && r.Command[0] == "":
		return &field.Error{Field: "command", Why: "names no program"}
	}
	return nil
}

// Forms is what to write where a secret is wanted.
const Forms = "write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"

// Check reports whether the secret is there to be read: the variable is set, the file is one that only we can read. It
// runs no command.
func (r Ref) Check() error {
	if err := r.Valid(); err != nil {
		return err
	}
	if len(r.Command) > 0 {
		return nil
	}
	_, err := r.content()
	return err
}

// Read returns the secret, never empty. Running a command takes a slot of runner and ends with ctx, at the latest after
// a minute. A file or variable is read anew each time.
func (r Ref) Read(ctx context.Context, runner *child.Runner) (string, error) {
	if err := r.Valid(); err != nil {
		return "", err
	}
	if len(r.Command) == 0 {
		return r.content()
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	out, err := runner.Run(ctx, child.Command{Args: r.Command})
	if err != nil {
		return "", &field.Error{Field: "command", Why: err.Error(), Help: "run it in a terminal to see why", Cause: err}
	}
	// A secret command's stderr is not quoted: what it says may be about the very secret.
	value := trim(string(out.Stdout))
	if value == "" {
		return "", &field.Error{Field: "command", Why: "printed nothing", Help: "run it in a terminal to see why"}
	}
	return value, nil
}

// Digest is a hash of the present content of a variable or file, and false for a command and for what cannot be read.
// It tells versions of a configuration apart. It is not to be shown: a person may have chosen the secret, and guesses
// can be tried against its hash.
func (r Ref) Digest() ([sha256.Size]byte, bool) {
	if r.Valid() != nil || len(r.Command) > 0 {
		return [sha256.Size]byte{}, false
	}
	value, err := r.content()
	if err != nil {
		return [sha256.Size]byte{}, false
	}
	return sha256.Sum256([]byte(value)), true
}

// content is the value of a variable or file.
func (r Ref) content() (string, error) {
	if r.File != "" {
		return readFile(r.File, r.Shared)
	}
	value := trim(os.Getenv(r.Env))
	if value == "" {
		return "", &field.Error{Field: "env", Why: r.variable() + " is not set or empty", Help: "set it where freshet starts"}
	}
	return value, nil
}

// variable is Env if it looks like a variable's name. What does not may be the secret itself, put where its name belongs.
func (r Ref) variable() string {
	if len(r.Env) <= 64 && strings.Trim(r.Env, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" {
		return r.Env
	}
	return "the variable"
}

// trim drops one line break at the end, which editors and echo add. Any other white space may be part of the secret.
func trim(value string) string {
	if line, ok := strings.CutSuffix(value, "\n"); ok {
		return strings.TrimSuffix(line, "\r")
	}
	return value
}
