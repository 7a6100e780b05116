// Package azd is the output of azd auth token --output json, which Azure's SDKs run:
//
//	{"token", "expiresOn": "2026-01-01T00:00:00Z"}
//
// The time is UTC in whole seconds with a Z, which azidentity 1.15 parses by that layout alone. It is the true expiry, as
// readers keep a margin of their own.
package azd

import (
	"encoding/json"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/expiry"
)

// Render prints a bearer token, as one line.
func Render(a freshet.Answer) ([]byte, error) {
	c := a.Credential
	if c.Type() != freshet.Bearer {
		return nil, freshet.Errorf(freshet.Invalid, "a credential of type %s cannot be printed as azd, which prints access tokens", c.Type()).
			WithHint("use --format json, or --format aws-process for AWS keys")
	}
	expires := expiry.Advertised(c) // an hour ahead for one that does not expire
	if !c.Static() {
		expires = c.Expires().Truncate(time.Second)
	}
	b, err := json.Marshal(struct {
		Token   string `json:"token"`
		Expires string `json:"expiresOn"`
	}{c.Token(), expires.UTC().Format("2006-01-02T15:04:05Z")})
	return append(b, '\n'), err
}
