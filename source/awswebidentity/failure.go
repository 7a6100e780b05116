package awswebidentity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch"
)

// isCode reports whether s looks like an AWS error code, and so may be shown.
func isCode(s string) bool { return s != "" && len(s) <= 64 && only(s, letters+".") }

// unknownCode is what the SDK says where an answer has none.
const unknownCode = "UnknownError"

// passing are the codes that trying later may help with, beside Throttling and all that starts so.
var passing = []string{
	"RequestLimitExceeded", "TooManyRequestsException", "SlowDown", "RequestTimeout", "RequestTimeoutException",
	"IDPCommunicationError", "InternalError", "InternalFailure", "ServiceUnavailable",
}

// hints say what to do about a code.
var hints = map[string]string{
	"AccessDenied":            "the role's trust policy must allow sts:AssumeRoleWithWebIdentity to this token's issuer, aud and sub",
	"InvalidIdentityToken":    "STS must know the token's issuer as an identity provider, by the same URL, with this token's aud among its audiences",
	"IDPRejectedClaim":        "the token's issuer no longer accepts it, or the role's trust policy does not match its claims",
	"RegionDisabledException": "activate STS in this region, or configure another region",
	"PackedPolicyTooLarge":    "shorten policy",
	"MalformedPolicyDocument": "check policy",
	"ValidationError":         "check role_arn, and duration against the role's longest session",
	"IDPCommunicationError":   "STS cannot reach the token's issuer, which must be on the internet",
}

// failure turns an error of the SDK into ours. Those print messages and snapshots of bodies, which quote the token's claims:
// only the code gets out.
func (s *Source) failure(ctx context.Context, err error) *freshet.Error {
	if ctx.Err() != nil {
		e := *freshet.AsError(ctx.Err())
		e.Why = "sts: " + e.Why
		return &e
	}
	if e, ok := errors.AsType[*freshet.Error](err); ok {
		return e // of our HTTP client
	}
	var status int
	var header http.Header
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && r.Response != nil {
		status, header = r.HTTPStatusCode(), r.Response.Header
	}
	name := ""
	if api := smithy.APIError(nil); errors.As(err, &api) && api.ErrorCode() != unknownCode && isCode(api.ErrorCode()) {
		name = api.ErrorCode()
	}
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500,
		strings.HasPrefix(name, "Throttling"), slices.Contains(passing, name):
		return &freshet.Error{Kind: freshet.Unavailable, Why: text(status, name), Hint: hints[name], RetryAfter: fetch.RetryAfter(header), Cause: err}
	case name == "ExpiredTokenException", name == "ExpiredToken": // MinIO's word
		return &freshet.Error{
			Kind: freshet.Unavailable, Why: text(status, name), Cause: err,
			Hint: "the input had expired when STS looked at it: check this machine's clock, and that the input lives long enough",
		}
	case name != "", status == http.StatusUnauthorized, status == http.StatusForbidden:
		return &freshet.Error{Kind: freshet.Denied, Why: text(status, name), Hint: hints[name], Cause: err}
	case status == 0:
		return &freshet.Error{Kind: freshet.Bug, Why: "sts: request could not be made", Cause: err}
	}
	return &freshet.Error{Kind: freshet.Malformed, Why: text(status, ""), Hint: "check that endpoint is an STS", Cause: err}
}

// text is the public message.
func text(status int, name string) string {
	switch {
	case name != "":
		return "sts: " + name
	case status/100 == 2:
		return "sts: answer is not one of STS"
	}
	return fmt.Sprintf("sts: answered %d", status)
}
