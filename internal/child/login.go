package child

import "strings"

// logins are the commands by which vendors' CLIs say that a person has to log in.
var logins = [...]string{"aws sso login", "aws login", "az login", "azd auth login", "gcloud auth login"}

// LoginIn is the command that what a child said tells its user to log in with; empty if it tells none.
func LoginIn(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, login := range logins {
		if strings.Contains(text, login) {
			return login
		}
	}
	return ""
}
