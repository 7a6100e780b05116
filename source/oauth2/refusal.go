package oauth2

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch"
)

// isCode reports whether s looks like an error code, and so may be shown: all that are registered do, and no secret does that
// is not a word.
func isCode(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// passing are codes that say "not now". RFC 6749 has them for the authorization endpoint, where a status cannot tell; token
// endpoints use them too.
var passing = []string{"temporarily_unavailable", "server_error", "slow_down"}

// hints say what to do about a code.
var hints = map[string]string{
	"unauthorized_client":    "the issuer must allow this client the client_credentials grant",
	"unsupported_grant_type": "check that token_url is right, and that the issuer supports client_credentials",
	"invalid_scope":          "check the scopes, and that the client may have them",
	"invalid_target":         "check audience and resource, and that the client may have tokens for them",
	"invalid_request":        "the issuer may want another parameter: audience, resource, or one in params",
	"access_denied":          "the issuer's policy keeps this client from what was asked for",
}

// refusal is the error that an answer stands for, or nil.
//
// The status decides first: with 408, 429 and 5xx trying later may help, whatever the body says. A code then means that the
// issuer understood and refuses; codes are open-ended (RFC 6749 §8.5), so one that is not known is a refusal like the others.
func (s *Source) refusal(host string, answer *fetch.Answer) error {
	var reply struct {
		Error json.RawMessage `json:"error"` // some issuers have an object here
	}
	var word string
	if json.Unmarshal(answer.Body, &reply) == nil {
		if json.Unmarshal(reply.Error, &word) != nil || !isCode(word) {
			word = ""
		}
	}
	absent := len(reply.Error) == 0 || string(reply.Error) == "null" || string(reply.Error) == `""`
	status := answer.Status
	if (status == http.StatusOK || status == http.StatusCreated) && absent {
		return nil
	}
	suffix := ""
	if word != "" {
		suffix = ": " + word
	}
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500, slices.Contains(passing, word):
		e := freshet.Errorf(freshet.Unavailable, "%s: answered %d%s", host, status, suffix)
		e.RetryAfter = fetch.RetryAfter(answer.Header)
		return e
	case word != "", status == http.StatusUnauthorized, status == http.StatusForbidden:
		if word == "" {
			suffix = fmt.Sprintf(" with status %d", status)
		}
		e := freshet.Errorf(freshet.Denied, "%s: refused%s", host, suffix)
		if e.Hint = hints[word]; word == "invalid_client" || word == "" && status == http.StatusUnauthorized {
			e.Hint = s.clientHint()
		}
		return e
	}
	return freshet.Errorf(freshet.Malformed, "%s: answered %d, which is neither a token nor an error of OAuth", host, status).
		WithHint("check that token_url is the token endpoint")
}

// clientHint says what to check when the issuer does not believe who we are.
func (s *Source) clientHint() string {
	switch s.cfg.Auth {
	case authPrivateKeyJWT:
		return "check client_id, assertion_audience and this machine's clock, and that the issuer has the public key (by key_id)"
	case authPost:
		return "check client_id and client_secret; the issuer may want auth: basic"
	}
	return "check client_id and client_secret; the issuer may want auth: post"
}
