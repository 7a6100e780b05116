// Package raw prints a token and a newline, for $(freshet token …).
package raw

import "freshet.dev/freshet"

// Render prints bearer and ID tokens. Other types have no raw form.
func Render(a freshet.Answer) ([]byte, error) {
	token := a.Credential.Token()
	if token == "" {
		return nil, freshet.Errorf(freshet.Invalid, "a credential of type %s has no raw form", a.Credential.Type()).
			WithHint("use --format json, or --format aws-process for AWS keys")
	}
	return append([]byte(token), '\n'), nil
}
