package awswebidentity

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
)

// Config is the settings of one role.
type Config struct {
	RoleARN     string         `yaml:"role_arn" required:"true" doc:"the role to assume"`
	Region      string         `yaml:"region" doc:"region whose STS is asked; us-east-1 where an endpoint is given"`
	Endpoint    string         `yaml:"endpoint" doc:"address of an STS other than the region's, such as MinIO's"`
	Duration    field.Duration `yaml:"duration" doc:"how long the keys shall live, 15m to 12h in whole seconds; unless given none is sent, and STS decides"`
	SessionName string         `yaml:"session_name" default:"freshet" doc:"name of the session in AWS's logs"`
	Policy      string         `yaml:"policy" doc:"session policy in JSON, which narrows what the role may do"`
	CAFile      string         `yaml:"ca_file" format:"path" doc:"PEM file of the certificate authorities to trust in place of the system's"`
}

// Regular expressions would do for the shapes below, and cost every command that links this package 2 ms and 500 KB at its
// start.
const (
	digits  = "0123456789"
	lower   = "abcdefghijklmnopqrstuvwxyz" + digits + "-"
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + digits
)

func only(s, set string) bool { return strings.Trim(s, set) == "" }

// isRole reports whether s is a role's ARN, in any partition of AWS or in MinIO, which has no accounts
// (arn:minio:iam:::role/NAME).
func isRole(s string) bool {
	p := strings.SplitN(s, ":", 6)
	if len(p) < 6 || len(s) > 2048 {
		return false
	}
	name, ok := strings.CutPrefix(p[5], "role/")
	return ok && p[0] == "arn" && p[1] != "" && only(p[1], lower) && p[2] == "iam" && only(p[3], lower) && only(p[4], digits) &&
		name != "" && only(name, letters+"_+=,.@-/")
}

func isSessionName(s string) bool {
	return len(s) >= 2 && len(s) <= 64 && only(s, letters+"_+=,.@-")
}

// The bounds that STS sets to a duration: DurationSeconds of AssumeRoleWithWebIdentity.
const (
	minDuration = 15 * time.Minute
	maxDuration = 12 * time.Hour
)

// Check says what is wrong with the settings, as field errors.
func (c Config) Check() error {
	var errs []error
	add := func(name, why, help string) { errs = append(errs, &field.Error{Field: name, Why: why, Help: help}) }
	if !isRole(c.RoleARN) {
		add("role_arn", "not the ARN of a role", "write it in full, as arn:aws:iam::123456789012:role/NAME")
	}
	if c.Region != "" || c.Endpoint == "" {
		if err := field.Region("region", c.Region); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Endpoint != "" {
		if err := field.URL("endpoint", c.Endpoint); err != nil {
			errs = append(errs, err)
		}
	}
	if d := time.Duration(c.Duration); d != 0 && (d < minDuration || d > maxDuration || d%time.Second != 0) {
		add("duration", "want 15m to 12h, in whole seconds", "without it none is sent, and STS decides")
	}
	if c.SessionName != "" && !isSessionName(c.SessionName) {
		add("session_name", "want 2 to 64 letters, digits and +=,.@_-", "")
	}
	if c.Policy != "" && !json.Valid([]byte(c.Policy)) {
		add("policy", "not JSON", "")
	}
	if c.CAFile != "" && !filepath.IsAbs(c.CAFile) {
		add("ca_file", "not an absolute path", "")
	}
	return errors.Join(errs...)
}

func (c Config) seconds() int32 { return int32(time.Duration(c.Duration) / time.Second) }

// account is the account in an ARN, which is its fifth part; empty where there is none.
func account(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" || len(parts[4]) != 12 || !only(parts[4], digits) {
		return ""
	}
	return parts[4]
}

// invalid is an error of the settings as one of the library's.
func invalid(err error) *freshet.Error {
	e := freshet.Errorf(freshet.Invalid, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	if f, ok := errors.AsType[*field.Error](err); ok {
		e.Hint = f.Help
	}
	return e
}
