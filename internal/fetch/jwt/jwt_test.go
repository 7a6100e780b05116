package jwt

import (
	"encoding/base64"
	"testing"
	"time"

	"freshet.dev/freshet"
)

func token(payload string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestExpiry(t *testing.T) {
	for text, want := range map[string]int64{
		token(`{"exp":1700000000}`):       1700000000,
		token(`{"exp":1700000000.9}`):     1700000000,
		token(`{"exp":1.7e9}`):            1700000000,
		token(`{"exp":4102444800000}`):    0, // milliseconds
		token(`{"exp":"1700000000"}`):     0,
		token(`{"exp":0}`):                0,
		token(`{"exp":-1}`):               0,
		token(`{"sub":"x"}`):              0,
		token(`nonsense`):                 0,
		"":                                0,
		"opaque":                          0,
		"a.b":                             0,
		"a.!.c":                           0,
		token(`{"exp":1700000000}`) + ".": 0,
	} {
		got, ok := Expiry(text)
		if ok != (want != 0) || ok && got != time.Unix(want, 0) {
			t.Errorf("%q: got %v %v, want %d", text, got, ok, want)
		}
	}
}

// FuzzExpiry holds this reading of exp to the library's.
func FuzzExpiry(f *testing.F) {
	for _, payload := range []string{`{"exp":4000000000}`, `{"exp":1}`, `{"exp":9e99}`, `{}`, `{"exp":null,"aud":["x"]}`} {
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		text := token(payload)
		got, ok := Expiry(text)
		cred, err := freshet.NewBearer(text, "", freshet.Validity{})
		if err == nil && (!ok || !cred.Expires().Equal(got)) {
			t.Errorf("%s: got %v %v, the library %v", payload, got, ok, cred.Expires())
		}
	})
}
