package awsprofile

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"freshet.dev/freshet"
	"freshet.dev/internal/awsapi"
	"freshet.dev/internal/secret"
)

// webIdentity exchanges the token in a profile's web_identity_token_file, which is read anew: who writes it rotates it. The SDK
// does not look at duration_seconds here either.
func (c *chain) webIdentity(ctx context.Context, p *config.SharedConfig) (*freshet.Credential, error) {
	token, err := secret.Ref{File: p.WebIdentityTokenFile, Shared: true}.Read(ctx, nil)
	if err != nil {
		e := awsapi.Invalid(err)
		e.Kind, e.Why, e.Cause = freshet.Unavailable, "web_identity_token_file: "+p.WebIdentityTokenFile+" cannot be read", err
		e.Hint = "look at what should write the file: it may not have started yet"
		return nil, e
	}
	client, err := c.sts(p)
	if err != nil {
		return nil, err
	}
	sent := freshet.Now()
	out, err := client.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &p.RoleARN, RoleSessionName: aws.String(sessionName(ctx, p)), WebIdentityToken: &token,
	})
	if err != nil {
		return nil, awsapi.Failure(ctx, "sts", awsapi.STSHints().With(awsapi.Hints{
			"AccessDenied":         "the role's trust policy must allow sts:AssumeRoleWithWebIdentity to the token's issuer, aud and sub",
			"InvalidIdentityToken": "STS must know the token's issuer as an identity provider, by the same URL, with the token's aud among its audiences",
		}), err)
	}
	return awsapi.Keys(out.Credentials, out.AssumedRoleUser, sent, out.ResultMetadata)
}
