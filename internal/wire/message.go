package wire

import (
	"fmt"
	"time"

	"freshet.dev/freshet"
)

// worthTelling is the least time until another attempt that a person is told of.
const worthTelling = 5 * time.Second

// Message is a failure as one text, for dialects that have a place for one: why, what to do about it, and when to come again. SDKs
// show it to whoever can act on it.
func Message(e *freshet.Error) string {
	text := e.Error()
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	if e.Kind == freshet.Unavailable && e.RetryAfter >= worthTelling {
		text += fmt.Sprintf("; try again in %v", e.RetryAfter.Round(time.Second))
	}
	return text
}
