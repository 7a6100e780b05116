package awsprofile

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"freshet.dev/freshet"
	"freshet.dev/internal/awsapi"
	"freshet.dev/internal/fetch"
	"freshet.dev/internal/field"
)

// chain is one retrieval of a profile. As in the SDK, region, endpoints and CA bundle are the profile's own for all that it is
// made from.
type chain struct {
	*Source
	client    *fetch.Client
	region    string
	endpoints endpoints
	fips      bool
	dualStack bool
}

// chain checks that a profile can be resolved, as far as that can be known beforehand.
func (s *Source) chain(p *config.SharedConfig) (*chain, error) {
	c := &chain{
		Source: s, client: s.client,
		region:    first(s.cfg.Region, p.Region),
		endpoints: endpointsOf(p),
		fips:      p.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled,
		dualStack: p.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled,
	}
	if err := c.check(p); err != nil {
		return nil, err
	}
	if p.CustomCABundle != "" {
		if err := absolute(p, "ca_bundle", p.CustomCABundle); err != nil {
			return nil, err
		}
		client, err := fetch.New(fetch.Config{CAFile: p.CustomCABundle})
		if err != nil {
			return nil, freshet.Errorf(freshet.Invalid, "%s: ca_bundle: %s cannot be read, or has no PEM certificate in it", label(p.Profile), p.CustomCABundle)
		}
		c.client = client
	}
	return c, nil
}

// check looks at a profile and those it is made from.
func (c *chain) check(p *config.SharedConfig) error {
	refuse := func(why, hint string) error {
		return &freshet.Error{Kind: freshet.Invalid, Why: label(p.Profile) + ": " + why, Hint: hint}
	}
	switch baseOf(p) {
	case sourceProfile:
		if err := c.check(p.Source); err != nil {
			return err
		}
	case none:
		return refuse("names no credentials", "aws configure --profile "+quote(p.Profile)+" gives it some; freshet does not go on to this machine's own role for it")
	case credentialSource:
		if p.CredentialSource != "Environment" {
			return refuse("credential_source is not supported but for Environment",
				"a machine's role is not a profile's: use source_profile or credential_process in it")
		}
		if _, ok := environment(); !ok {
			return refuse("credential_source is Environment, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set", "set them where freshet starts")
		}
	case webIdentity:
		if err := absolute(p, "web_identity_token_file", p.WebIdentityTokenFile); err != nil {
			return err
		}
	case ssoSession:
		if err := ssoComplete(p, p.SSOSession.SSORegion, p.SSOSession.SSOStartURL); err != nil {
			return err
		}
	case ssoLegacy:
		if err := ssoComplete(p, p.SSORegion, p.SSOStartURL); err != nil {
			return err
		}
	}
	if p.RoleARN == "" {
		return nil
	}
	if err := awsapi.CheckRole("role_arn", p.RoleARN); err != nil {
		return refuse(err.Error(), awsapi.Invalid(err).Hint)
	}
	if d := p.RoleDurationSeconds; d != nil {
		if err := awsapi.CheckDuration("duration_seconds", field.Duration(*d)); err != nil || *d == 0 {
			return refuse("duration_seconds is not 900 to 43200", "without it STS gives an hour")
		}
	}
	if err := awsapi.CheckSession("role_session_name", p.RoleSessionName); err != nil {
		return refuse(err.Error(), "")
	}
	if _, err := c.sts(p); err != nil {
		return err
	}
	if p.MFASerial != "" && baseOf(p) != webIdentity {
		return &freshet.Error{
			Kind: freshet.LoginNeeded,
			Why:  label(p.Profile) + ": its mfa_serial asks for a code, and freshet cannot ask for one",
			Hint: "put a session's keys in a profile of their own (aws sts get-session-token --serial-number … --token-code …), " +
				"and make that the source_profile of one without mfa_serial",
		}
	}
	return nil
}

func absolute(p *config.SharedConfig, name, path string) error {
	if filepath.IsAbs(path) {
		return nil
	}
	return freshet.Errorf(freshet.Invalid, "%s: %s: not an absolute path", label(p.Profile), name).
		WithHint("what it means would depend on the folder that freshet runs in")
}

// retrieve obtains a profile's credential: that of its base, and then its role's.
func (c *chain) retrieve(ctx context.Context, p *config.SharedConfig) (*freshet.Credential, error) {
	base := baseOf(p)
	if base == sourceProfile {
		cred, err := c.retrieve(ctx, p.Source)
		if err != nil {
			return nil, err
		}
		return c.assume(ctx, p, cred)
	}
	cred, err := c.obtain(ctx, p, base)
	if err != nil {
		return nil, awsapi.Within(label(p.Profile), err)
	}
	if base == webIdentity {
		return cred, nil // it is the role's
	}
	return c.assume(ctx, p, cred)
}

func (c *chain) obtain(ctx context.Context, p *config.SharedConfig, base base) (*freshet.Credential, error) {
	switch base {
	case static:
		return longTerm(p.Credentials)
	case credentialSource:
		keys, _ := environment()
		return longTerm(keys)
	case webIdentity:
		return c.webIdentity(ctx, p)
	case ssoSession, ssoLegacy:
		return c.sso(ctx, p)
	case loginSession:
		return c.login(p)
	case credentialProcess:
		return c.process(ctx, p)
	}
	return nil, freshet.Errorf(freshet.Bug, "names no credentials")
}

// longTerm is keys that stand somewhere, and do not say when they expire.
func longTerm(k aws.Credentials) (*freshet.Credential, error) {
	return freshet.NewAWS(keys(k), freshet.Validity{Static: true, RefreshIn: reread})
}

func keys(k aws.Credentials) freshet.AWSKeys {
	return freshet.AWSKeys{
		AccessKeyID: k.AccessKeyID, SecretAccessKey: freshet.Secret(k.SecretAccessKey), SessionToken: freshet.Secret(k.SessionToken),
		AccountID: k.AccountID,
	}
}

// environment is the keys in freshet's own environment.
func environment() (aws.Credentials, bool) {
	k := aws.Credentials{
		AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken: os.Getenv("AWS_SESSION_TOKEN"), AccountID: os.Getenv("AWS_ACCOUNT_ID"),
	}
	return k, k.HasKeys()
}

// assume is the credential of a profile's role, or cred if it names none.
func (c *chain) assume(ctx context.Context, p *config.SharedConfig, cred *freshet.Credential) (*freshet.Credential, error) {
	if p.RoleARN == "" {
		return cred, nil
	}
	client, err := c.sts(p)
	if err != nil {
		return nil, err
	}
	in := &sts.AssumeRoleInput{RoleArn: &p.RoleARN, RoleSessionName: aws.String(sessionName(ctx, p))}
	if p.ExternalID != "" {
		in.ExternalId = &p.ExternalID
	}
	if d := p.RoleDurationSeconds; d != nil { // without it aws too sends none; the SDK sends 15 minutes
		in.DurationSeconds = aws.Int32(int32(*d / time.Second))
	}
	role, err := awsapi.AssumeRole(ctx, client, cred, in)
	if err != nil {
		return nil, awsapi.Within(label(p.Profile), err)
	}
	return role, nil
}

func sessionName(ctx context.Context, p *config.SharedConfig) string {
	return first(p.RoleSessionName, awsapi.SessionName(freshet.Ancestry(ctx)))
}
