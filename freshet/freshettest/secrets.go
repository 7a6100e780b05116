package freshettest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// minSecret is the shortest secret that is worth a search: anything shorter turns up by chance.
const minSecret = 8

// LeakedSecrets fails the test for every secret that text contains: as it is, or as a URL, JSON, Go syntax, base64 (at any
// offset, as in a Basic header), hex, or a printed slice of bytes shows it. The failure names the secret by its place among the
// arguments and does not print it. A secret of fewer than 8 bytes, the empty one included, fails too: it was not planted.
func LeakedSecrets(t testing.TB, text string, secrets ...string) {
	t.Helper()
	for _, leak := range leaks(text, secrets) {
		t.Error(leak)
	}
}

// leaks describes each secret found in text.
func leaks(text string, secrets []string) []string {
	var found []string
	lower := strings.ToLower(text)
	for i, secret := range secrets {
		if len(secret) < minSecret {
			found = append(found, fmt.Sprintf("secret %d has %d bytes: too short to search for", i, len(secret)))
			continue
		}
		if strings.Contains(lower, hex.EncodeToString([]byte(secret))) {
			found = append(found, fmt.Sprintf("secret %d is in the text, in hex", i))
			continue
		}
		for _, form := range forms(secret) {
			if strings.Contains(text, form.text) {
				found = append(found, fmt.Sprintf("secret %d is in the text, %s", i, form.name))
				break
			}
		}
	}
	return found
}

type form struct{ name, text string }

// forms are the ways a secret may be written in a text.
func forms(secret string) []form {
	b := []byte(secret)
	quoted, _ := json.Marshal(secret)
	all := []form{
		{"as it is", secret},
		{"query-escaped", url.QueryEscape(secret)},
		{"path-escaped", url.PathEscape(secret)},
		{"in JSON", strings.Trim(string(quoted), `"`)},
		{"in Go syntax", strings.Trim(fmt.Sprintf("%q", secret), `"`)},
		{"as decimal bytes", strings.Trim(fmt.Sprint(b), "[]")},
		{"as bytes in Go syntax", strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}")},
	}
	// In base64 a secret behind other text starts at one of three offsets. Its first and last characters also hold bits of the
	// neighbours, so only the whole groups between are looked for.
	for offset := range 3 {
		whole := b[(3-offset)%3:]
		whole = whole[:len(whole)/3*3]
		all = append(all,
			form{"in base64", base64.StdEncoding.EncodeToString(whole)},
			form{"in base64url", base64.URLEncoding.EncodeToString(whole)})
	}
	return all
}
