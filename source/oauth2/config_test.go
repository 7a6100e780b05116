package oauth2

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/secret"
)

func TestCheck(t *testing.T) {
	ref := secret.Ref{Env: "S"}
	valid := Config{TokenURL: "https://idp.example/token", ClientID: "me", ClientSecret: ref}
	if err := valid.Check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"token_url: http to another host":                       func(c *Config) { c.TokenURL = "http://idp.example" },
		"token_url: not a URL":                                  func(c *Config) { c.TokenURL = "" },
		"client_id: missing":                                    func(c *Config) { c.ClientID = "" },
		"client_secret: missing":                                func(c *Config) { c.ClientSecret = secret.Ref{} },
		"private_key: missing":                                  func(c *Config) { c.Auth, c.ClientSecret = "private_key_jwt", secret.Ref{} },
		"client_secret: does not go with auth: private_key_jwt": func(c *Config) { c.Auth, c.PrivateKey = "private_key_jwt", ref },
		"private_key: goes with auth: private_key_jwt alone":    func(c *Config) { c.PrivateKey = ref },
		"auth: not a way to authenticate":                       func(c *Config) { c.Auth = "none" },
		"client_secret: names a secret in more than one way":    func(c *Config) { c.ClientSecret.File = "/x" },
		"params.grant_type: not a further parameter":            func(c *Config) { c.Params = map[string]string{"grant_type": "password"} },
		"params.Scope: not a further parameter":                 func(c *Config) { c.Params = map[string]string{"Scope": "all"} },
		"params.client_assertion: not a further parameter":      func(c *Config) { c.Params = map[string]string{"client_assertion": "x"} },
		"ca_file: not an absolute path":                         func(c *Config) { c.CAFile = "ca.pem" },
	} {
		cfg := valid
		change(&cfg)
		if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := New(cfg, nil); !errors.Is(err, freshet.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("New: got %v, want %q", err, want)
		}
	}
	if _, err := New(Config{}, nil); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("several faults: got %q, want one line", err)
	}
}

func TestPrintingASecretInTheWrongPlace(t *testing.T) {
	cfg := Config{
		TokenURL: "https://idp.example/token", ClientID: "me", ClientSecret: secret.Ref{Env: gossip},
	}
	src := newSource(t, cfg)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		freshettest.LeakedSecrets(t, fmt.Sprintf(verb+verb, src, cfg), gossip)
	}
}
