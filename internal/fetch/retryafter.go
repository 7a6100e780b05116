package fetch

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"freshet.dev/freshet"
)

// maxRetryAfter bounds how long an issuer can silence us: longer is a mistake, or an attack on everybody behind us.
const maxRetryAfter = time.Hour

// RetryAfter is how long an answer asks to be left alone, by its Retry-After header (RFC 9110 §10.2.3), at most an hour; 0 if it
// does not say. A date counts from the answer's own [Date], so that neither clock need be right.
func RetryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 32)
		if err != nil { // all digits: it is out of range
			return maxRetryAfter
		}
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	from := Date(h)
	if from.IsZero() {
		from = freshet.Now().Wall()
	}
	return min(max(0, at.Sub(from)), maxRetryAfter)
}
