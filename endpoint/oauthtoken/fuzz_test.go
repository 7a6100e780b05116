package oauthtoken

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/guard"
)

// FuzzAuthentication is given the secret, where SECRET stands, by Basic or in the form. It holds that whoever is answered has
// shown it, in one place, for an identity of the door, and that what is asked for is what the form says by the library's own
// parser.
func FuzzAuthentication(f *testing.F) {
	f.Add("grant_type=client_credentials&scope=a+b&audience=x", "id", "SECRET", true)
	f.Add("grant_type=client_credentials&client_id=id&client_secret=SECRET&resource=x&audience=x", "", "", false)
	f.Add("grant_type=client_credentials&client_id=id&client_secret=", "id", "SECRET", true)
	f.Add("grant_type=client_credentials&client_id=other+one", "other%20one", "SECRET", true)
	f.Add("grant_type=client_credentials&scope=a%0d%0ab&scope=c", "id", "SECRET%", true)
	f.Add("grant_type=client_credentials&cliEnt_id=id&%63lient_id=id&client%5fsecret=SECRET;x", "", "", false)
	f.Add("grant_type=client_credentials&client_id=id&client_secret=SECRET&x=a;b", "", "", false)
	f.Add("grant_type=client_credentials&client_id=id&client_secret=SECRET", "id", "SECRET", true)
	f.Add("grant_type=refresh_token&client_id=id&client_secret=SECRET", "", "", false)
	const mine = "fuzzed-secret-0123456789abcdefghij" // no escape changes it
	c, err := freshet.NewBearer("planted-token", "", freshet.Validity{Lifetime: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	d := freshettest.NewDoor("id", "other one")
	d.Answer(freshet.Answer{Credential: c})
	h := guard.Handler(nil, Deny, New(d, guard.NewSecret(mine)))
	f.Fuzz(func(t *testing.T, body, user, password string, basic bool) {
		body, password = strings.ReplaceAll(body, "SECRET", mine), strings.ReplaceAll(password, "SECRET", mine)
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+Path, strings.NewReader(body))
		r.Header.Set("Content-Type", formType)
		if basic {
			r.SetBasicAuth(user, password)
		}
		before := d.Asked()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)

		var doc map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatalf("%q: %v", w.Body, err)
		}
		if asked := d.Asked() != before; asked != (w.Code == http.StatusOK) || asked != (doc["access_token"] == "planted-token") {
			t.Fatalf("answered %d, asked: %v", w.Code, asked)
		}
		freshettest.LeakedSecrets(t, w.Body.String(), mine)
		if w.Code != http.StatusOK {
			if description, _ := doc["error_description"].(string); doc["error"] == "" || strings.Trim(description, " !#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~") != "" {
				t.Errorf("got %v", doc) // RFC 6749 §5.2
			}
			return
		}
		values, err := url.ParseQuery(body)
		if err != nil || len(values["grant_type"]) != 1 || values.Get("grant_type") != "client_credentials" {
			t.Fatalf("%q is answered: %v", body, err)
		}
		if shown := values.Get("client_secret") == mine; shown == (basic && user != "") && shown == (basic && strings.Contains(password, mine)) {
			t.Errorf("%q, Basic %v: the secret is not in one place", body, basic)
		}
		identity, req := d.Last()
		if identity != "id" && identity != "other one" {
			t.Errorf("identity %q is asked for", identity)
		}
		if got, want := strings.Join(req.Scopes, " "), strings.Join(strings.Fields(values.Get("scope")), " "); got != want {
			t.Errorf("%q asks for scopes %q", body, got)
		}
		if a := req.Audience; a != values.Get("audience") && a != values.Get("resource") || a == "" && values.Get("audience")+values.Get("resource") != "" {
			t.Errorf("%q asks for audience %q", body, a)
		}
		if seconds, ok := doc["expires_in"].(float64); !ok || seconds <= 0 || seconds > 3600 {
			t.Errorf("expires_in is %v", doc["expires_in"])
		}
	})
}
