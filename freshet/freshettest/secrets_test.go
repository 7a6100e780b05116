package freshettest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
)

func TestLeaks(t *testing.T) {
	const secret = `pl+nted "s3cret"/<&>`
	quoted, _ := json.Marshal(map[string]string{"a": secret})
	for name, text := range map[string]string{
		"plain":        "x " + secret + " y",
		"query":        "?s=" + url.QueryEscape(secret),
		"path":         "/" + url.PathEscape(secret),
		"json":         string(quoted),
		"go syntax":    fmt.Sprintf("%#v", struct{ S string }{secret}),
		"hex":          hex.EncodeToString([]byte("a" + secret)),
		"upper hex":    fmt.Sprintf("%X", secret),
		"bytes":        fmt.Sprint([]byte("a" + secret + "b")),
		"go bytes":     fmt.Sprintf("%#v", []byte("a"+secret+"b")),
		"base64":       base64.StdEncoding.EncodeToString([]byte(secret + ":x")),
		"base64 at 1":  base64.StdEncoding.EncodeToString([]byte("a" + secret + "z")),
		"base64 at 2":  base64.RawStdEncoding.EncodeToString([]byte("ab" + secret + "zz")),
		"base64url":    base64.RawURLEncoding.EncodeToString([]byte("abc" + secret)),
		"base64url, 1": base64.URLEncoding.EncodeToString([]byte("id:x" + secret)),
	} {
		if got := leaks(text, []string{"innocuous one", secret}); len(got) != 1 {
			t.Errorf("%s: found %q in %q, want the one", name, got, text)
		}
	}
	for _, text := range []string{"", "planted", "x pl+nted y", hex.EncodeToString([]byte("pl+nted"))} {
		if got := leaks(text, []string{secret}); got != nil {
			t.Errorf("%q: found %q, want nothing", text, got)
		}
	}
	for _, short := range []string{"", "abc1234"} {
		if got := leaks("text", []string{short}); len(got) != 1 {
			t.Errorf("secret %q: found %q, want it refused as too short", short, got)
		}
	}
}

func TestLeakedSecretsFailsTheTest(t *testing.T) {
	var fake fakeT
	LeakedSecrets(&fake, "nothing here", "planted-secret")
	if fake.errors != 0 {
		t.Error("it failed without a leak")
	}
	LeakedSecrets(&fake, "a planted-secret here", "planted-secret")
	if fake.errors != 1 {
		t.Error("it passed with a leak")
	}
}

// fakeT counts failures.
type fakeT struct {
	testing.TB
	errors int
}

func (*fakeT) Helper()        {}
func (t *fakeT) Error(...any) { t.errors++ }
