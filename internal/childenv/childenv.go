// Package childenv prepares the environment of a program that `freshet exec` runs: what would win over the session's variables
// goes, and what the program's SDKs need stays.
package childenv

import (
	"maps"
	"slices"
	"strings"
)

// awsVariables are those that an AWS SDK would take credentials from before the container endpoint, or that would send it to
// another one: environment keys, profiles, web identity (aws-sdk-go-v2 config, botocore, JS credential-provider-node).
var awsVariables = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_EXPIRATION",
	"AWS_ACCESS_KEY", "AWS_SECRET_KEY", // Go's and Java's other names of them
	"AWS_CREDENTIAL_FILE", "BOTO_CONFIG", // botocore reads both before the container endpoint
	"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
	"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
	"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
}

// awsBearer begins the names of variables with which an SDK calls one service by bearer token instead of by keys.
const awsBearer = "AWS_BEARER_TOKEN_"

// ownVariables are those of an outer `freshet exec`.
var ownVariables = []string{"FRESHET_SOCKET", "FRESHET_IDENTITY", "FRESHET_TOKEN_URL", "FRESHET_CLIENT_ID", "FRESHET_CLIENT_SECRET"}

// ownProxy begins the names of those that an outer `freshet exec --proxy` has set.
const ownProxy = "FRESHET_PROXY_"

// azureVariables are those from which an Azure SDK would take another identity than that of the endpoint: a service principal,
// workload identity, to which @azure/identity 4.13's managed identity falls when its file is named, and every other kind of
// managed identity endpoint. AZURE_CLIENT_ID alone would be asked for of ours (azidentity 1.15, DefaultAzureCredential).
var azureVariables = []string{
	"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD",
	"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "AZURE_USERNAME", "AZURE_PASSWORD", "AZURE_FEDERATED_TOKEN_FILE",
	"AZURE_TOKEN_CREDENTIALS", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "MSAL_MANAGED_IDENTITY_ENDPOINT",
	"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
	"DEFAULT_IDENTITY_CLIENT_ID",
}

// dialects are what a session may speak: the variable that says that it does, and those that would win over it.
var dialects = []struct {
	variable string
	drop     []string
	prefix   string // of names to drop; "" for none
}{
	{"AWS_CONTAINER_CREDENTIALS_FULL_URI", awsVariables, awsBearer},
	{"IDENTITY_ENDPOINT", azureVariables, ""},
}

// Merge returns environ without the variables that would win over those of a session or of a proxy's routes, and with them: add are
// the session's, none where there is no session.
func Merge(environ []string, add map[string]string, proxies ...Proxy) []string {
	session := len(add) > 0
	all := own(proxies)
	maps.Copy(all, add)
	add = all
	drop := slices.Clone(ownVariables)
	var prefixes []string
	for _, d := range dialects {
		if _, spoken := add[d.variable]; spoken || !session && outer(environ, d.variable) {
			drop = append(drop, d.drop...)
			if d.prefix != "" {
				prefixes = append(prefixes, d.prefix)
			}
		}
	}
	var kinds []*Kind
	for _, p := range proxies {
		if p.Kind != nil {
			kinds = append(kinds, p.Kind)
			maps.Copy(add, p.Kind.variables(p))
		}
	}
	var out []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		_, replaced := add[name]
		if replaced || slices.Contains(drop, name) || strings.HasPrefix(name, ownProxy) ||
			slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) ||
			slices.ContainsFunc(kinds, func(k *Kind) bool { return k.drops(name) }) {
			continue
		}
		out = append(out, kv)
	}
	if len(proxies) > 0 {
		out = direct(out)
	}
	for _, name := range slices.Sorted(maps.Keys(add)) {
		out = append(out, name+"="+add[name])
	}
	return out
}

// outer reports whether a variable is one that an outer `freshet exec` has set: it leads to that one's session, which is none of a
// child's that is to have no door but a proxy's.
func outer(environ []string, variable string) bool {
	has := func(name string) bool {
		return slices.ContainsFunc(environ, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	}
	return has(variable) && has("FRESHET_IDENTITY")
}
