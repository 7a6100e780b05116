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
// It is spoken by the SDK's own STS client, made without any of the SDK's ways to find settings: no environment, profile or
// metadata service has a say. Its retries are off, since the engine's are the only ones, and its HTTP client is ours.
//
// Without a duration none is sent, and STS decides: AWS gives an hour, MinIO ends the keys with the token.
package awswebidentity

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch"
)

// Source exchanges a token for AWS keys. It is safe for concurrent use.
type Source struct {
	cfg    Config
	client *sts.Client
}

// New returns a source. Errors are of kind Invalid.
func New(cfg Config) (*Source, error) {
	if err := cfg.Check(); err != nil {
		return nil, invalid(err)
	}
	client, err := fetch.New(fetch.Config{CAFile: cfg.CAFile})
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1" // with an endpoint of one's own it is only a name
	}
	if cfg.SessionName == "" {
		cfg.SessionName = "freshet"
	}
	options := sts.Options{
		Region:      cfg.Region,
		HTTPClient:  whole{client},
		Credentials: aws.AnonymousCredentials{},
		Retryer:     aws.NopRetryer{},
	}
	if cfg.Endpoint != "" {
		options.BaseEndpoint = aws.String(cfg.Endpoint)
	}
	return &Source{cfg: cfg, client: sts.New(options)}, nil
}

// Format implements fmt.Formatter, for every verb alike.
func (s *Source) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "aws-web-identity(%s)", s.cfg.RoleARN) }

// Needs implements freshet.Deriver. A cached token will do: STS checks a web identity token's signature, audience and expiry,
// and keeps no list of those it has seen, so one token may be exchanged any number of times. It only has to be alive, which
// the engine sees to: an input that is due is replaced first, so that keys whose life ends with the token's are not born short.
func (s *Source) Needs(freshet.Request) freshet.Need { return freshet.Need{} }

// Retrieve implements freshet.Source.
func (s *Source) Retrieve(ctx context.Context, req freshet.Request) (*freshet.Credential, error) {
	if req.Input == nil || req.Input.Token() == "" {
		return nil, freshet.Errorf(freshet.Invalid, "its input is no token").
			WithHint("from: must name an identity whose credential is a bearer or ID token")
	}
	input := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          aws.String(s.cfg.RoleARN),
		RoleSessionName:  aws.String(s.cfg.SessionName),
		WebIdentityToken: aws.String(req.Input.Token()),
	}
	if s.cfg.Duration != 0 {
		input.DurationSeconds = aws.Int32(s.cfg.seconds())
	}
	if s.cfg.Policy != "" {
		input.Policy = aws.String(s.cfg.Policy)
	}
	sent := freshet.Now()
	out, err := s.client.AssumeRoleWithWebIdentity(ctx, input)
	if err != nil {
		return nil, s.failure(ctx, err)
	}
	return credential(out, sent)
}

// credential is what STS answered. Its Expiration counts as it is given: STS ends the keys at that instant, whatever duration
// was asked for.
func credential(out *sts.AssumeRoleWithWebIdentityOutput, sent freshet.Instant) (*freshet.Credential, error) {
	c := out.Credentials
	switch {
	case c == nil:
		return nil, freshet.Errorf(freshet.Malformed, "sts: answer has no credentials")
	case aws.ToString(c.AccessKeyId) == "", aws.ToString(c.SecretAccessKey) == "", aws.ToString(c.SessionToken) == "":
		return nil, freshet.Errorf(freshet.Malformed, "sts: answer has only a part of the credentials")
	case c.Expiration == nil:
		return nil, freshet.Errorf(freshet.Malformed, "sts: answer does not say when the credentials expire")
	}
	keys := freshet.AWSKeys{
		AccessKeyID:     *c.AccessKeyId,
		SecretAccessKey: freshet.Secret(*c.SecretAccessKey),
		SessionToken:    freshet.Secret(*c.SessionToken),
	}
	if out.AssumedRoleUser != nil {
		keys.AccountID = account(aws.ToString(out.AssumedRoleUser.Arn))
	}
	cred, err := freshet.NewAWS(keys, freshet.Validity{Sent: sent, Expires: *c.Expiration})
	if err != nil {
		e := *freshet.AsError(err)
		e.Why = "sts: " + e.Why
		return nil, &e
	}
	return cred, nil
}

// whole reads every answer to its end before the SDK sees it. The SDK closes a request's body as soon as the answer's header is
// there; where net/http has not finished with that body yet, as with a server on this machine, it then closes the connection,
// and what had not been read of the answer is lost.
type whole struct{ client *fetch.Client }

func (w whole) Do(req *http.Request) (*http.Response, error) {
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
