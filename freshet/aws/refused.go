package aws

import (
	"context"
	"errors"
	"slices"
	"strings"

	"freshet.dev/freshet"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// ReplaceRefused has clients reject what a service refuses, for aws.Config.APIOptions:
//
//	provider := freshetaws.Wrap(cfg.Credentials)
//	cfg.Credentials = provider
//	cfg.APIOptions = append(cfg.APIOptions, provider.ReplaceRefused)
//
// An attempt that a service answers with one of the codes that [Provider.Reject] names has its credentials rejected, and is made
// once more with others, whatever the client's retries are. The service's answer stands where there are none to be had now, or
// the request's body cannot be sent again. Of requests with credentials that are not this provider's it takes no notice. The SDK
// does none of this by itself: its retries go on with refused credentials until they expire.
func (p *Provider) ReplaceRefused(stack *middleware.Stack) error {
	const auth = "ResolveAuthScheme" // the first step of an attempt; those after it get the credentials and sign with them
	if _, ok := stack.Finalize.Get(auth); !ok {
		return nil // a client that does not sign, such as that of the instance's metadata
	}
	if err := stack.Finalize.Insert(replacing{p.s}, auth, middleware.Before); err != nil {
		return err
	}
	return stack.Finalize.Add(signed{}, middleware.After)
}

// refusals are the codes of services that say that the credentials themselves are bad.
var refusals = []string{
	"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException",
}

// replacing is the step around an attempt.
type replacing struct{ s *state }

func (r replacing) ID() string {
	return "freshet: replace refused credentials of " + r.s.identity.String()
}

func (r replacing) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	middleware.FinalizeOutput, middleware.Metadata, error,
) {
	var again *smithyhttp.Request
	if req, ok := in.Request.(*smithyhttp.Request); ok {
		again = req.Clone() // what comes after signs it in place
	}
	used, ok := middleware.GetStackValue(ctx, usedKeys{}).(*usedKeys)
	if !ok {
		used = &usedKeys{}
		ctx = middleware.WithStackValue(ctx, usedKeys{}, used)
	}
	out, meta, err := next.HandleFinalize(ctx, in)
	refused := r.reject(used, err)
	if refused == "" || again == nil || again.RewindStream() != nil {
		return out, meta, err
	}
	if _, missing := r.s.identity.Get(impatient{ctx}, freshet.Request{Rejected: refused}); missing != nil {
		return out, meta, err
	}
	in.Request = again
	out, meta, err = next.HandleFinalize(ctx, in)
	r.reject(used, err)
	return out, meta, err
}

// reject rejects the keys that an attempt used, if they are this provider's and that is what its error says, and returns their
// fingerprint; else "".
func (r replacing) reject(used *usedKeys, err error) string {
	api, ok := errors.AsType[apiError](err)
	if !ok || !slices.Contains(refusals, api.ErrorCode()) {
		return ""
	}
	refused := r.s.source.known(used.id, used.session)
	r.s.identity.Reject(refused)
	return refused
}

// usedKeys are those that the latest attempt was signed with. It is its own key in a stack's values.
type usedKeys struct{ id, session string }

// signed is the last step before a request is sent. Steps before it may have replaced what the first was given.
type signed struct{}

func (signed) ID() string { return "freshet: credentials that signed" }

func (signed) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	middleware.FinalizeOutput, middleware.Metadata, error,
) {
	used, _ := middleware.GetStackValue(ctx, usedKeys{}).(*usedKeys)
	if req, ok := in.Request.(*smithyhttp.Request); ok && used != nil {
		// Authorization: AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=…
		_, rest, _ := strings.Cut(req.Header.Get("Authorization"), "Credential=")
		id, _, _ := strings.Cut(rest, "/")
		*used = usedKeys{id: id, session: req.Header.Get("X-Amz-Security-Token")}
	}
	return next.HandleFinalize(ctx, in)
}
