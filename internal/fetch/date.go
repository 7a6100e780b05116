package fetch

import (
	"net/http"
	"time"
)

// Date is an issuer's clock when it answered, in whole seconds: the answer's Date (RFC 9110 §6.6.1). It is zero where there is
// none, or where an Age says that a cache on the way kept the answer, and so that the Date is an old one (RFC 9111 §5.1).
func Date(h http.Header) time.Time {
	if len(h.Values("Age")) > 0 {
		return time.Time{}
	}
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return at
}
