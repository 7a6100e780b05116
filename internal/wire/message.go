package wire

import "freshet.dev/freshet"

// Message is a failure as one text, for dialects that have a place for one: why, and what to do about it. SDKs show it to whoever
// can act on it.
func Message(e *freshet.Error) string {
	if e.Hint == "" {
		return e.Error()
	}
	return e.Error() + "; " + e.Hint
}
