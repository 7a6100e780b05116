package awsprofile

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"unicode"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
)

// Config is the settings of one profile.
type Config struct {
	Profile         string `yaml:"profile" required:"true" doc:"name of the profile, as in ~/.aws/config without the word profile"`
	Region          string `yaml:"region" doc:"region whose STS is asked where the profile assumes a role; the profile's own unless given"`
	ConfigFile      string `yaml:"config_file" format:"path" doc:"AWS's config file; $AWS_CONFIG_FILE or ~/.aws/config unless given"`
	CredentialsFile string `yaml:"credentials_file" format:"path" doc:"AWS's credentials file; $AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials unless given"`
}

// Check says what is wrong with the settings, as field errors; it does not look at the files.
func (c Config) Check() error {
	var errs []error
	add := func(name, why, help string) { errs = append(errs, &field.Error{Field: name, Why: why, Help: help}) }
	switch {
	case strings.TrimSpace(c.Profile) == "":
		add("profile", "missing", "write default for the profile of that name")
	case len(c.Profile) > 256 || strings.ContainsFunc(c.Profile, func(r rune) bool { return !unicode.IsPrint(r) || r == ']' }):
		add("profile", "not the name of a profile", "aws configure list-profiles lists them")
	}
	if c.Region != "" {
		if err := field.Region("region", c.Region); err != nil {
			errs = append(errs, err)
		}
	}
	for _, f := range []struct{ name, path string }{{"config_file", c.ConfigFile}, {"credentials_file", c.CredentialsFile}} {
		if f.path != "" && !filepath.IsAbs(f.path) {
			add(f.name, "not an absolute path", "start it with / or ~/")
		}
	}
	return errors.Join(errs...)
}

// places are where AWS's files are.
type places struct {
	config, credentials string
	given               bool   // not both where AWS's tools look without being told
	sso, login          string // folders of the caches
}

// places finds them. They are settled when the source is made.
func (c Config) places() (places, error) {
	home, err := os.UserHomeDir()
	if err != nil { // a service may have no $HOME
		if u, err := user.Current(); err == nil {
			home = u.HomeDir
		}
	}
	aws := filepath.Join(home, ".aws")
	p := places{
		config:      first(c.ConfigFile, os.Getenv("AWS_CONFIG_FILE"), filepath.Join(aws, "config")),
		credentials: first(c.CredentialsFile, os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), filepath.Join(aws, "credentials")),
		sso:         filepath.Join(aws, "sso", "cache"),
		login:       first(os.Getenv("AWS_LOGIN_CACHE_DIRECTORY"), filepath.Join(aws, "login", "cache")),
	}
	p.given = p.config != filepath.Join(aws, "config") || p.credentials != filepath.Join(aws, "credentials")
	for _, path := range []string{p.config, p.credentials, p.sso, p.login} {
		if !filepath.IsAbs(path) {
			return places{}, freshet.Errorf(freshet.Invalid, "AWS's files: not an absolute path").
				WithHint("set config_file and credentials_file, and HOME where freshet starts")
		}
	}
	return p, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// ssoFile is the cached token of an SSO session, or of a start URL where a profile has that in the old form.
func (p *places) ssoFile(key string) string {
	sum := sha1.Sum([]byte(key))
	return filepath.Join(p.sso, hex.EncodeToString(sum[:])+".json")
}

// loginFile is the cached keys of a login session.
func (p *places) loginFile(session string) string {
	sum := sha256.Sum256([]byte(strings.TrimSpace(session)))
	return filepath.Join(p.login, hex.EncodeToString(sum[:])+".json")
}

// AWSPlace is where a program with these keys calls AWS, as far as the settings say.
func (c Config) AWSPlace() (profile, region, fallback string) { return c.Profile, c.Region, "" }
