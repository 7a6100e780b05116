// Package awsrole is a source of AWS keys that STS gives for other AWS keys (aws-role in a configuration): AssumeRole of AWS
// STS, and of MinIO and others that speak it.
//
//	POST / HTTP/1.1
//	Content-Type: application/x-www-form-urlencoded
//	X-Amz-Date: 20260102T030405Z
//	X-Amz-Security-Token: …
//	Authorization: AWS4-HMAC-SHA256 Credential=AKID/20260102/REGION/sts/aws4_request, SignedHeaders=…, Signature=…
//
//	Action=AssumeRole&Version=2011-06-15&RoleArn=…&RoleSessionName=…
//	[&DurationSeconds=…][&ExternalId=…][&Policy=…][&PolicyArns.member.N.arn=…][&Tags.member.N.Key=…&Tags.member.N.Value=…]
//	[&SourceIdentity=…]
//
// It is signed with the keys of the input (AWS Signature Version 4), whose session token goes along where they have one. The
// answer is XML:
//
//	<AssumeRoleResponse><AssumeRoleResult>
//	  <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/NAME/SESSION</Arn></AssumedRoleUser>
//	  <Credentials><AccessKeyId/><SecretAccessKey/><SessionToken/><Expiration>2026-01-02T03:04:05Z</Expiration></Credentials>
//	</AssumeRoleResult></AssumeRoleResponse>
//
// or <ErrorResponse><Error><Code>AccessDenied</Code><Message>…</Message></Error></ErrorResponse>, whose code becomes public
// and whose message does not.
//
// It is spoken by the SDK's own STS client, made as package awsapi says: no environment, profile or metadata service has a say,
// and nothing is retried.
//
// Without a duration none is sent, and STS gives an hour. That is also the most it gives where the keys of the input are a
// role's themselves, whatever is asked for.
package awsrole

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"freshet.dev/freshet"
	"freshet.dev/internal/awsapi"
	"freshet.dev/internal/fetch"
)

// Source exchanges AWS keys for a role's. It is safe for concurrent use.
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
func (s *Source) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "aws-role(%s)", s.cfg.RoleARN) }

// Needs implements freshet.Deriver. Cached keys will do: a session that was made with them outlives them. They only have to be
// alive, which the engine sees to: an input that is due is replaced first.
func (s *Source) Needs(freshet.Request) freshet.Need { return freshet.Need{} }

// Target implements freshet.Targeter: the STS, and the role's account.
func (s *Source) Target(freshet.Request) freshet.Target { return s.target }

// Retrieve implements freshet.Source: one request.
func (s *Source) Retrieve(ctx context.Context, req freshet.Request) (*freshet.Credential, error) {
	if req.Input == nil || req.Input.Type() != freshet.AWS {
		return nil, freshet.Errorf(freshet.Invalid, "its input is no AWS keys").
			WithHint("from: must name an identity whose credential is AWS keys, such as an aws-profile")
	}
	return awsapi.AssumeRole(ctx, s.client, req.Input, s.input(freshet.Ancestry(ctx)))
}

// input is what STS is asked. ancestry ends with the identity that this source is of.
func (s *Source) input(ancestry []string) *sts.AssumeRoleInput {
	c := &s.cfg
	in := &sts.AssumeRoleInput{RoleArn: &c.RoleARN, RoleSessionName: &c.SessionName, DurationSeconds: awsapi.Seconds(c.Duration)}
	if c.SessionName == "" {
		in.RoleSessionName = aws.String(awsapi.SessionName(ancestry))
	}
	if c.ExternalID != "" {
		in.ExternalId = &c.ExternalID
	}
	if c.Policy != "" {
		in.Policy = &c.Policy
	}
	for i := range c.PolicyARNs {
		in.PolicyArns = append(in.PolicyArns, types.PolicyDescriptorType{Arn: &c.PolicyARNs[i]})
	}
	for _, key := range slices.Sorted(maps.Keys(c.Tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(c.Tags[key])})
	}
	if c.SourceIdentity != "" {
		in.SourceIdentity = &c.SourceIdentity
	}
	return in
}
