package freshet

import (
	"encoding/binary"
	"hash/maphash"
)

// seed makes key hashes unpredictable, so that nobody who chooses requests can choose collisions.
var seed = maphash.MakeSeed()

// appendKey appends the key of a request: an injective, length-prefixed encoding of the identity, its configuration's
// version, and the fields its source varies by. Two requests have one key exactly if one credential answers both.
// The request is normalised: defaults filled in, scopes a sorted set.
func appendKey(b []byte, id *Identity, r *Request) []byte {
	b = appendString(b, id.name)
	b = appendString(b, id.version)
	f := id.varies
	b = append(b, byte(f))
	if f&FieldTenant != 0 {
		b = appendString(b, r.Tenant)
	}
	if f&FieldScopes != 0 {
		b = binary.AppendUvarint(b, uint64(len(r.Scopes)))
		for _, s := range r.Scopes {
			b = appendString(b, s)
		}
	}
	if f&FieldAudience != 0 {
		b = appendString(b, r.Audience)
	}
	if f&FieldClaims != 0 {
		b = appendString(b, r.Claims)
	}
	if f&FieldCAE != 0 {
		if r.CAE {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	if f&FieldSubject != 0 {
		b = appendString(b, r.Subject)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func hashKey(key []byte) uint64 { return maphash.Bytes(seed, key) }
