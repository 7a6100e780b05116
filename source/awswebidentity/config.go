package awswebidentity

import (
	"errors"
	"path/filepath"

	"freshet.dev/internal/awsapi"
	"freshet.dev/internal/field"
)

// Config is the settings of one role.
type Config struct {
	RoleARN     string         `yaml:"role_arn" required:"true" doc:"the role to assume"`
	Region      string         `yaml:"region" doc:"region whose STS is asked; us-east-1 where an endpoint is given"`
	Endpoint    string         `yaml:"endpoint" doc:"address of an STS other than the region's, such as MinIO's"`
	Duration    field.Duration `yaml:"duration" doc:"how long the keys shall live, 15m to 12h in whole seconds; unless given none is sent, and STS decides"`
	SessionName string         `yaml:"session_name" doc:"name of the session in AWS's logs; freshet- and the identity's name unless given"`
	Policy      string         `yaml:"policy" doc:"session policy in JSON, which narrows what the role may do"`
	CAFile      string         `yaml:"ca_file" format:"path" doc:"PEM file of the certificate authorities to trust in place of the system's"`
}

// Check says what is wrong with the settings, as field errors.
func (c Config) Check() error {
	var errs []error
	errs = append(errs, awsapi.CheckRole("role_arn", c.RoleARN))
	errs = append(errs, awsapi.CheckPlace(c.Region, c.Endpoint)...)
	errs = append(errs, awsapi.CheckDuration("duration", c.Duration), awsapi.CheckSession("session_name", c.SessionName),
		awsapi.CheckPolicy("policy", c.Policy))
	if c.CAFile != "" && !filepath.IsAbs(c.CAFile) {
		errs = append(errs, &field.Error{Field: "ca_file", Why: "not an absolute path"})
	}
	return errors.Join(errs...)
}

// AWSPlace is where a program with these keys calls AWS, as far as the settings say; with an endpoint, a region is only a name.
func (c Config) AWSPlace() (profile, region, fallback string) {
	if c.Endpoint != "" {
		fallback = awsapi.DefaultRegion
	}
	return "", c.Region, fallback
}
