package sigv4

import (
	"errors"
	"net/url"
	"strings"

	"freshet.dev/internal/field"
	"freshet.dev/internal/sigv4"
)

// Config is the settings of a signer.
type Config struct {
	Service string `yaml:"service" json:"service" doc:"the service to sign for, as s3 or bedrock; told from the upstream's host where that is AWS's"`
	Region  string `yaml:"region" json:"region" doc:"its region, as us-east-1; told from the upstream's host where that is AWS's"`
	Payload string `yaml:"payload" json:"payload" enum:"hash|unsigned" default:"hash" doc:"hash signs the body too, which is read whole before it is sent unless the caller gives its hash; unsigned leaves it out, for S3 and VPC Lattice over https"`
}

// Check says what is wrong with the settings, whatever the upstream, as field errors.
func (c Config) Check() error {
	var errs []error
	if c.Service != "" && (len(c.Service) > 64 || strings.Trim(c.Service, "abcdefghijklmnopqrstuvwxyz0123456789-") != "") {
		errs = append(errs, &field.Error{Field: "service", Why: "not a service", Help: "it is named as signatures name it, in lowercase: s3, execute-api, bedrock"})
	}
	if c.Region != "" {
		errs = append(errs, field.Region("region", c.Region))
	}
	if c.Payload != "" && c.Payload != "hash" && c.Payload != "unsigned" {
		errs = append(errs, &field.Error{Field: "payload", Why: "want hash or unsigned"})
	}
	return errors.Join(errs...)
}

// lattice takes no signatures over bodies (its user guide, "SigV4 authenticated requests for Amazon VPC Lattice").
const lattice = "vpc-lattice-svcs"

// complete fills in what the upstream tells, and says what is missing then, as field errors.
func (c *Config) complete(upstream *url.URL) error {
	service, region := place(strings.ToLower(strings.TrimSuffix(upstream.Hostname(), ".")))
	var errs []error
	if c.Service == "" {
		if c.Service = service; service == "" {
			errs = append(errs, &field.Error{Field: "service", Why: "the upstream's host does not tell which it is", Help: "add service:, as s3 or execute-api"})
		}
	}
	if c.Region == "" {
		if c.Region = region; region == "" {
			errs = append(errs, &field.Error{Field: "region", Why: "the upstream's host does not tell which it is", Help: "add region:, as us-east-1, which other makers of S3 servers mostly take"})
		}
	}
	if c.Payload == "unsigned" {
		switch {
		case c.Service != "" && !sigv4.OnceEscaped(c.Service) && c.Service != lattice:
			errs = append(errs, &field.Error{Field: "payload", Why: "only S3 and VPC Lattice take requests whose body is not signed", Help: "remove payload:"})
		case upstream.Scheme != "https" && !field.Loopback(upstream.Hostname()):
			errs = append(errs, &field.Error{Field: "payload", Why: "without a signature over the body the upstream has to be https", Help: "remove payload:"})
		}
	}
	return errors.Join(errs...)
}
