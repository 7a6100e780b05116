package aws

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"freshet.dev/freshet"
)

// failure is a provider's error as freshet has it. Its text, which may quote what it pleases, becomes the cause; an AWS error
// code, which every API error has (smithy.APIError), is public.
func failure(err error) error {
	if nested, ok := errors.AsType[*freshet.Error](err); ok {
		return &freshet.Error{Kind: nested.Kind, Why: nested.Error(), Hint: nested.Hint, RetryAfter: nested.RetryAfter, Cause: err}
	}
	e := &freshet.Error{Kind: freshet.Unavailable, Why: fmt.Sprintf("provider failed with a %T", err), Cause: err}
	if api, ok := errors.AsType[apiError](err); ok {
		e.Kind = kind(api.ErrorCode())
		if code := api.ErrorCode(); code != "" && plain(code) {
			e.Why = "provider failed: " + code
		}
	}
	return e
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
		"AccessDenied", "AccessDeniedException", "InvalidClientTokenId", "InvalidAccessKeyId", "SignatureDoesNotMatch",
		"UnrecognizedClientException", "InvalidIdentityToken", "IDPRejectedClaim", "RegionDisabledException",
	}
	// Of what the provider itself logs in with.
	expired = []string{"ExpiredToken", "ExpiredTokenException", "UnauthorizedException", "InvalidGrantException"}
)

// plain reports whether a code looks like one: short, of letters, digits and dots.
func plain(code string) bool {
	return len(code) <= 64 && !strings.ContainsFunc(code, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '.' && r != '_'
	})
}
