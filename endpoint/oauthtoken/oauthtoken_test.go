package oauthtoken

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/guard"
)

// secret has characters that form-encoding changes.
const secret = "0123456789+abc/def %25&=:ü planted"

// trial is an endpoint for the identities "id" and "other one".
type trial struct {
	*testing.T
	door    *freshettest.Door
	handler http.Handler
}

func newTrial(t *testing.T) *trial {
	t.Helper()
	d := freshettest.NewDoor("id", "other one")
	c, err := freshet.NewBearer("planted-token", "DPoP", freshet.Validity{Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	d.Answer(freshet.Answer{Credential: c})
	return &trial{t, d, guard.Handler(nil, Deny, New(d, guard.NewSecret(secret)))}
}

// post sends a form, as change would have it.
func (t *trial) post(form url.Values, change func(*http.Request)) (status int, header http.Header, doc map[string]any) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:9913"+Path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	t.handler.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return w.Code, w.Header(), doc
}

func grant(more ...string) url.Values {
	v := url.Values{"grant_type": {"client_credentials"}}
	for i := 0; i < len(more); i += 2 {
		v.Add(more[i], more[i+1])
	}
	return v
}

func inBody(more ...string) url.Values {
	return grant(append(more, "client_id", "id", "client_secret", secret)...)
}

func TestSecretIsAcceptedByBasicOrInTheBodyButNotBoth(t *testing.T) {
	encoded := func(id, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(password)) }
	}
	raw := func(id, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(id, password) }
	}
	for _, test := range []struct {
		name   string
		form   url.Values
		change func(*http.Request)
		want   string // the identity; "" for invalid_client
	}{
		{"basic, form-encoded (RFC 6749 §2.3.1)", grant(), encoded("other one", secret), "other one"},
		{"basic, raw (curl -u)", grant(), raw("other one", secret), "other one"},
		{"body", inBody(), nil, "id"},
		{"basic, and the same client_id in the body", grant("client_id", "other one"), encoded("other one", secret), "other one"},
		{"basic, and another client_id in the body", grant("client_id", "id"), encoded("other one", secret), ""},
		{"both", inBody(), encoded("id", secret), ""},
		{"both, the body's empty", grant("client_id", "id", "client_secret", ""), encoded("id", secret), ""},
		{"body without client_id", grant("client_secret", secret), nil, ""},
		{"body with an identity that is not here", grant("client_id", "prod", "client_secret", secret), nil, ""},
		{"basic with an identity that is not here", grant(), encoded("prod", secret), ""},
		{"basic with a wrong secret", grant(), encoded("id", secret+"x"), ""},
		{"bearer", grant("client_id", "id"), func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }, ""},
		{"nothing", grant(), nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newTrial(t)
			status, header, doc := e.post(test.form, test.change)
			if test.want == "" {
				if status != http.StatusUnauthorized || doc["error"] != "invalid_client" || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Basic ") || e.door.Asked() != 0 {
					t.Errorf("status %d, %v, %q, the door asked %d times; want 401 invalid_client", status, doc, header.Get("WWW-Authenticate"), e.door.Asked())
				}
				return
			}
			if name, _ := e.door.Last(); status != http.StatusOK || name != test.want || doc["access_token"] != "planted-token" {
				t.Errorf("status %d, %v, for identity %q, want %q", status, doc, name, test.want)
			}
		})
	}
}

func TestAnswerIsThatOfRFC6749(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTrial(t)
		status, header, doc := e.post(inBody(), nil)
		if status != http.StatusOK || doc["token_type"] != "DPoP" || doc["expires_in"] != float64(3600-120) || len(doc) != 3 {
			t.Errorf("status %d, %v", status, doc)
		}
		if header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", header)
		}
		<-time.After(30 * time.Minute)
		if _, _, doc := e.post(inBody(), nil); doc["expires_in"] != float64(1800-120) {
			t.Errorf("after half its life expires_in is %v", doc["expires_in"])
		}
		<-time.After(29 * time.Minute)
		if _, _, doc := e.post(inBody(), nil); doc["expires_in"] != float64(60) {
			t.Errorf("a minute before its end expires_in is %v", doc["expires_in"])
		}
		static, err := freshet.NewBearer("planted-token", "", freshet.Validity{Static: true})
		if err != nil {
			t.Fatal(err)
		}
		e.door.Answer(freshet.Answer{Credential: static})
		if _, _, doc := e.post(inBody(), nil); doc["expires_in"] != float64(3600) || doc["token_type"] != "Bearer" {
			t.Errorf("for one that does not expire: %v", doc)
		}
	})
}

func TestWhatIsAskedForReachesTheDoorAndNothingFromTheURLDoes(t *testing.T) {
	for _, test := range []struct {
		name string
		form url.Values
		url  string
		want freshet.Request
	}{
		{"nothing", inBody(), "", freshet.Request{}},
		{"scope", inBody("scope", " read  write "), "", freshet.Request{Scopes: []string{"read", "write"}}},
		{"audience", inBody("audience", "api"), "", freshet.Request{Audience: "api"}},
		{"resource (RFC 8707)", inBody("resource", "https://api"), "", freshet.Request{Audience: "https://api"}},
		{"both alike", inBody("resource", "api", "audience", "api"), "", freshet.Request{Audience: "api"}},
		{"in the URL", inBody(), "?scope=admin&audience=other&resource=other", freshet.Request{}},
		{"in both", inBody("scope", "read"), "?scope=admin", freshet.Request{Scopes: []string{"read"}}},
	} {
		e := newTrial(t)
		status, _, doc := e.post(test.form, func(r *http.Request) { r.URL, _ = url.Parse(Path + test.url) })
		_, got := e.door.Last()
		if status != http.StatusOK || !slices.Equal(got.Scopes, test.want.Scopes) || got.Audience != test.want.Audience {
			t.Errorf("%s: status %d, %v; the door was asked for %v, want %v", test.name, status, doc, got, test.want)
		}
	}
	e := newTrial(t)
	status, _, doc := e.post(url.Values{}, func(r *http.Request) { r.URL.RawQuery = inBody().Encode() })
	if status != http.StatusUnauthorized || e.door.Asked() != 0 {
		t.Errorf("everything in the URL: status %d, %v", status, doc)
	}
}

func TestRequestsThatAreNoneAreRefusedBeforeTheDoor(t *testing.T) {
	for _, test := range []struct {
		name   string
		form   url.Values
		change func(*http.Request)
		want   string
	}{
		{"another grant", url.Values{"grant_type": {"password"}, "client_id": {"id"}, "client_secret": {secret}}, nil, "unsupported_grant_type"},
		{"no grant", url.Values{"client_id": {"id"}, "client_secret": {secret}}, nil, "unsupported_grant_type"},
		{"two scopes", inBody("scope", "a", "scope", "b"), nil, "invalid_request"},
		{"two resources", inBody("resource", "a", "resource", "b"), nil, "invalid_request"},
		{"two secrets", inBody("client_secret", secret), nil, "invalid_request"},
		{"audience and another resource", inBody("audience", "a", "resource", "b"), nil, "invalid_target"},
		{"JSON", inBody(), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, "invalid_request"},
		{"no type", inBody(), func(r *http.Request) { r.Header.Del("Content-Type") }, "invalid_request"},
		{"multipart", inBody(), func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data; boundary=x") }, "invalid_request"},
	} {
		e := newTrial(t)
		if status, _, doc := e.post(test.form, test.change); status != http.StatusBadRequest || doc["error"] != test.want || e.door.Asked() != 0 {
			t.Errorf("%s: status %d, %v, the door asked %d times; want 400 %s", test.name, status, doc, e.door.Asked(), test.want)
		}
	}
}

// TestFailuresHaveTheirCode checks RFC 6749 §5.2: the code, and a description of printable ASCII without quote and backslash.
func TestFailuresHaveTheirCode(t *testing.T) {
	for kind, want := range map[freshet.Kind]string{
		freshet.Invalid: "invalid_scope", freshet.Denied: "unauthorized_client", freshet.LoginNeeded: "unauthorized_client",
		freshet.Unavailable: "temporarily_unavailable", freshet.Malformed: "server_error", freshet.Bug: "server_error",
	} {
		e := newTrial(t)
		e.door.Fail(&freshet.Error{Kind: kind, Why: "scope \"a\\b\": no\r\nSet-Cookie: ü"})
		_, header, doc := e.post(inBody(), nil)
		if doc["error"] != want || doc["error_description"] != "scope 'a?b': no??Set-Cookie: ?" || header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %v, want %s", kind, doc, want)
		}
		if header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: the client is told that its own secret is wrong", kind)
		}
	}
}

func TestEnvironmentNamesTheIdentity(t *testing.T) {
	env := Environment("http://127.0.0.1:1", "s", "id")
	if env["FRESHET_TOKEN_URL"] != "http://127.0.0.1:1/token" || env["FRESHET_CLIENT_ID"] != "id" || env["FRESHET_CLIENT_SECRET"] != "s" || len(env) != 3 {
		t.Errorf("got %v", env)
	}
}

// FuzzTokenRequest looks for a request that panics, or that is answered without the secret.
func FuzzTokenRequest(f *testing.F) {
	f.Add("POST", "/token", "application/x-www-form-urlencoded", "Basic aWQ6eA==", "grant_type=client_credentials")
	f.Add("POST", "/token?client_secret=x", "application/x-www-form-urlencoded; charset=utf-8", "", "grant_type=client_credentials&client_id=id&client_secret=%zz")
	f.Add("POST", "/token", "application/x-www-form-urlencoded", "Basic OjA=", "grant_type=client_credentials&client_id=&client_secret=")
	f.Add("GET", "/%2e/token", "text/plain", "Bearer x", ";&=;%")
	const secret = "fuzzed-secret-0123456789abcdefghij"
	d := freshettest.NewDoor("id")
	c, err := freshet.NewBearer("planted-token", "", freshet.Validity{Static: true})
	if err != nil {
		f.Fatal(err)
	}
	d.Answer(freshet.Answer{Credential: c})
	h := guard.Handler(nil, Deny, New(d, guard.NewSecret(secret)))
	f.Fuzz(func(t *testing.T, method, target, contentType, authorization, body string) {
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		r := httptest.NewRequest("POST", "http://127.0.0.1"+Path, strings.NewReader(body))
		r.Method, r.URL = method, u
		r.Header = http.Header{"Content-Type": {contentType}, "Authorization": {authorization}}
		before := d.Asked()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if d.Asked() != before || w.Code == http.StatusOK || strings.Contains(w.Body.String(), "planted-token") {
			t.Errorf("answered %d without the secret: %s", w.Code, w.Body)
		}
		if w.Header().Get("Content-Type") != "application/json" || !json.Valid(w.Body.Bytes()) {
			t.Errorf("answer is no JSON: %q", w.Body)
		}
	})
}
