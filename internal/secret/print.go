package secret

import "path/filepath"

// String names the place and nothing else: env:NAME, file:PATH, command:PROGRAM.
func (r Ref) String() string {
	switch {
	case r.Env != "":
		return "env:" + r.variable()
	case filepath.IsAbs(r.File):
		return "file:" + r.File
	case r.File != "":
		return "file:…" // it is no path
	case len(r.Command) > 0:
		return "command:" + r.Command[0] // arguments may hold anything
	}
	return "none"
}

// GoString is String, so that %#v shows no more.
func (r Ref) GoString() string { return "secret.Ref(" + r.String() + ")" }

// MarshalText is String, for JSON and slog.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }
