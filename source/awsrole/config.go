package awsrole

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"freshet.dev/internal/awsapi"
	"freshet.dev/internal/field"
)

// Config is the settings of one role.
type Config struct {
	RoleARN        string            `yaml:"role_arn" required:"true" doc:"the role to assume"`
	Region         string            `yaml:"region" doc:"region whose STS is asked; us-east-1 where an endpoint is given"`
	Endpoint       string            `yaml:"endpoint" doc:"address of an STS other than the region's, such as MinIO's"`
	Duration       field.Duration    `yaml:"duration" doc:"how long the keys shall live, 15m to 12h in whole seconds; unless given none is sent, and STS gives an hour"`
	SessionName    string            `yaml:"session_name" doc:"name of the session in AWS's logs; freshet- and the identity's name unless given"`
	ExternalID     string            `yaml:"external_id" doc:"the external id that the role's trust policy asks for"`
	Policy         string            `yaml:"policy" doc:"session policy in JSON, which narrows what the role may do"`
	PolicyARNs     []string          `yaml:"policy_arns" doc:"managed policies that narrow it likewise, at most 10"`
	Tags           map[string]string `yaml:"tags" doc:"session tags"`
	SourceIdentity string            `yaml:"source_identity" doc:"who is behind the session, for AWS's logs; it stays when further roles are assumed"`
	CAFile         string            `yaml:"ca_file" format:"path" doc:"PEM file of the certificate authorities to trust in place of the system's"`
}

// Check says what is wrong with the settings, as field errors. The bounds are those of AWS STS's AssumeRole.
func (c Config) Check() error {
	var errs []error
	add := func(name, why, help string) { errs = append(errs, &field.Error{Field: name, Why: why, Help: help}) }
	errs = append(errs, awsapi.CheckRole("role_arn", c.RoleARN))
	errs = append(errs, awsapi.CheckPlace(c.Region, c.Endpoint)...)
	errs = append(errs, awsapi.CheckDuration("duration", c.Duration), awsapi.CheckSession("session_name", c.SessionName),
		awsapi.CheckPolicy("policy", c.Policy), awsapi.CheckSession("source_identity", c.SourceIdentity))
	if c.ExternalID != "" && !isExternalID(c.ExternalID) {
		add("external_id", "want 2 to 1224 letters, digits and +=,.@:/_-", "")
	}
	if len(c.PolicyARNs) > 10 {
		add("policy_arns", "more than 10", "")
	}
	for i, arn := range c.PolicyARNs {
		if !strings.HasPrefix(arn, "arn:") || len(arn) < 20 || len(arn) > 2048 || strings.ContainsFunc(arn, unprintable) {
			add(fmt.Sprintf("policy_arns[%d]", i), "not the ARN of a policy", "write it in full, as arn:aws:iam::aws:policy/ReadOnlyAccess")
		}
	}
	if len(c.Tags) > 50 {
		add("tags", "more than 50", "")
	}
	for _, key := range slices.Sorted(maps.Keys(c.Tags)) {
		if value := c.Tags[key]; key == "" || len(key) > 128 || len(value) > 256 || strings.ContainsFunc(key+value, control) {
			add("tags", "has what is no tag", "keys have 1 to 128 characters, values at most 256")
		}
	}
	if c.CAFile != "" && !filepath.IsAbs(c.CAFile) {
		add("ca_file", "not an absolute path", "")
	}
	return errors.Join(errs...)
}

// Warning says what the settings may do that their author may not want; empty for nothing.
func (c Config) Warning() string {
	if time.Duration(c.Duration) > time.Hour {
		return "its duration is over 1h, which AWS refuses where the keys it is made from are a role's themselves (role chaining)"
	}
	return ""
}

func isExternalID(s string) bool {
	return len(s) >= 2 && len(s) <= 1224 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@:/-") == ""
}

func control(r rune) bool     { return r < ' ' || r == 0x7f }
func unprintable(r rune) bool { return r <= ' ' || r >= 0x7f }

// AWSPlace is where a program with these keys calls AWS, as far as the settings say; with an endpoint, a region is only a name.
func (c Config) AWSPlace() (profile, region, fallback string) {
	if c.Endpoint != "" {
		fallback = awsapi.DefaultRegion
	}
	return "", c.Region, fallback
}
