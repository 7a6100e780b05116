package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"freshet.dev/daemon"
	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/secret"
)

// localSecret is what the callers of a route have to know, and the file that holds it.
type localSecret struct {
	value, path string // both "": the kernel names the callers
	run         *daemon.Run
}

// close removes a file that was made for this process alone.
func (s *localSecret) close() {
	if s.run != nil {
		s.run.Close()
	}
}

// secretFor reads the secret in a file, or makes both. Without a path the file is one of this process's own; a Unix socket goes
// without a secret then.
func secretFor(ctx context.Context, path string, unix bool) (*localSecret, error) {
	switch {
	case path != "":
		path, err := filepath.Abs(path)
		if err != nil {
			return nil, freshet.Errorf(freshet.Invalid, "--secret-file: not a path")
		}
		value, err := keptSecret(ctx, path)
		return &localSecret{value: value, path: path}, err
	case unix:
		return &localSecret{}, nil
	}
	run, err := daemon.NewRun()
	if err != nil {
		return nil, err
	}
	s := &localSecret{value: secret.New(), path: filepath.Join(run.Dir, "secret"), run: run}
	if err := os.WriteFile(s.path, []byte(s.value+"\n"), 0o600); err != nil {
		run.Close()
		return nil, noRunFolder(err)
	}
	return s, nil
}

// keptSecret reads a secret that outlives this process, and makes its file where there is none.
func keptSecret(ctx context.Context, path string) (string, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeSecret(path); err != nil {
			return "", freshet.Errorf(freshet.Invalid, "--secret-file: %w", err).WithHint("name a file in a folder that you may write to")
		}
	}
	value, err := secret.Ref{File: path}.Read(ctx, nil)
	if e, ok := errors.AsType[*field.Error](err); ok {
		refused := freshet.Errorf(freshet.Invalid, "--secret-file: %s", e.Why).WithHint("name another, or remove it: one is made where there is none")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			refused.WithHint("chmod 600 %s, and make another secret if somebody may have read this one", path)
		}
		return "", refused
	}
	if err != nil {
		return "", err
	}
	if len(value) < guard.MinSecret {
		return "", freshet.Errorf(freshet.Invalid, "--secret-file: shorter than %d bytes", guard.MinSecret).
			WithHint("remove it, and one is made: or openssl rand -hex 32 >%s", path)
	}
	return value, nil
}

// makeSecret makes a secret's file. Of several commands that do so at once, one makes it: it is there only when it is whole.
func makeSecret(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".freshet-secret-")
	if err != nil {
		return errors.New(cause(err))
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(secret.New() + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.New(cause(err))
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return errors.New(cause(err))
	}
	return nil
}

// cause is an error of a file without the name of the one that was to become it.
func cause(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}
