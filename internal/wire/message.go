package wire

import (
	"fmt"
	"net/http"
	"time"

	"freshet.dev/freshet"
)

// TellRetryAfter puts into an answer's header when to come again, for a failure that passes. For one that does not, the SDKs that
// would not try again (azure-core for Python, on a 403) do so if the header tells them when.
func TellRetryAfter(h http.Header, e *freshet.Error) {
	if e.Kind == freshet.Unavailable && e.RetryAfter > 0 {
		h.Set("Retry-After", RetryAfter(e.RetryAfter))
	}
}

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
