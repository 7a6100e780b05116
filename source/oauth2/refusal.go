package oauth2

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch"
)

// isCode reports whether s looks like an error code, and so may be shown: all that are registered do, and no secret does that
// is not a word.
func isCode(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// passing are codes that say "not now": code → the status that it stands for. RFC 6749 §4.1.2.1 has the first two for the
// authorization endpoint, where a redirect cannot carry a 503 or a 500; RFC 8628 §3.5 the third. Token endpoints use them too,
// at any status.
var passing = map[string]int{
	"temporarily_unavailable": http.StatusServiceUnavailable,
	"server_error":            http.StatusInternalServerError,
	"slow_down":               http.StatusTooManyRequests,
}

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
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500, passing[word] != 0:
		e := freshet.Errorf(freshet.Unavailable, "%s: answered %d%s", host, status, suffix)
		e.Status, e.RetryAfter = status, fetch.RetryAfter(answer.Header)
		// The greater tells more, and 429 the most.
		if stands := passing[word]; status != http.StatusTooManyRequests && (stands > status || stands == http.StatusTooManyRequests) {
			e.Status = stands
		}
		return e
	case word != "", status == http.StatusUnauthorized, status == http.StatusForbidden:
		if word == "" {
			suffix = fmt.Sprintf(" with status %d", status)
		}
		e := freshet.Errorf(freshet.Denied, "%s: refused%s", host, suffix)
		e.Status = status
		if e.Hint = hints[word]; word == "invalid_client" || word == "" && status == http.StatusUnauthorized {
			e.Hint = s.clientHint()
		}
		return e
	}
	e := freshet.Errorf(freshet.Malformed, "%s: answered %d, which is neither a token nor an error of OAuth", host, status).
		WithHint("check that token_url is the token endpoint")
	e.Status = status
	return e
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
