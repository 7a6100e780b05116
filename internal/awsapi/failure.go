package awsapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch"
	"freshet.dev/internal/field"
)

// Hints say what to do: AWS's error code → hint; "" → what to do about an answer that is not the service's.
type Hints map[string]string

// With returns hints that have more in them, which win.
func (h Hints) With(more Hints) Hints {
	all := maps.Clone(h)
	maps.Copy(all, more)
	return all
}

// STSHints are those that hold for whatever STS is asked.
func STSHints() Hints {
	return Hints{
		"":                        "check that endpoint is an STS",
		"RegionDisabledException": "activate STS in this region, or configure another region",
		"PackedPolicyTooLarge":    "shorten policy",
		"MalformedPolicyDocument": "check policy",
		"ValidationError":         "check role_arn, and duration against the role's longest session",
	}
}

// assumeRoleHints are those of AssumeRole.
func assumeRoleHints() Hints {
	return STSHints().With(Hints{
		"AccessDenied": "the keys must be allowed sts:AssumeRole on the role, and the role's trust policy must allow their owner; " +
			"look at its conditions, such as external_id",
		"InvalidClientTokenId":        "STS does not know the access key: it was deleted or deactivated, or belongs to another partition",
		"SignatureDoesNotMatch":       "the secret access key is not this access key's, or this machine's clock is off",
		"RequestExpired":              "check this machine's clock",
		"InvalidParameterCombination": "check policy and tags",
	})
}

// unknownCode is what the SDK says where an answer has none.
const unknownCode = "UnknownError"

// passing are the codes that trying later may help with, beside those of throttling.
var passing = []string{
	"RequestTimeout", "RequestTimeoutException", "IDPCommunicationError", "InternalError", "InternalFailure", "ServiceUnavailable",
}

// throttled reports whether a code says that too much is asked: one of those that the SDK takes for it, or another Throttling.
// AWS sends most of them with status 400.
func throttled(code string) bool {
	_, ok := retry.DefaultThrottleErrorCodes[code]
	return ok || strings.HasPrefix(code, "Throttl")
}

// Code is the error code in a service's answer, as far as it looks like one and so may be shown; else empty.
func Code(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	code := api.ErrorCode()
	if code == unknownCode || len(code) > 64 || !only(code, letters+".") {
		return ""
	}
	return code
}

// Expired reports whether the service says that what authenticated the request had expired.
func Expired(err error) bool {
	code := Code(err)
	return code == "ExpiredTokenException" || code == "ExpiredToken" // MinIO's word
}

// Status is the status of a service's answer; 0 if there was none.
func Status(err error) int {
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && r.Response != nil {
		return r.HTTPStatusCode()
	}
	return 0
}

// Failure turns an error of the SDK into ours. Those print messages and snapshots of bodies, which quote tokens' claims: only
// the code gets out. service is the service's name, in lower case.
func Failure(ctx context.Context, service string, hints Hints, err error) *freshet.Error {
	if ctx.Err() != nil {
		return Within(service, ctx.Err())
	}
	if e, ok := errors.AsType[*freshet.Error](err); ok {
		return e // of our HTTP client
	}
	status, code := Status(err), Code(err)
	e := &freshet.Error{Kind: freshet.Denied, Status: status, Why: text(service, status, code), Hint: hints[code], Cause: err}
	if throttled(code) {
		e.Status = http.StatusTooManyRequests
	}
	switch {
	case e.Status == http.StatusRequestTimeout, e.Status == http.StatusTooManyRequests, e.Status >= 500, slices.Contains(passing, code):
		e.Kind = freshet.Unavailable
		if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && r.Response != nil {
			e.RetryAfter = fetch.RetryAfter(r.Response.Header)
		}
		if code == "" {
			e.Hint = ""
		}
	case Expired(err):
		e.Kind = freshet.Unavailable
		e.Hint = "the input had expired when " + strings.ToUpper(service) + " looked at it: check this machine's clock, and that the input lives long enough"
	case code != "":
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		e.Hint = ""
	case status == 0:
		e.Kind, e.Why, e.Hint = freshet.Bug, service+": request could not be made", ""
	default:
		e.Kind = freshet.Malformed
	}
	return e
}

// text is the public message.
func text(service string, status int, code string) string {
	switch {
	case code != "":
		return service + ": " + code
	case status/100 == 2:
		return service + ": answer is not one of " + strings.ToUpper(service)
	}
	return fmt.Sprintf("%s: answered %d", service, status)
}

// Invalid is an error of settings as one of the library's.
func Invalid(err error) *freshet.Error {
	e := freshet.Errorf(freshet.Invalid, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	if f, ok := errors.AsType[*field.Error](err); ok {
		e.Hint = f.Help
	}
	return e
}
