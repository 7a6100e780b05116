package approval

import (
	"crypto/rand"
	"strings"
)

// digits are Crockford's base32: no letter is taken for a digit, nor the other way round.
const digits = "0123456789abcdefghjkmnpqrstvwxyz"

// newIDLocked makes an ID of 40 random bits that none has. IDs are no secrets: who decides is known by other means.
func (b *book) newIDLocked() string {
	for {
		var id [8]byte
		_, _ = rand.Read(id[:]) // never fails: crypto/rand
		for i := range id {
			id[i] = digits[id[i]%32]
		}
		if b.byID[string(id[:])] == nil {
			return string(id[:])
		}
	}
}

// typed is an ID as somebody typed it, in its own letters.
func typed(id string) string {
	return strings.NewReplacer("o", "0", "i", "1", "l", "1", "-", "").Replace(strings.ToLower(strings.TrimSpace(id)))
}
