package localapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"freshet.dev/broker"
	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/peer"
	"freshet.dev/internal/wire"
)

// varied is a source that notes what it is asked for.
type varied struct{ last freshet.Request }

func (*varied) Varies() freshet.Fields {
	return freshet.FieldTenant | freshet.FieldScopes | freshet.FieldAudience | freshet.FieldClaims
}

func (v *varied) Retrieve(_ context.Context, req freshet.Request) (*freshet.Credential, error) {
	v.last = req
	return freshet.NewBearer("planted-token", "", freshet.Validity{Lifetime: time.Hour})
}

// FuzzRequest sends any request to each route, from the owner and from somebody else. It holds that nobody else gets anything, that
// what is answered with success was one JSON object, and that whatever is refused is so by a problem whose status says it.
func FuzzRequest(f *testing.F) {
	for _, path := range []string{"/v1/identities/id/credential", "/v1/identities/id/reject", "/v1/identities/id/unblock", "/v1/sessions", "/v1/proxies", "/v1/reload"} {
		f.Add("POST", path, "{}", "", "", true)
		f.Add("POST", path, "null", "", "", true)
		f.Add("POST", path, `{"a":1}`, "", "a,b", false)
	}
	for _, path := range []string{"/v1/status", "/healthz", "/readyz", "/metrics", "/", "/v1/identities//credential", "/v1/identities/../id/credential"} {
		f.Add("GET", path, "", "digest", "", true)
		f.Add("HEAD", path, "", "other", "", false)
	}
	f.Add("POST", "/v1/identities/id/credential", `{"tenant":"t","scopes":["b","a"],"audience":"x","claims":"e30=","min_ttl":"5m","rejected":"0","hold":"1ns"}`, "", "id", true)
	f.Add("POST", "/v1/identities/%69d/credential", `{"scopes":[""]}{}`, "", "", true)
	f.Add("POST", "/v1/identities/i%0d%0aX:y/reject", `{"fingerprint":"\u0000"}`, "", "", true)
	f.Add("POST", "/v1/identities/id/credential", "{} {}", "", "", true)
	f.Add("POST", "/v1/sessions", `{"identities":["id","id"],"hold":"1h"}`, "", ",", true)
	f.Add("POST", "/v1/proxies", `{"upstream":"https://a.example","identity":"id","settings":{"service":"s3"},"paths":["/*"],"hold":"1h"}`, "", "", true)
	f.Add("POST", "/v1/proxies", `{"identity":"id","scopes":["a",""]}`, "", "", true)
	const owner = 4711
	src := new(varied)
	b, err := broker.New(broker.Config{Owner: owner, Cache: freshet.CacheConfig{Entries: 64}, Identities: []broker.Identity{
		{IdentityConfig: freshet.IdentityConfig{Name: "id", Version: "1", Kind: "test", Source: src}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = b.Close(context.Background()) })
	ended := make(chan struct{})
	close(ended)
	var named []string
	var route wire.Proxy
	api := New(Config{Broker: b, Ending: ended,
		Running: func() wire.Running { return wire.Running{Digest: "digest"} },
		Reload:  func() (wire.Reloaded, error) { return wire.Reloaded{}, nil },
		OpenSession: func(_ context.Context, _ broker.Caller, identities []string, hold time.Duration) (*Session, error) {
			named = identities
			if hold < 0 || hold > wire.MaxHold {
				return nil, freshet.Errorf(freshet.Bug, "held for %v", hold)
			}
			return &Session{Opened: wire.SessionOpened{ID: "1"}, Close: func() {}}, nil
		},
		OpenProxy: func(_ context.Context, c broker.Caller, spec wire.Proxy, hold time.Duration) (*Proxy, error) {
			route = spec
			if hold < 0 || hold > wire.MaxHold || c.UID != owner && c.UID != owner+1 {
				return nil, freshet.Errorf(freshet.Bug, "held for %v by uid %d", hold, c.UID)
			}
			return &Proxy{Opened: wire.ProxyOpened{URL: "http://127.0.0.1:1"}, Close: func() {}}, nil
		}})
	f.Fuzz(func(t *testing.T, method, target, body, config, ancestry string, ours bool) {
		u, err := url.ParseRequestURI(target)
		if err != nil || method == http.MethodConnect || !strings.HasPrefix(u.Path, "/") || strings.Contains(u.Path, "//") || strings.Contains(u.Path, "/.") {
			return // net/http redirects what is no clean path
		}
		p := peer.Credentials{UID: owner, PID: 1}
		if !ours {
			p.UID = owner + 1
		}
		r := httptest.NewRequest("POST", "http://freshet/", strings.NewReader(body))
		r.Method, r.URL, r.RequestURI = method, u, target
		r.Header = http.Header{HeaderConfig: {config}, HeaderAncestry: {ancestry}}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r.WithContext(context.WithValue(t.Context(), peerKey{}, p)))

		for name, values := range w.Header() {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n") {
				t.Errorf("header %q: %q", name, values)
			}
		}
		text := w.Body.String()
		if w.Code >= 400 {
			var problem wire.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || problem.Status != w.Code || problem.Kind == "" || problem.Detail == "" {
				t.Fatalf("%d %q: %v", w.Code, text, err)
			}
			if problem.Kind == freshet.Bug {
				t.Errorf("%s %s %q: %s", method, target, body, text)
			}
			freshettest.LeakedSecrets(t, text, "planted-token")
			return
		}
		if w.Code >= 300 {
			t.Fatalf("%s %s: %d %q", method, target, w.Code, text)
		}
		if strings.Contains(text, "planted-token") != (ours && method == "POST" && u.Path == "/v1/identities/id/credential") {
			t.Fatalf("%s %s %q from the owner (%v): %q", method, target, body, ours, text)
		}
		if !ours && method == "POST" && u.Path != "/v1/sessions" && u.Path != "/v1/proxies" {
			t.Errorf("%s is answered to somebody else: %q", target, text)
		}
		if config != "" && config != "digest" {
			t.Errorf("is answered by another configuration than %q", config)
		}
		if method != "POST" || u.Path == "/v1/reload" {
			return
		}
		var doc map[string]any
		if err := json.Unmarshal([]byte(body), &doc); err != nil || doc == nil || len(body) > guard.MaxBody {
			t.Fatalf("%s: %q is taken for an object (%v)", target, body, err)
		}
		if u.Path == "/v1/identities/id/credential" {
			for _, s := range src.last.Scopes {
				if s == "" || len(s) > guard.MaxBody {
					t.Errorf("%q asks for %v", body, src.last)
				}
			}
			if src.last.Claims != "" && !json.Valid([]byte(src.last.Claims)) {
				t.Errorf("%q asks with claims %q", body, src.last.Claims)
			}
		}
		if u.Path == "/v1/sessions" && len(named) > len(body) {
			t.Errorf("%q opens a session for %q", body, named)
		}
		if u.Path == "/v1/proxies" {
			for _, scope := range route.Scopes {
				if scope == "" {
					t.Errorf("%q opens a route for %q", body, route.Scopes)
				}
			}
			if route.Settings != nil && !json.Valid(route.Settings) {
				t.Errorf("%q opens a route with the settings %q", body, route.Settings)
			}
		}
	})
}
