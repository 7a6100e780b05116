package awsprofile

import (
	"context"
	"errors"
	"strings"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/config"

	"freshet.dev/freshet"
)

// load reads the profile and those it is made from. The SDK's loader passes over files that it cannot read and lines that it
// does not understand, so they are looked at first.
func (s *Source) load(ctx context.Context) (*config.SharedConfig, error) {
	var names []string
	for _, f := range []struct {
		path        string
		credentials bool
	}{{s.places.config, false}, {s.places.credentials, true}} {
		found, err := scan(f.path, f.credentials)
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	profile, err := s.parse(ctx)
	if err != nil {
		return nil, s.refused(err, names)
	}
	return profile, nil
}

// errUnreadable is for a file that the SDK's reader cannot get through.
var errUnreadable = errors.New("not readable")

func (s *Source) parse(ctx context.Context) (_ *config.SharedConfig, err error) {
	defer func() { // config 1.33 panics at a value that is one quotation mark
		if recover() != nil {
			err = errUnreadable
		}
	}()
	profile, err := config.LoadSharedConfigProfile(ctx, s.cfg.Profile, func(o *config.LoadSharedConfigOptions) {
		o.ConfigFiles, o.CredentialsFiles = []string{s.places.config}, []string{s.places.credentials}
	})
	if err != nil {
		return nil, err
	}
	return &profile, nil
}

// refused is what the SDK says against a profile, as one of our errors. The SDK's text quotes values, so none of it gets out.
func (s *Source) refused(err error, names []string) *freshet.Error {
	e := &freshet.Error{Kind: freshet.Invalid, Why: label(s.cfg.Profile) + ": not usable", Cause: err}
	e.Hint = "aws configure list --profile " + quote(s.cfg.Profile) + " shows what AWS's own tools make of it"
	if err == errUnreadable {
		e.Why = "neither " + s.places.config + " nor " + s.places.credentials + " can be used: AWS's SDK fails at one of them"
		e.Hint = "look for a value that is a single quotation mark"
		return e
	}
	if r, ok := errors.AsType[config.SharedConfigAssumeRoleError](err); ok {
		e.Why = label(s.cfg.Profile) + ": its source_profile, " + quote(r.Profile) + ", has no credentials or does not exist"
		e.Hint = have(names)
		return e
	}
	if _, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		e.Why = "no profile " + quote(s.cfg.Profile) + " in " + s.places.config + " or " + s.places.credentials
		e.Hint = have(names)
		return e
	}
	if r, ok := errors.AsType[config.CredentialRequiresARNError](err); ok {
		e.Why, e.Hint = label(r.Profile)+": "+r.Type+" without role_arn", "add the role to assume with it"
		return e
	}
	// These have no types of their own.
	for text, why := range map[string]string{
		"partial credentials":           "only one of aws_access_key_id and aws_secret_access_key",
		"only one credential type":      "more than one of source_profile, credential_source, credential_process and web_identity_token_file",
		"failed to find SSO session":    "no [sso-session] section of the name in its sso_session",
		"failed to load retry_mode":     "its retry_mode is none",
		"failed to load max_attempts":   "its max_attempts is no number",
		"failed to load defaults_mode":  "its defaults_mode is none",
		"failed to load ec2_metadata_s": "its ec2_metadata_service_endpoint_mode is none",
	} {
		if strings.Contains(err.Error(), text) {
			e.Why = label(s.cfg.Profile) + ": " + why
		}
	}
	return e
}

// label names a profile at the start of a message.
func label(profile string) string { return "profile " + quote(profile) }

// quote makes a name fit for a line of text and for a shell: as it is where that is plain.
func quote(name string) string {
	if name != "" && len(name) <= 128 && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.@/+:") == "" {
		return name
	}
	return "'" + strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == '\'' { // such as what turns a line's direction round
			return '?'
		}
		return r
	}, strings.ToValidUTF8(name[:min(len(name), 128)], "")) + "'"
}
