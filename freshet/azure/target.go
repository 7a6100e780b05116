package azure

import (
	"net/url"
	"os"
	"slices"
	"strings"

	"freshet.dev/freshet"
)

// clients are azidentity's credentials that ask Entra as a client of their own, and commandLines those that have a program ask it,
// whose login all of the process share. What a chain or a managed identity asks is found out elsewhere.
var (
	clients = []string{
		"azidentity.AzurePipelinesCredential", "azidentity.ClientAssertionCredential", "azidentity.ClientCertificateCredential",
		"azidentity.ClientSecretCredential", "azidentity.DeviceCodeCredential", "azidentity.EnvironmentCredential",
		"azidentity.InteractiveBrowserCredential", "azidentity.OnBehalfOfCredential", "azidentity.UsernamePasswordCredential",
		"azidentity.WorkloadIdentityCredential",
	}
	commandLines = []string{
		"azidentity.AzureCLICredential", "azidentity.AzureDeveloperCLICredential", "azidentity.AzurePowerShellCredential",
	}
)

// target is whom a credential of a kind asks, and as whom, as far as that is known: cfg's word, or else what the kind says. A
// credential that says nothing has limits of its own.
func target(cfg *Config, kind string) freshet.Target {
	t := cfg.Target
	if t.Host != "" {
		return t
	}
	t.Host = cfg.Name
	switch {
	case slices.Contains(clients, kind):
		t.Host = authority()
		if t.Client == "" {
			t.Client = cfg.Name
		}
	case slices.Contains(commandLines, kind):
		t.Host = authority()
		if t.Client == "" {
			t.Client = kind
		}
	}
	return t
}

// authority is the host that azidentity asks where its options name none.
func authority() string {
	if u, err := url.Parse(os.Getenv("AZURE_AUTHORITY_HOST")); err == nil && u.Host != "" {
		return strings.ToLower(u.Host)
	}
	return "login.microsoftonline.com"
}

// Target makes a source a [freshet.Targeter].
func (s *source) Target(req freshet.Request) freshet.Target {
	t := s.target
	if req.Tenant != "" {
		t.Tenant = req.Tenant
	}
	return t
}
