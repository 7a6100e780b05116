package awsprofile

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sso"

	"freshet.dev/freshet"
	"freshet.dev/internal/awsapi"
	"freshet.dev/internal/field"
)

// ssoComplete checks that an SSO profile has all it needs.
func ssoComplete(p *config.SharedConfig, region, startURL string) error {
	for _, s := range []struct{ name, value string }{
		{"sso_start_url", startURL}, {"sso_region", region}, {"sso_account_id", p.SSOAccountID}, {"sso_role_name", p.SSORoleName},
	} {
		if s.value == "" {
			return freshet.Errorf(freshet.Invalid, "%s: SSO without %s", label(p.Profile), s.name).
				WithHint("aws configure sso --profile %s completes it", quote(p.Profile))
		}
	}
	if err := field.Region("sso_region", region); err != nil {
		return refusal(p, err)
	}
	return nil
}

// sso asks the portal for the keys of a profile's account and role.
func (c *chain) sso(ctx context.Context, p *config.SharedConfig) (*freshet.Credential, error) {
	endpoint, err := c.endpoint("sso")
	if err != nil {
		return nil, awsapi.Invalid(err)
	}
	token, err := c.ssoToken(p)
	if err != nil {
		return nil, err
	}
	region := p.SSORegion
	if p.SSOSession != nil {
		region = p.SSOSession.SSORegion
	}
	o := sso.Options{Region: region, HTTPClient: awsapi.HTTP(c.client), Retryer: aws.NopRetryer{}}
	if endpoint != "" {
		o.BaseEndpoint = &endpoint
	}
	if c.fips {
		o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
	}
	if c.dualStack {
		o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
	}
	return portal(ctx, sso.New(o), token, p)
}

// portal makes the request and reads the answer.
func portal(ctx context.Context, client *sso.Client, token string, p *config.SharedConfig) (*freshet.Credential, error) {
	sent := freshet.Now()
	out, err := client.GetRoleCredentials(ctx, &sso.GetRoleCredentialsInput{
		AccessToken: &token, AccountId: &p.SSOAccountID, RoleName: &p.SSORoleName,
	})
	if err != nil {
		e := awsapi.Failure(ctx, "sso", awsapi.Hints{
			"":                          "check sso_region, and endpoint_url where the profile has one",
			"ForbiddenException":        "the user must be assigned this role in this account: check sso_account_id and sso_role_name",
			"ResourceNotFoundException": "check sso_account_id and sso_role_name",
			"InvalidRequestException":   "check sso_account_id and sso_role_name",
		}, err)
		if e.Kind == freshet.Denied && (awsapi.Code(err) == "UnauthorizedException" || awsapi.Status(err) == http.StatusUnauthorized) {
			e.Kind, e.Hint = freshet.LoginNeeded, ssoLogin(p)
		}
		return nil, e
	}
	r := out.RoleCredentials
	switch {
	case r == nil:
		return nil, freshet.Errorf(freshet.Malformed, "sso: answer has no credentials")
	case aws.ToString(r.AccessKeyId) == "", aws.ToString(r.SecretAccessKey) == "", aws.ToString(r.SessionToken) == "":
		return nil, freshet.Errorf(freshet.Malformed, "sso: answer has only a part of the credentials")
	case r.Expiration <= 0:
		return nil, freshet.Errorf(freshet.Malformed, "sso: answer does not say when the credentials expire")
	}
	cred, err := freshet.NewAWS(freshet.AWSKeys{
		AccessKeyID: *r.AccessKeyId, SecretAccessKey: freshet.Secret(*r.SecretAccessKey), SessionToken: freshet.Secret(*r.SessionToken),
		AccountID: p.SSOAccountID,
	}, freshet.Validity{Sent: sent, Date: awsapi.Date(out.ResultMetadata), Expires: time.UnixMilli(r.Expiration)})
	if err != nil {
		return nil, awsapi.Within("sso", err)
	}
	return cred, nil
}

// ssoToken is the token that aws sso login cached. Only the two members that are needed are read, and nothing is written.
func (c *chain) ssoToken(p *config.SharedConfig) (string, error) {
	path := c.places.ssoFile(ssoKey(p))
	needed := func(why string) error {
		return &freshet.Error{Kind: freshet.LoginNeeded, Why: why, Hint: ssoLogin(p)}
	}
	b, err := read(path)
	if err != nil {
		return "", err
	}
	if b == nil {
		return "", needed("no SSO login")
	}
	var cached struct {
		AccessToken string `json:"accessToken"`
		ExpiresAt   string `json:"expiresAt"`
	}
	// net/http sends no header with a line break in it, and would fail for a reason that no login seems to cure.
	unfit := func(r rune) bool { return r <= ' ' || r >= 0x7f }
	if json.Unmarshal(b, &cached) != nil || cached.AccessToken == "" || strings.ContainsFunc(cached.AccessToken, unfit) {
		return "", needed(path + ": holds no SSO token")
	}
	// Early versions of aws wrote 2020-01-02T03:04:05UTC.
	expires, err := time.Parse(time.RFC3339, strings.Replace(cached.ExpiresAt, "UTC", "Z", 1))
	switch {
	case err != nil:
		return "", needed(path + ": does not say when its SSO token expires")
	case !freshet.Now().Wall().Before(expires):
		return "", needed("the SSO login has expired")
	}
	return cached.AccessToken, nil
}

// ssoLogin is the command that a person has to run.
func ssoLogin(p *config.SharedConfig) string {
	if p.SSOSession != nil {
		return "run aws sso login --sso-session " + quote(p.SSOSession.Name)
	}
	return "run aws sso login --profile " + quote(p.Profile)
}
