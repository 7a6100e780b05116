package freshet

import "encoding/binary"

const (
	uuidText  = 36
	uuidBytes = 16
	dashes    = 1<<8 | 1<<13 | 1<<18 | 1<<23 // their places in a UUID's text
)

// appendUUID appends the bytes of a UUID in its text form of RFC 9562 §4, all in lower case, and reports whether s is one.
//
// It runs at every hit that comes with strings, and so reads eight digits at a time.
func appendUUID(b []byte, s string) ([]byte, bool) {
	if len(s) != uuidText || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return b, false
	}
	w1, odd1 := unhex(four(s, 0) | four(s, 4)<<32)
	w2, odd2 := unhex(four(s, 9) | four(s, 14)<<32)
	w3, odd3 := unhex(four(s, 19) | four(s, 24)<<32)
	w4, odd4 := unhex(four(s, 28) | four(s, 32)<<32)
	if odd1|odd2|odd3|odd4 != 0 {
		return b, false
	}
	b = binary.LittleEndian.AppendUint32(b, w1)
	b = binary.LittleEndian.AppendUint32(b, w2)
	b = binary.LittleEndian.AppendUint32(b, w3)
	return binary.LittleEndian.AppendUint32(b, w4), true
}

// four is four bytes of s, the first the lowest.
func four(s string, at int) uint64 {
	_ = s[at+3]
	return uint64(s[at]) | uint64(s[at+1])<<8 | uint64(s[at+2])<<16 | uint64(s[at+3])<<24
}

// unhex is what eight lower-case hexadecimal digits stand for, the first the lowest byte of text and half of the lowest byte of what is
// returned. odd is not 0 if one is no digit.
//
// Each byte's value is its low half, plus 9 for a letter, which bit 6 tells. What the values are written as has to be the text again,
// and none may be over 15.
func unhex(text uint64) (value uint32, odd uint64) {
	const each = 0x0101010101010101
	v := text&(0x0f*each) + (text>>6&each)*9
	letter := (v + 0x76*each) >> 7 & each
	odd = v&(0xf0*each) | ((v + 0x30*each + letter*0x27) ^ text)
	v = (v<<4 | v>>8) & 0x00ff00ff00ff00ff
	v = (v | v>>8) & 0x0000ffff0000ffff
	return uint32(v | v>>16), odd
}

// formatUUID is the text of a UUID's bytes.
func formatUUID(whole string) string {
	const digits = "0123456789abcdef"
	text := make([]byte, 0, uuidText)
	for i := range uuidBytes {
		if dashes>>len(text)&1 != 0 {
			text = append(text, '-')
		}
		text = append(text, digits[whole[i]>>4], digits[whole[i]&15])
	}
	return string(text)
}
