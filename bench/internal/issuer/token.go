package issuer

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Wanted is what a token is asked for.
type Wanted struct{ Tenant, Scope string }

// Token is what the issuer answers.
type Token struct {
	Secret    string // 1.6 KB, as an access token of Entra is, and another for each call; see [Read]
	Issued    time.Time
	Expires   time.Time
	RefreshAt time.Time // zero: not said
}

// size is that of a token.
const size = 1600

// payload is a token's claims.
type payload struct {
	Tenant  string `json:"tid"`
	Scope   string `json:"scp"`
	Call    int64  `json:"jti"`
	Expires int64  `json:"exp"`
}

const header = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9" // {"alg":"RS256","typ":"JWT"}

// signature is as long as a token needs it, and is none.
var signature = strings.Repeat("c2lnbmF0dXJl", size/12+1)

// secret is a token in the form of a JWT (RFC 7519), which nobody signed.
func secret(w Wanted, call int64, expires time.Time) string {
	claims, err := json.Marshal(payload{w.Tenant, w.Scope, call, expires.Unix()})
	if err != nil {
		panic(err) // strings and numbers
	}
	b := make([]byte, 0, size)
	b = append(b, header...)
	b = append(b, '.')
	b = base64.RawURLEncoding.AppendEncode(b, claims)
	b = append(b, '.')
	return string(append(b, signature[:max(4, size-len(b))]...))
}

// Read is what a token was given for, and by which call.
func Read(secret string) (w Wanted, call int64, err error) {
	parts := strings.Split(secret, ".")
	if len(parts) != 3 || parts[0] != header {
		return Wanted{}, 0, fmt.Errorf("a token of %d bytes is none of the issuer's", len(secret))
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Wanted{}, 0, err
	}
	var p payload
	if err := json.Unmarshal(claims, &p); err != nil {
		return Wanted{}, 0, err
	}
	return Wanted{p.Tenant, p.Scope}, p.Call, nil
}
