// Package header prints the Authorization header of an HTTP request (RFC 9110 §11.6.2), for curl -H and the like:
//
//	Authorization: Bearer eyJhbGciOi…
//	Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==
package header

import (
	"encoding/base64"
	"strings"

	"freshet.dev/freshet"
)

// Render prints bearer tokens, ID tokens, and user names with passwords, as one line.
func Render(a freshet.Answer) ([]byte, error) {
	c := a.Credential
	value := ""
	switch c.Type() {
	case freshet.Bearer:
		value = scheme(c.TokenType()) + " " + c.Token()
	case freshet.IDToken:
		value = bearer + " " + c.Token()
	case freshet.Basic:
		user, password := c.Basic()
		if strings.Contains(user, ":") { // RFC 7617 §2: what follows the first colon is the password
			return nil, freshet.Errorf(freshet.Invalid, "a user name with a colon has no Authorization header")
		}
		value = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	default:
		return nil, freshet.Errorf(freshet.Invalid, "a credential of type %s is no Authorization header: requests are signed with it", c.Type()).
			WithHint("use --format aws-process, env or json")
	}
	return []byte("Authorization: " + value + "\n"), nil
}

const bearer = "Bearer"

// scheme spells Bearer as RFC 6750 does: issuers write "bearer", and there are services that compare by letter. Every token's type is
// fit for a header, or there would be no such token.
func scheme(tokenType string) string {
	if strings.EqualFold(tokenType, bearer) {
		return bearer
	}
	return tokenType
}
