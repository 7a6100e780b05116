package freshet

import (
	"bytes"
	"strings"
	"testing"
)

func TestUUIDsTakeSixteenBytes(t *testing.T) {
	const text = "0123abcd-4567-89ef-fedc-ba9876543210"
	b, ok := appendUUID([]byte("before"), text)
	want := "before\x01\x23\xab\xcd\x45\x67\x89\xef\xfe\xdc\xba\x98\x76\x54\x32\x10"
	if !ok || string(b) != want {
		t.Fatalf("got %q, %v, want %q", b, ok, want)
	}
	if got := formatUUID(want[len("before"):]); got != text {
		t.Errorf("got %s back, want %s", got, text)
	}
}

// What differs from a UUID's text in one character is none: the text has to come back as it was.
func TestWhatIsNearlyAUUIDIsNone(t *testing.T) {
	const text = "0123abcd-4567-89ef-fedc-ba9876543210"
	list := []string{"", text[:35], text + "0", strings.ToUpper(text), strings.ReplaceAll(text, "-", ""), "{" + text[1:35] + "}"}
	for i := range text {
		for _, c := range []string{"g", "-", "A", "F", "{", "\x00", "\x10", "\x80", "\xb0", "\xff", "/", ":", "`", "@", "p"} {
			if text[i:i+1] != c {
				list = append(list, text[:i]+c+text[i+1:])
			}
		}
	}
	for _, s := range list {
		if b, ok := appendUUID([]byte("before"), s); ok || !bytes.Equal(b, []byte("before")) {
			t.Errorf("%q is taken for a UUID, or left %q behind", s, b)
		}
	}
}
