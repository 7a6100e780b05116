// Package az is the output of az account get-access-token --output json, which Azure's SDKs and Terraform run:
//
//	{"accessToken", "expires_on": 1767225600, "expiresOn": "2026-01-01 00:00:00.000000", "tenant"?, "tokenType": "Bearer"}
//
// Both expiries are one instant: expires_on in seconds since 1970, a JSON number (azidentity fails on a string), and expiresOn
// in local time, for what was written before Azure CLI 2.54. Such a time is ambiguous for an hour a year, when summer time ends.
// tenant is the one that was asked for, else the token's own. The real az adds its current subscription where no tenant was asked
// for; freshet knows none, and no SDK reads it. Readers keep a margin of five minutes or so, hence the expiry is the true one.
package az

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/expiry"
)

// localTime is Python's "%Y-%m-%d %H:%M:%S.%f".
const localTime = "2006-01-02 15:04:05.000000"

// Render prints a bearer token, as one line. tenant is the one that was asked for; "" for the token's own.
func Render(a freshet.Answer, tenant string) ([]byte, error) {
	c := a.Credential
	if c.Type() != freshet.Bearer {
		return nil, freshet.Errorf(freshet.Invalid, "a credential of type %s cannot be printed as az, which prints access tokens", c.Type()).
			WithHint("use --format json, or --format aws-process for AWS keys")
	}
	expires := expiry.Advertised(c) // an hour ahead for one that does not expire
	if !c.Static() {
		expires = c.Expires().Truncate(time.Second)
	}
	if tenant == "" {
		tenant = tenantOf(c.Token())
	}
	b, err := json.Marshal(struct {
		Token   string `json:"accessToken"`
		Epoch   int64  `json:"expires_on"`
		Expires string `json:"expiresOn"`
		Tenant  string `json:"tenant,omitempty"`
		Type    string `json:"tokenType"`
	}{c.Token(), expires.Unix(), expires.In(time.Local).Format(localTime), tenant, c.TokenType()})
	return append(b, '\n'), err
}

// tenantOf is the tid claim, by which Entra names the tenant of a token that is a JWT; "" for any other.
func tenantOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Tenant string `json:"tid"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Tenant
}
