package az

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/corpus"
)

// FuzzTenant holds that whatever stands in a token, what is printed is one line of JSON with that token, and that a tenant which
// was asked for is the one printed.
func FuzzTenant(f *testing.F) {
	for _, golden := range corpus.Of(f, "testdata/*.json") {
		f.Add(golden, "")
	}
	f.Add(`{"tid":"contoso.example"}`, "")
	f.Add(`{"tid":"\"}\n\u2028"}`, "fabrikam.example")
	f.Add(`{"tid":[1]}`, "\xff")
	f.Fuzz(func(t *testing.T, payload, tenant string) {
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".x"
		c, err := freshet.NewBearer(token, "", freshet.Validity{Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		out, err := Render(freshet.Answer{Credential: c}, tenant)
		if err != nil || strings.Count(string(out), "\n") != 1 || out[len(out)-1] != '\n' {
			t.Fatalf("got %q, %v", out, err)
		}
		var doc struct {
			AccessToken string `json:"accessToken"`
			Epoch       int64  `json:"expires_on"`
			Tenant      *string
		}
		if err := json.Unmarshal(out, &doc); err != nil || doc.AccessToken != token || doc.Epoch != c.Expires().Unix() {
			t.Fatalf("got %q, %v", out, err)
		}
		want := strings.ToValidUTF8(tenant, "\ufffd")
		if tenant != "" && (doc.Tenant == nil || strings.ReplaceAll(*doc.Tenant, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "")) {
			t.Errorf("%q is asked for: got %q", tenant, out)
		}
		var claims map[string]any
		if tenant == "" && doc.Tenant != nil && (json.Unmarshal([]byte(payload), &claims) != nil || *doc.Tenant == "") {
			t.Errorf("%q has tenant %q", payload, *doc.Tenant)
		}
	})
}
