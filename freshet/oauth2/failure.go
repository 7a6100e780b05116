package oauth2

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"freshet.dev/freshet"
	"golang.org/x/oauth2"
)

// failure is a source's error as freshet has it. Its text becomes the cause: that of an oauth2.RetrieveError quotes the body of
// the answer. What the error says by a number or by one of RFC 6749's words is public.
func failure(err error) *freshet.Error {
	if nested, ok := errors.AsType[*freshet.Error](err); ok {
		return &freshet.Error{
			Kind: nested.Kind, Why: nested.Error(), Hint: nested.Hint, RetryAfter: nested.RetryAfter, Status: nested.Status, Cause: err,
		}
	}
	e := &freshet.Error{Kind: freshet.Unavailable, Why: fmt.Sprintf("token source failed with a %T", err), Cause: err}
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return e
	}
	if refused.Response != nil {
		e.Why = fmt.Sprintf("token endpoint answered %d", refused.Response.StatusCode)
		e.Status, e.RetryAfter = refused.Response.StatusCode, retryAfter(refused.Response.Header)
	}
	if kind, ok := kinds[refused.ErrorCode]; ok {
		if e.Status != http.StatusTooManyRequests && e.Status < 500 {
			e.Kind = kind
		}
		e.Why = "token endpoint answered " + refused.ErrorCode
	}
	return e
}

// kinds says what a caller can do about an error code of RFC 6749 §5.2 and §4.1.2.1. Others, and answers without one, may pass.
var kinds = map[string]freshet.Kind{
	"invalid_grant":           freshet.LoginNeeded,
	"invalid_client":          freshet.Denied,
	"unauthorized_client":     freshet.Denied,
	"access_denied":           freshet.Denied,
	"invalid_request":         freshet.Denied,
	"invalid_scope":           freshet.Denied,
	"unsupported_grant_type":  freshet.Denied,
	"server_error":            freshet.Unavailable,
	"temporarily_unavailable": freshet.Unavailable,
}

// maxRetryAfter bounds how long an issuer can silence us: longer is a mistake.
const maxRetryAfter = time.Hour

// retryAfter reads RFC 9110 §10.2.3, at most an hour; 0 where there is none. A date counts from the answer's own Date, so that
// neither clock need be right.
func retryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(text, 10, 31); err == nil || errors.Is(err, strconv.ErrRange) {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	from, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		from = freshet.Now().Wall()
	}
	return min(max(0, at.Sub(from)), maxRetryAfter)
}
