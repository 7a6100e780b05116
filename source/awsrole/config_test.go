package awsrole

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
)

func TestCheck(t *testing.T) {
	valid := Config{RoleARN: role, Region: "eu-central-1"}
	for _, cfg := range []Config{
		valid,
		{RoleARN: "arn:minio:iam:::role/dummy", Endpoint: "http://127.0.0.1:9000"},
		{RoleARN: "arn:aws-us-gov:iam::123456789012:role/a/b", Region: "us-gov-west-1", Duration: field.Duration(15 * time.Minute), SourceIdentity: "ada"},
	} {
		if err := cfg.Check(); err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	for _, test := range []struct {
		want   string
		change func(*Config)
	}{
		{"role_arn: not the ARN of a role", func(c *Config) { c.RoleARN = "" }},
		{"role_arn: not the ARN of a role", func(c *Config) { c.RoleARN = "arn:aws:iam::123456789012:user/me" }},
		{"region: not a region", func(c *Config) { c.Region = "" }},
		{"region: not a region", func(c *Config) { c.Region = "evil.example/" }},
		{"region: not a region", func(c *Config) { c.Region, c.Endpoint = "a/b", "https://sts.example" }},
		{"endpoint: http to another host", func(c *Config) { c.Endpoint = "http://sts.example" }},
		{"duration: want 15m to 12h", func(c *Config) { c.Duration = field.Duration(14 * time.Minute) }},
		{"duration: want 15m to 12h", func(c *Config) { c.Duration = field.Duration(12*time.Hour + time.Second) }},
		{"session_name: want 2 to 64", func(c *Config) { c.SessionName = strings.Repeat("x", 65) }},
		{"source_identity: want 2 to 64", func(c *Config) { c.SourceIdentity = "a b" }},
		{"external_id: want 2 to 1224", func(c *Config) { c.ExternalID = "x" }},
		{"external_id: want 2 to 1224", func(c *Config) { c.ExternalID = "a b" }},
		{"policy: not JSON", func(c *Config) { c.Policy = "{" }},
		{"policy_arns[1]: not the ARN", func(c *Config) { c.PolicyARNs = []string{"arn:aws:iam::aws:policy/x", "ReadOnlyAccess"} }},
		{"policy_arns: more than 10", func(c *Config) { c.PolicyARNs = slices.Repeat([]string{"arn:aws:iam::aws:policy/x"}, 11) }},
		{"tags: has what is no tag", func(c *Config) { c.Tags = map[string]string{"": "x"} }},
		{"tags: has what is no tag", func(c *Config) { c.Tags = map[string]string{"a": strings.Repeat("x", 257)} }},
		{"ca_file: not an absolute path", func(c *Config) { c.CAFile = "ca.pem" }},
	} {
		cfg := valid
		test.change(&cfg)
		if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
		if _, err := New(cfg); !errors.Is(err, freshet.Invalid) || strings.Contains(err.Error(), "\n") {
			t.Errorf("New: got %v", err)
		}
	}
}

func TestDurationOverAnHourIsWarnedOf(t *testing.T) {
	for d, want := range map[time.Duration]bool{0: false, time.Hour: false, time.Hour + time.Second: true} {
		if got := (Config{Duration: field.Duration(d)}).Warning(); (got != "") != want {
			t.Errorf("%v: got %q", d, got)
		}
	}
}

func TestFilesIsTheCAFile(t *testing.T) {
	if got := (&Source{cfg: Config{CAFile: "/etc/ca.pem"}}).Files(); !slices.Equal(got, []string{"/etc/ca.pem"}) {
		t.Errorf("got %q", got)
	}
	if got := (&Source{}).Files(); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
