// Package awswebidentity is a source of AWS keys that STS gives for a token of another issuer (aws-web-identity in a
// configuration): AssumeRoleWithWebIdentity of AWS STS, and of MinIO and others that speak it.
//
//	POST / HTTP/1.1
//	Content-Type: application/x-www-form-urlencoded
//
//	Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=…&RoleSessionName=…&WebIdentityToken=…
//	[&DurationSeconds=…][&Policy=…]
//
// The request is not signed: the token is what proves the caller. The answer is XML:
//
//	<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>
//	  <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/NAME/SESSION</Arn></AssumedRoleUser>
//	  <Credentials><AccessKeyId/><SecretAccessKey/><SessionToken/><Expiration>2026-01-02T03:04:05Z</Expiration></Credentials>
//	</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>
//
// or <ErrorResponse><Error><Code>AccessDenied</Code><Message>…</Message></Error></ErrorResponse>, whose code becomes public
// and whose message, which quotes the token's claims, does not.
//
// It is spoken by the SDK's own STS client, made as package awsapi says: no environment, profile or metadata service has a say,
// and nothing is retried.
//
// Without a duration none is sent, and STS decides: AWS gives an hour, MinIO ends the keys with the token.
package awswebidentity

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"freshet.dev/freshet"
	"freshet.dev/internal/awsapi"
	"freshet.dev/internal/fetch"
)

// Source exchanges a token for AWS keys. It is safe for concurrent use.
type Source struct {
	cfg    Config
	client *sts.Client
	target freshet.Target
}

// New returns a source. Errors are of kind Invalid.
func New(cfg Config) (*Source, error) {
	if err := cfg.Check(); err != nil {
		return nil, awsapi.Invalid(err)
	}
	client, err := fetch.New(fetch.Config{CAFile: cfg.CAFile})
	if err != nil {
		return nil, err
	}
	place := awsapi.Place{Region: cfg.Region, Endpoint: cfg.Endpoint}
	return &Source{cfg: cfg, client: place.STS(client), target: place.STSTarget(cfg.RoleARN)}, nil
}

// Format implements fmt.Formatter, for every verb alike.
func (s *Source) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "aws-web-identity(%s)", s.cfg.RoleARN) }

// Needs implements freshet.Deriver. A cached token will do: STS checks a web identity token's signature, audience and expiry,
// and keeps no list of those it has seen, so one token may be exchanged any number of times. It only has to be alive, which
// the engine sees to: an input that is due is replaced first, so that keys whose life ends with the token's are not born short.
func (s *Source) Needs(freshet.Request) freshet.Need { return freshet.Need{} }

// Target implements freshet.Targeter: the STS, and the role's account.
func (s *Source) Target(freshet.Request) freshet.Target { return s.target }

// Retrieve implements freshet.Source.
func (s *Source) Retrieve(ctx context.Context, req freshet.Request) (*freshet.Credential, error) {
	if req.Input == nil || req.Input.Token() == "" {
		return nil, freshet.Errorf(freshet.Invalid, "its input is no token").
			WithHint("from: must name an identity whose credential is a bearer or ID token")
	}
	input := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          aws.String(s.cfg.RoleARN),
		RoleSessionName:  &s.cfg.SessionName,
		WebIdentityToken: aws.String(req.Input.Token()),
		DurationSeconds:  awsapi.Seconds(s.cfg.Duration),
	}
	if s.cfg.SessionName == "" {
		input.RoleSessionName = aws.String(awsapi.SessionName(freshet.Ancestry(ctx)))
	}
	if s.cfg.Policy != "" {
		input.Policy = aws.String(s.cfg.Policy)
	}
	sent := freshet.Now()
	out, err := s.client.AssumeRoleWithWebIdentity(ctx, input)
	if err != nil {
		return nil, awsapi.Failure(ctx, "sts", hints(), err)
	}
	return awsapi.Keys(out.Credentials, out.AssumedRoleUser, sent, out.ResultMetadata)
}

// hints say what to do about what STS refuses.
func hints() awsapi.Hints {
	return awsapi.STSHints().With(awsapi.Hints{
		"AccessDenied":          "the role's trust policy must allow sts:AssumeRoleWithWebIdentity to this token's issuer, aud and sub",
		"InvalidIdentityToken":  "STS must know the token's issuer as an identity provider, by the same URL, with this token's aud among its audiences",
		"IDPRejectedClaim":      "the token's issuer no longer accepts it, or the role's trust policy does not match its claims",
		"IDPCommunicationError": "STS cannot reach the token's issuer, which must be on the internet",
	})
}
