package freshet

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
)

// jwtClaims are the claims that a broker reads of a token it does not verify: it came from its issuer over an authenticated
// connection, and whoever it is presented to verifies it.
type jwtClaims struct {
	Expires  int64 // exp in whole seconds of the Unix epoch; 0 if absent or not a number
	Audience []string
}

// parseJWT reads the payload of a compact JWS (RFC 7515 §3.1). What is not one is not an error: tokens are opaque (RFC 6749
// §1.4), and only those that happen to be JWTs tell more.
func parseJWT(token string) (jwtClaims, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return jwtClaims{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return jwtClaims{}, false
	}
	var raw struct {
		Exp json.RawMessage `json:"exp"`
		Aud json.RawMessage `json:"aud"`
	}
	if json.Unmarshal(payload, &raw) != nil {
		return jwtClaims{}, false
	}
	var c jwtClaims
	var exp float64 // RFC 7519 §2: a NumericDate may have a fraction
	if json.Unmarshal(raw.Exp, &exp) == nil && exp > 0 && exp < math.MaxInt32*1000 {
		c.Expires = int64(exp)
	}
	var one string
	if json.Unmarshal(raw.Aud, &one) == nil && one != "" {
		c.Audience = []string{one}
	} else if json.Unmarshal(raw.Aud, &c.Audience) != nil {
		c.Audience = nil
	}
	return c, true
}
