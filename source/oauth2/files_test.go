package oauth2

import (
	"slices"
	"testing"

	"freshet.dev/internal/secret"
)

func TestFilesAreThoseOfTheSecrets(t *testing.T) {
	for _, test := range []struct {
		change func(*Config)
		want   []string
	}{
		{func(c *Config) { c.ClientSecret = secret.Ref{File: "/run/s", Shared: true} }, []string{"/run/s"}},
		{func(c *Config) { c.PrivateKey = secret.Ref{File: "/run/key.pem"} }, []string{"/run/key.pem"}},
		{func(c *Config) { c.ClientSecret = secret.Ref{Env: "S"} }, nil},
		{func(c *Config) { c.ClientSecret = secret.Ref{Command: []string{"/bin/pass", "show", "/run/s"}} }, nil},
	} {
		cfg := Config{TokenURL: "https://issuer.example/token", ClientID: "c"}
		test.change(&cfg)
		src, err := New(cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := src.Files(); !slices.Equal(got, test.want) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
