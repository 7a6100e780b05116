// Package jwt reads the expiry of access tokens that are JWTs. It verifies nothing: a token came from its issuer over an
// authenticated way, and whoever it is presented to verifies it.
package jwt

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"time"
)

// Expiry is the exp claim (RFC 7519 §4.1.4) of a compact JWS; false for what is none, or has none. The library reads it too,
// but only where nothing else is said of the token's life.
func Expiry(token string) (time.Time, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, false
	}
	var claims struct {
		Expires float64 `json:"exp"` // RFC 7519 §2: a NumericDate may have a fraction
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Expires <= 0 || claims.Expires > math.MaxInt32*1000 {
		return time.Time{}, false
	}
	return time.Unix(int64(claims.Expires), 0), true
}
