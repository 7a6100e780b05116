package oauth2

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch/jwt"
)

// credential reads a successful answer. v is what is known without it: when it was asked for, the issuer's clock, and the
// configured lifetime, for an answer that gives none.
func credential(host string, body []byte, v freshet.Validity) (*freshet.Credential, error) {
	var reply struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
		RefreshIn   json.RawMessage `json:"refresh_in"`
	}
	if json.Unmarshal(body, &reply) != nil {
		return nil, freshet.Errorf(freshet.Malformed, "%s: answer is not the JSON of a token", host).
			WithHint("check that token_url is the token endpoint")
	}
	// "BearerToken" is Apigee's word for it. RFC 6749 §5.1 requires a type, and some issuers leave it out.
	if t := reply.TokenType; t != "" && !strings.EqualFold(t, "Bearer") && !strings.EqualFold(t, "BearerToken") {
		e := freshet.Errorf(freshet.Malformed, "%s: answer is a token of another type than Bearer", host)
		if strings.EqualFold(t, "DPoP") {
			e.Why = host + ": answer is a DPoP token"
			// RFC 9449 §5: every request needs a proof by the key the token is bound to, which callers do not have.
			e.WithHint("DPoP tokens cannot be shared with callers: let this client have Bearer tokens")
		}
		return nil, e
	}
	switch expiresIn, ok, given := seconds(reply.ExpiresIn); {
	case given && !ok:
		return nil, freshet.Errorf(freshet.Malformed, "%s: answer's expires_in is no number", host)
	case given && expiresIn <= 0:
		return nil, freshet.Errorf(freshet.Malformed, "%s: answer had expired already", host)
	case given:
		v.Lifetime = expiresIn
	}
	if refreshIn, ok, _ := seconds(reply.RefreshIn); ok {
		v.RefreshIn = refreshIn
	}
	if exp, ok := jwt.Expiry(reply.AccessToken); ok {
		// Whoever checks the token goes by its exp, which is in whole seconds: of 30 s that a reply promises the last may be
		// missing. The sooner counts.
		v.Expires = exp
	}
	cred, err := freshet.NewBearer(reply.AccessToken, "Bearer", v)
	if err != nil {
		e := *freshet.AsError(err)
		e.Why = host + ": " + e.Why
		return nil, &e
	}
	return cred, nil
}

// seconds reads a number of seconds: a JSON number, whole or not, or a string of one. Null and the empty string are as good as
// nothing.
func seconds(raw json.RawMessage) (d time.Duration, ok, given bool) {
	text := string(raw)
	var quoted string
	if json.Unmarshal(raw, &quoted) == nil {
		text = strings.TrimSpace(quoted)
	}
	if text == "" || text == "null" {
		return 0, false, false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || strings.Trim(text, "0123456789+-.eE") != "" { // ParseFloat takes hex and Inf too
		return 0, false, true
	}
	// A duration holds 292 years. More than 10 is refused further on.
	const century = 100 * 365 * 24 * 3600
	return time.Duration(max(-1, min(f, century)) * float64(time.Second)), true, true
}
