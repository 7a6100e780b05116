// Package env prints a credential as environment variables, for eval in any POSIX shell, as `aws configure export-credentials
// --format env` does:
//
//	export AWS_ACCESS_KEY_ID='…' AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_CREDENTIAL_EXPIRATION   AWS keys, one a line
//	export FRESHET_TOKEN='…' FRESHET_TOKEN_EXPIRATION                                                bearer and ID tokens
//	export FRESHET_USERNAME='…' FRESHET_PASSWORD                                                     user name and password
//
// A part that a credential does not have is unset, so that an earlier eval's is not mixed with it. Expirations are RFC 3339 in
// UTC, and true: botocore, which reads the variable, keeps a margin of its own and fails past it.
package env

import (
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/shell"
)

// variable is a name and its value; "" unsets it.
type variable struct{ name, value string }

// Render prints any type.
func Render(a freshet.Answer) ([]byte, error) {
	c := a.Credential
	expires := ""
	if !c.Static() {
		expires = c.Expires().Truncate(time.Second).Format(time.RFC3339)
	}
	var vars []variable
	switch c.Type() {
	case freshet.AWS:
		k := c.AWS()
		vars = []variable{
			{"AWS_ACCESS_KEY_ID", k.AccessKeyID}, {"AWS_SECRET_ACCESS_KEY", string(k.SecretAccessKey)},
			{"AWS_SESSION_TOKEN", string(k.SessionToken)}, {"AWS_CREDENTIAL_EXPIRATION", expires},
		}
	case freshet.Bearer, freshet.IDToken:
		vars = []variable{{"FRESHET_TOKEN", c.Token()}, {"FRESHET_TOKEN_EXPIRATION", expires}}
	case freshet.Basic:
		user, password := c.Basic()
		vars = []variable{{"FRESHET_USERNAME", user}, {"FRESHET_PASSWORD", password}}
	default:
		return nil, freshet.Errorf(freshet.Invalid, "a credential of type %s has no environment variables", c.Type()).
			WithHint("use --format json")
	}
	var b strings.Builder
	for _, v := range vars {
		switch {
		case v.value == "":
			b.WriteString("unset " + v.name + "\n")
		case strings.ContainsRune(v.value, 0):
			return nil, freshet.Errorf(freshet.Invalid, "a credential with a NUL character has no environment variables").
				WithHint("use --format json")
		default:
			b.WriteString("export " + v.name + "=" + shell.Quote(v.value) + "\n")
		}
	}
	return []byte(b.String()), nil
}
