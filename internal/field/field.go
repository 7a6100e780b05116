// Package field has what settings are made of: scalar types that a configuration file writes as text, checks that
// several leaves need, and the error by which a leaf names the setting at fault. It lets leaves describe their settings
// without importing config, which puts file, line and column before what they say.
package field

// Error says what is wrong with one setting. A Config's Check returns one, or several joined by errors.Join.
// Neither text may hold the setting's value: it may be a secret in the wrong place.
type Error struct {
	Field string // the key as written in the file, "a.b" for one inside another; empty for the settings as a whole
	Why   string // lowercase, without a full stop
	Help  string // what to do about it, if that is not plain from Why
	Cause error  // what errors.Is and errors.As see behind it; no part of the text
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Why
	}
	return e.Field + ": " + e.Why
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Hint says what to do, or nothing.
func (e *Error) Hint() string { return e.Help }

// Scalar is a type that a file writes as one piece of text. Config decodes any setting whose pointer has these methods,
// so a leaf can bring its own.
type Scalar interface {
	// UnmarshalText sets the value. Its error is not printed, as it may quote the text; Form says what was wanted.
	UnmarshalText(text []byte) error
	// Form describes the text: in words ("a duration such as 60s or 1h"), and as a regular expression for the JSON
	// schema, where one can be given.
	Form() (words, pattern string)
	// String gives back text that UnmarshalText reads as the same value.
	String() string
}
