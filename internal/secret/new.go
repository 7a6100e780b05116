package secret

import (
	"crypto/rand"
	"encoding/base64"
)

// New is 32 random bytes, in characters that every dialect's header, and every client's URL, takes.
func New() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
