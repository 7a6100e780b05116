package freshet

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// seed makes key hashes unpredictable, so that nobody who chooses requests can choose collisions.
var seed = maphash.MakeSeed()

// appendKey appends the key of a request within an identity: an injective, length-prefixed encoding of the fields its source varies
// by. Two requests have one key exactly if one credential answers both. The request is normalised: defaults filled in, scopes a
// sorted set.
func appendKey(b []byte, id *Identity, r *Request) []byte {
	f := id.varies
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

// wholeKey is a key with what tells its identity from all others, their configurations' versions included.
func wholeKey(id *Identity, key string) Secret {
	b := appendString(nil, id.name)
	b = appendString(b, id.version)
	b = append(b, byte(id.varies))
	return Secret(append(b, key...))
}

// keyRequest decodes the request that a key was made of: what the source is asked is what the answer is kept under, whatever
// became of the caller's slices meanwhile. Fields that the source does not vary by are the identity's defaults. It is called
// for every flight, since to keep the request beside its key would cost each entry more than all else but the credential.
func keyRequest(key string, id *Identity) Request {
	d, f := &id.defaults, id.varies
	r := Request{Tenant: d.Tenant, Audience: d.Audience, Subject: d.Subject}
	if f&FieldTenant != 0 {
		r.Tenant, key = cutString(key)
	}
	if f&FieldScopes != 0 {
		var n uint64
		if n, key = cutUvarint(key); n > 0 {
			r.Scopes = make([]string, n)
		}
		for i := range r.Scopes {
			r.Scopes[i], key = cutString(key)
		}
	} else {
		r.Scopes = slices.Clone(d.Scopes)
	}
	if f&FieldAudience != 0 {
		r.Audience, key = cutString(key)
	}
	if f&FieldClaims != 0 {
		r.Claims, key = cutString(key)
	}
	if f&FieldCAE != 0 {
		r.CAE, key = key[0] == 1, key[1:]
	}
	if f&FieldSubject != 0 {
		r.Subject, _ = cutString(key)
	}
	return r
}

func cutString(key string) (s, rest string) {
	n, key := cutUvarint(key)
	if n == 0 {
		return formatUUID(key[:uuidBytes]), key[uuidBytes:]
	}
	return key[:n-1], key[n-1:]
}

func cutUvarint(key string) (n uint64, rest string) {
	for shift := 0; ; shift += 7 {
		b := key[0]
		key = key[1:]
		if n |= uint64(b&0x7f) << shift; b < 0x80 {
			return n, key
		}
	}
}

// appendString appends a string's length, plus one, and the string; or 0 and the 16 bytes of a UUID, as which tenants and clients
// are named by the thousand.
func appendString(b []byte, s string) []byte {
	if whole, ok := appendUUID(append(b, 0), s); ok {
		return whole
	}
	b = binary.AppendUvarint(b, uint64(len(s))+1)
	return append(b, s...)
}

func hashKey(id *Identity, key []byte) uint32 { return uint32(maphash.Bytes(seed, key) ^ id.salt) }
