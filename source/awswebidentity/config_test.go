package awswebidentity

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
)

// fixed gives the same credential for ever.
type fixed struct{ cred *freshet.Credential }

func (f fixed) Retrieve(context.Context, freshet.Request) (*freshet.Credential, error) {
	return f.cred, nil
}

func TestCheck(t *testing.T) {
	valid := Config{RoleARN: role, Region: "eu-central-1"}
	for _, cfg := range []Config{
		valid,
		{RoleARN: "arn:minio:iam:::role/dummy", Endpoint: "http://127.0.0.1:9000"},
		{RoleARN: "arn:aws-us-gov:iam::123456789012:role/a/b+c=d,e.f@g", Region: "us-gov-west-1", Duration: field.Duration(15 * time.Minute)},
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
		{"role_arn: not the ARN of a role", func(c *Config) { c.RoleARN = "deploy" }},
		{"role_arn: not the ARN of a role", func(c *Config) { c.RoleARN = "arn:aws:iam::123456789012:user/me" }},
		{"role_arn: not the ARN of a role", func(c *Config) { c.RoleARN = role + "\nx" }},
		{"region: not a region", func(c *Config) { c.Region = "" }},
		{"region: not a region", func(c *Config) { c.Region = "evil.example/" }},
		{"region: not a region", func(c *Config) { c.Region, c.Endpoint = "a/b", "https://sts.example" }},
		{"endpoint: http to another host", func(c *Config) { c.Endpoint = "http://sts.example" }},
		{"duration: want 15m to 12h", func(c *Config) { c.Duration = field.Duration(time.Minute) }},
		{"duration: want 15m to 12h", func(c *Config) { c.Duration = field.Duration(13 * time.Hour) }},
		{"duration: want 15m to 12h", func(c *Config) { c.Duration = field.Duration(time.Hour + time.Millisecond) }},
		{"session_name: want 2 to 64", func(c *Config) { c.SessionName = "x" }},
		{"session_name: want 2 to 64", func(c *Config) { c.SessionName = "a b" }},
		{"policy: not JSON", func(c *Config) { c.Policy = "{" }},
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

// canned is an answer.
type canned struct {
	status int
	body   string
}

func (c canned) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(c.status)
	_, _ = io.WriteString(w, c.body)
}

func FuzzAnswer(f *testing.F) {
	f.Add(answer("ASIAX", secretKey, sessionToken, time.Unix(4e9, 0)), 200)
	f.Add(failing("AccessDenied"), 403)
	f.Add(failing("Throttling"), 400)
	f.Add("<a/>", 200)
	f.Add("", 500)
	var current canned
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current.ServeHTTP(w, r) }))
	defer server.Close()
	src, err := New(Config{RoleARN: role, Endpoint: server.URL})
	if err != nil {
		f.Fatal(err)
	}
	input, err := freshet.NewIDToken(webIdentity, freshet.Validity{Lifetime: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string, status int) {
		if status < 200 || status > 599 {
			return
		}
		current = canned{status, body}
		cred, err := src.Retrieve(t.Context(), freshet.Request{Input: input})
		if (cred == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cred, err)
		}
		e, ok := err.(*freshet.Error)
		if err != nil && (!ok || e.Kind == freshet.Bug || e.Kind == freshet.Invalid || strings.Contains(e.Error(), gossip)) {
			t.Errorf("%d %q: got %v", status, body, err)
		}
	})
}
