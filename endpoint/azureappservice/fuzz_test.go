package azureappservice

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
	"freshet.dev/internal/corpus"
	"freshet.dev/internal/guard"
)

// FuzzRequest holds that tokens go to nobody without the secret or for another client's identity, that what is asked for is one
// scope that is the query's resource, and that an answer from memory is that to the same query. SECRET stands for the secret.
func FuzzRequest(f *testing.F) {
	f.Add("GET", Path, vault, "SECRET", "")
	f.Add("GET", Path, vault+"&client_id="+mine, "SECRET", "")
	f.Add("GET", Path, version+"&resource=a&resource=b&xms_cc=c", "SECRET", "")
	f.Add("GET", Path, version+"&resource=a%20b&client_id=%zz", "SECRET", "")
	f.Add("GET", Path, "&&=&resource=https://management.core.windows.net//.default&api-version=2019-08-01&mi_res_id=", "SECRET", "x\r\nA: b")
	f.Add("GET", Path, version+"&resource=https%3A%2F%2Fmanagement.core.windows.net%2F", "SECRET", "")
	f.Add("POST", "/msi/token/", vault+"&secret=SECRET", "", "")
	for _, golden := range corpus.Of(f, "testdata/*.json") {
		f.Add("GET", Path, version+"&resource="+url.QueryEscape(golden), "SECRET", golden)
	}
	c, err := freshet.NewBearer("planted-token", "", freshet.Validity{Lifetime: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path, query, header, failure string) {
		header = strings.ReplaceAll(header, "SECRET", secret)
		for _, cfg := range []Config{{}, {ClientID: mine}} {
			d := freshettest.NewDoor("id")
			if failure == "" {
				d.Answer(freshet.Answer{Credential: c})
			} else {
				d.Fail(freshet.Errorf(freshet.Unavailable, "%s", failure))
			}
			h := guard.Handler(nil, Deny, New(cfg, d, "id", guard.NewSecret(secret)))
			ask := func() *httptest.ResponseRecorder {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Host: "127.0.0.1", Body: http.NoBody,
					Header: http.Header{secretHeader: {header}}})
				return w
			}
			w := ask()
			if !json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("answer is no JSON: %q", w.Body)
			}
			freshettest.LeakedSecrets(t, w.Body.String(), secret)
			if d.Asked() == 0 {
				if w.Code < 400 || strings.Contains(w.Body.String(), "planted-token") {
					t.Errorf("answered %d and nobody asked: %s", w.Code, w.Body)
				}
				continue
			}
			if method != http.MethodGet || path != Path || header != secret {
				t.Fatalf("%s %s with %q is asked for", method, path, header)
			}
			// The library's own parser reads the same of what is accepted.
			values, err := url.ParseQuery(query)
			if err != nil && !strings.Contains(query, ";") {
				t.Fatalf("%q is accepted, and is no query: %v", query, err)
			}
			_, req := d.Last()
			if len(req.Scopes) != 1 || len(strings.Fields(req.Scopes[0])) != 1 || len(req.Scopes[0]) > len(query)+len("/.default") {
				t.Fatalf("%q asks for %q", query, req.Scopes)
			}
			if resource := values.Get("resource"); err == nil && req.Scopes[0] != resource && req.Scopes[0] != resource+"/.default" {
				t.Errorf("%q asks for %q", query, req.Scopes)
			}
			if id := values.Get("client_id"); err == nil && cfg.ClientID != "" && id != "" && !strings.EqualFold(id, mine) {
				t.Errorf("client_id %q is answered", id)
			}
			if (w.Code == http.StatusOK) != (failure == "") {
				t.Errorf("answered %d", w.Code)
			}
			if w.Code != http.StatusOK {
				continue
			}
			first, second := read(t, w), read(t, ask())
			if first.Token != "planted-token" || second.Token != first.Token || second.Resource != first.Resource ||
				string(first.Expires) != string(second.Expires) || err == nil && first.Resource != values.Get("resource") {
				t.Errorf("%q: got %+v, then %+v", query, first, second)
			}
			if d.Asked() != 2 {
				t.Errorf("asked %d times for two requests", d.Asked())
			}
			if _, again := d.Last(); again.String() != req.String() {
				t.Errorf("%q asks for %v, and again for %v", query, req, again)
			}
		}
	})
}
