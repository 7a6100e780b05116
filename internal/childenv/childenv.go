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

// Merge returns environ without the variables that would win over the session's, and with those of add. aws says that the
// session carries AWS keys.
func Merge(environ []string, aws bool, add map[string]string) []string {
	drop := slices.Clone(ownVariables)
	if aws {
		drop = append(drop, awsVariables...)
	}
	var out []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if _, replaced := add[name]; replaced || slices.Contains(drop, name) || aws && strings.HasPrefix(name, awsBearer) {
			continue
		}
		out = append(out, kv)
	}
	for _, name := range slices.Sorted(maps.Keys(add)) {
		out = append(out, name+"="+add[name])
	}
	return out
}
