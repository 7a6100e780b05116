package lab

import "strings"

// Paths of a cloud's server.
const (
	pathOAuth     = "/oauth/token"
	pathSTS       = "/"
	pathMSI       = "/msi/token"
	pathContainer = "/container/creds"
	pathAzureCLI  = "/az/token"
	pathJWKS      = "/jwks"
	pathMetadata  = "/.well-known/openid-configuration"
	pathOpenAI    = "/openai/v1"
	pathAdmin     = "/admin"
)

// Names that the lab goes by. None of them is secret.
const (
	// Tenant is the tenant of the managed identity and of az, and as good as any other at Entra.
	Tenant = "1ab00000-0000-4000-8000-000000000001"
	// Account is the AWS account that the lab's own keys belong to.
	Account = "123456789012"
	// Role is a role that may be assumed. So may any other, in any account.
	Role = "arn:aws:iam::" + Account + ":role/lab"
	// AudienceSTS is what STS wants a web identity token to be for.
	AudienceSTS = "sts.amazonaws.com"
	// AudienceEntra is what Entra wants a workload identity's token to be for.
	AudienceEntra = "api://AzureADTokenExchange"
)

// Endpoints are the addresses of a cloud's issuers.
type Endpoints struct {
	Issuer     string // the OAuth issuer's identifier: its tokens' iss
	OAuthToken string
	JWKS       string // keys of the OAuth issuer's and of Entra's tokens
	STS        string
	MSI        string // for IDENTITY_ENDPOINT
	Container  string // for AWS_CONTAINER_CREDENTIALS_FULL_URI
	AzureCLI   string
	OpenAI     string // base URL of the API like OpenAI's
	Admin      string // of the admin API: /issuers and /reset are below it
}

// Paths are the addresses of a cloud that is served at base, such as "http://127.0.0.1:9920".
func (c *Cloud) Paths(base string) Endpoints {
	base = strings.TrimSuffix(base, "/")
	return Endpoints{
		Issuer:     base,
		OAuthToken: base + pathOAuth,
		JWKS:       base + pathJWKS,
		STS:        base, // SDKs add the slash
		MSI:        base + pathMSI,
		Container:  base + pathContainer,
		AzureCLI:   base + pathAzureCLI,
		OpenAI:     base + pathOpenAI,
		Admin:      base + pathAdmin,
	}
}

// Entra is the token endpoint of a tenant.
func (e Endpoints) Entra(tenant string) string {
	return e.Issuer + "/" + tenant + "/oauth2/v2.0/token"
}
