package awsprofile

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/aws/aws-sdk-go-v2/config"
)

// Files are the files that an answer is read from at present, by absolute paths, whether they exist or not: AWS's config and
// credentials files, and what the profile in them refers to. It reads the two, which takes well under a millisecond, and is safe
// for concurrent use. Of a file's content it returns nothing but the absolute paths that it names.
func (s *Source) Files() []string {
	files := []string{s.places.config, s.places.credentials}
	profile, err := s.parse(context.Background())
	if err != nil {
		return files
	}
	for p := profile; p != nil; p = p.Source {
		switch baseOf(p) {
		case ssoSession, ssoLegacy:
			files = append(files, s.places.ssoFile(ssoKey(p)))
		case loginSession:
			files = append(files, s.places.loginFile(p.LoginSession))
		case webIdentity:
			files = append(files, p.WebIdentityTokenFile)
		}
	}
	files = append(files, profile.CustomCABundle)
	files = slices.DeleteFunc(files, func(path string) bool { return !filepath.IsAbs(path) })
	slices.Sort(files[2:])
	return append(files[:2:2], slices.Compact(files[2:])...)
}

// base is where a profile's keys come from, before a role is assumed with them.
type base int

const (
	none base = iota
	sourceProfile
	static
	credentialSource
	webIdentity
	ssoSession
	ssoLegacy
	loginSession
	credentialProcess
)

// baseOf is the first that the SDK's chain finds (resolveCredsFromProfile of aws-sdk-go-v2/config).
func baseOf(p *config.SharedConfig) base {
	switch {
	case p.Source != nil:
		return sourceProfile
	case p.Credentials.HasKeys():
		return static
	case p.CredentialSource != "":
		return credentialSource
	case p.WebIdentityTokenFile != "":
		return webIdentity
	case p.SSOSession != nil:
		return ssoSession
	case p.SSORegion != "" || p.SSOAccountID != "" || p.SSOStartURL != "" || p.SSORoleName != "":
		return ssoLegacy
	case p.LoginSession != "":
		return loginSession
	case p.CredentialProcess != "":
		return credentialProcess
	}
	return none
}

// ssoKey is what an SSO token is cached by.
func ssoKey(p *config.SharedConfig) string {
	if p.SSOSession != nil {
		return p.SSOSession.Name
	}
	return p.SSOStartURL
}
