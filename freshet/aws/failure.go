package aws

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"freshet.dev/freshet"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// failure is a provider's error as freshet has it. Its text, which may quote what it pleases, becomes the cause; an AWS error
// code, which every API error has (smithy.APIError), is public.
func failure(err error) error {
	if nested, ok := errors.AsType[*freshet.Error](err); ok {
		return &freshet.Error{
			Kind: nested.Kind, Why: nested.Error(), Hint: nested.Hint, RetryAfter: nested.RetryAfter, Status: nested.Status, Cause: err,
		}
	}
	e := &freshet.Error{Kind: freshet.Unavailable, Why: fmt.Sprintf("provider failed with a %T", err), Cause: err}
	answered(e, err)
	if api, ok := errors.AsType[apiError](err); ok {
		code := api.ErrorCode()
		e.Kind = kind(code)
		if code != "" && plain(code) {
			e.Why = "provider failed: " + code
		}
		if throttled(code) {
			e.Status = http.StatusTooManyRequests
		}
	}
	if e.Kind == freshet.Unavailable {
		switch e.Status {
		case http.StatusUnauthorized, http.StatusForbidden:
			e.Kind = freshet.Denied
		case 0:
			loginNeeded(e, err)
		}
	}
	return e
}

// answered says what a service answered, if one did.
func answered(e *freshet.Error, err error) {
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && r.Response != nil && r.Response.Response != nil {
		e.Status, e.RetryAfter = r.Response.StatusCode, retryAfter(r.Response.Header)
	} else if s, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int // as endpointcreds' error has it alone
	}](err); ok && r == nil {
		e.Status = s.HTTPStatusCode()
	}
}

// apiError is the part of smithy.APIError that is read here.
type apiError interface {
	error
	ErrorCode() string
}

// kind says what a caller can do about an error code of STS, SSO, IAM or a container's endpoint. A throttle and a fault of the
// service pass.
func kind(code string) freshet.Kind {
	switch {
	case slices.Contains(denied, code):
		return freshet.Denied
	case slices.Contains(expired, code):
		return freshet.LoginNeeded
	}
	return freshet.Unavailable
}

var (
	denied = []string{
		"AccessDenied", "AccessDeniedException", "ForbiddenException", "InvalidClientTokenId", "InvalidAccessKeyId",
		"SignatureDoesNotMatch", "UnrecognizedClientException", "InvalidIdentityToken", "IDPRejectedClaim", "RegionDisabledException",
	}
	// Of what the provider itself logs in with.
	expired = []string{"ExpiredToken", "ExpiredTokenException", "UnauthorizedException", "InvalidGrantException"}
)

// throttled reports whether a code says that too much is asked, which STS does with a status of 400. These are of the SDK's
// retry.DefaultThrottleErrorCodes.
func throttled(code string) bool {
	return strings.HasPrefix(code, "Throttl") || slices.Contains(throttles, code)
}

var throttles = []string{
	"RequestLimitExceeded", "BandwidthLimitExceeded", "RequestThrottled", "RequestThrottledException", "TooManyRequestsException",
	"SlowDown",
}

// logins are what the SDK says of a session that only a person can renew, and the command that does.
var logins = []struct{ says, command string }{
	{"the SSO session has expired or is invalid", "aws sso login"}, // ssocreds.InvalidTokenError
	{"cached SSO token is expired, or not present", "aws sso login"},
	{"failed to read cached SSO token file", "aws sso login"},
	{"please reauthenticate", "aws login"}, // logincreds
}

// loginNeeded finds out whether a login is, which the SDK says in words alone.
func loginNeeded(e *freshet.Error, err error) {
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return // nobody answered
	}
	text := err.Error()
	for _, l := range logins {
		if strings.Contains(text, l.says) {
			e.Kind, e.Hint = freshet.LoginNeeded, "run "+l.command
			e.Why = "login needed: " + e.Hint // shown by the SDK, which knows of no hints
			return
		}
	}
}

// plain reports whether a code looks like one: short, of letters, digits and dots.
func plain(code string) bool {
	return len(code) <= 64 && !strings.ContainsFunc(code, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '.' && r != '_'
	})
}

// maxRetryAfter bounds how long an issuer can silence us: longer is a mistake.
const maxRetryAfter = time.Hour

// retryAfter is how long an answer asks to be left alone, at most an hour; 0 if it does not say. AWS says it in milliseconds
// (x-amz-retry-after, which the SDK's retries read), others by RFC 9110 §10.2.3. A date counts from the answer's own Date, so that
// neither clock need be right.
func retryAfter(h http.Header) time.Duration {
	for _, in := range []struct {
		name string
		unit time.Duration
	}{{"X-Amz-Retry-After", time.Millisecond}, {"Retry-After", time.Second}} {
		n, err := strconv.ParseUint(strings.TrimSpace(h.Get(in.name)), 10, 31)
		if err == nil && n > 0 || errors.Is(err, strconv.ErrRange) {
			return min(time.Duration(n)*in.unit, maxRetryAfter)
		}
	}
	at, err := http.ParseTime(h.Get("Retry-After"))
	if err != nil {
		return 0
	}
	from, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		from = freshet.Now().Wall()
	}
	return min(max(0, at.Sub(from)), maxRetryAfter)
}
