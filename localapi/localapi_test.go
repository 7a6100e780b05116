package localapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"freshet.dev/broker"
	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/wire"
	"freshet.dev/localapi"
)

func TestCredentialIsHandedOutOverTheSocket(t *testing.T) {
	src := new(issuer)
	s := serve(t, 0o600, nil, identity("id", src, broker.Policy{}))
	first := s.send("POST", "/v1/identities/id/credential", `{"scopes":["a"]}`)
	if first.status != 200 || first.doc["type"] != "bearer" || first.doc["access_token"] != secretPrefix+"1" || first.doc["token_type"] != "Bearer" ||
		first.doc["served_from"] != "issuer" || first.doc["stale"] != false || len(first.doc["fingerprint"].(string)) != 32 {
		t.Errorf("%d: %s", first.status, first.text)
	}
	for _, key := range []string{"expires_at", "refresh_at"} {
		at, err := time.Parse(time.RFC3339Nano, first.doc[key].(string))
		if err != nil || !strings.HasSuffix(first.doc[key].(string), "Z") || time.Until(at) < 0 || time.Until(at) > time.Hour {
			t.Errorf("%s: %v, %v", key, first.doc[key], err)
		}
	}
	if h := first.header; h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", h)
	}
	if again := s.send("POST", "/v1/identities/id/credential", `{"scopes":["a"],"min_ttl":"5m"}`); again.doc["served_from"] != "memory" || src.calls.Load() != 1 {
		t.Errorf("again: %s", again.text)
	}
	// rejected: a service refused this version, and the answer is never that one.
	next := s.send("POST", "/v1/identities/id/credential", `{"scopes":["a"],"rejected":"`+first.doc["fingerprint"].(string)+`"}`)
	if next.status != 200 || next.doc["access_token"] != secretPrefix+"2" {
		t.Errorf("after a rejection: %s", next.text)
	}
	if r := s.send("POST", "/v1/identities/id/reject", `{"fingerprint":"`+next.doc["fingerprint"].(string)+`"}`); r.status != 204 || r.text != "" {
		t.Errorf("reject: %d %s", r.status, r.text)
	}
}

func TestRequestsThatAreNoneAreProblemsAndReachNoSource(t *testing.T) {
	src := new(issuer)
	s := serve(t, 0o600, func(c *localapi.Config) {
		c.OpenProxy = func(context.Context, broker.Caller, wire.Proxy, time.Duration) (*localapi.Proxy, error) {
			t.Error("a route is opened")
			return nil, freshet.Errorf(freshet.Bug, "opened")
		}
	}, identity("id", src, broker.Policy{}), identity("other", src, broker.Policy{}))
	const path = "/v1/identities/id/credential"
	for _, test := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		kind                     string
	}{
		{"unknown identity", "POST", "/v1/identities/typo/credential", "{}", nil, 404, "invalid request"},
		{"unknown identity to reject", "POST", "/v1/identities/typo/reject", `{"fingerprint":"0123456789abcdef0123456789abcdef"}`, nil, 404, "invalid request"},
		{"unknown identity in a session", "POST", "/v1/sessions", `{"identities":["typo"]}`, nil, 404, "invalid request"},
		{"session for nobody", "POST", "/v1/sessions", `{}`, nil, 400, "invalid request"},
		{"unknown field", "POST", path, `{"scope":"a"}`, nil, 400, "invalid request"},
		{"wrong type", "POST", path, `{"scopes":"a"}`, nil, 400, "invalid request"},
		{"no body", "POST", path, "", nil, 400, "invalid request"},
		{"no JSON", "POST", path, "scopes=a", nil, 400, "invalid request"},
		{"two objects", "POST", path, "{}{}", nil, 400, "invalid request"},
		{"a bracket too many", "POST", path, "{}}", nil, 400, "invalid request"},
		{"half an object", "POST", path, `{"tenant":"`, nil, 400, "invalid request"},
		{"huge body", "POST", path, `{"tenant":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 400, "invalid request"},
		{"bad duration", "POST", path, `{"min_ttl":"5"}`, nil, 400, "invalid request"},
		{"bad hold", "POST", path, `{"hold":"2h"}`, nil, 400, "invalid request"},
		{"bad hold of a session", "POST", "/v1/sessions", `{"identities":["id"],"hold":"x"}`, nil, 400, "invalid request"},
		{"bad hold of a route", "POST", "/v1/proxies", `{"identity":"id","hold":"2h"}`, nil, 400, "invalid request"},
		{"a route's empty scope", "POST", "/v1/proxies", `{"identity":"id","scopes":["a",""]}`, nil, 400, "invalid request"},
		{"a route's unknown field", "POST", "/v1/proxies", `{"identity":"id","url":"https://a"}`, nil, 400, "invalid request"},
		{"no route's object", "POST", "/v1/proxies", "null", nil, 400, "invalid request"},
		{"wrong method for a route", "GET", "/v1/proxies", "", nil, 405, "invalid request"},
		{"a route from a web page", "POST", "/v1/proxies", "{}", []string{"Origin", "http://localhost"}, 403, "denied"},
		{"unknown identity to unblock", "POST", "/v1/identities/typo/unblock", "{}", nil, 404, "invalid request"},
		{"something to unblock", "POST", "/v1/identities/id/unblock", `{"all":true}`, nil, 400, "invalid request"},
		{"wrong method to unblock", "GET", "/v1/identities/id/unblock", "", nil, 405, "invalid request"},
		{"null", "POST", path, "null", nil, 400, "invalid request"},
		{"null to reject", "POST", "/v1/identities/id/reject", " null", nil, 400, "invalid request"},
		{"bad claims", "POST", path, `{"claims":"!"}`, nil, 400, "invalid request"},
		{"claims that the source cannot answer", "POST", path, `{"claims":"e30="}`, nil, 400, "invalid request"},
		{"no fingerprint", "POST", path, `{"rejected":"x"}`, nil, 400, "invalid request"},
		{"no fingerprint to reject", "POST", "/v1/identities/id/reject", `{}`, nil, 400, "invalid request"},
		{"wrong method", "GET", path, "", nil, 405, "invalid request"},
		{"wrong method for status", "POST", "/v1/status", "", nil, 405, "invalid request"},
		{"wrong path", "GET", "/v2/status", "", nil, 404, "invalid request"},
		{"root", "GET", "/", "", nil, 404, "invalid request"},
		{"web page", "POST", path, "{}", []string{"Origin", "http://localhost"}, 403, "denied"},
		{"web page without origin", "POST", path, "{}", []string{"Sec-Fetch-Mode", "no-cors"}, 403, "denied"},
		{"another configuration", "POST", path, "{}", []string{localapi.HeaderConfig, "def"}, 400, "invalid request"},
		{"re-entry", "POST", path, "{}", []string{localapi.HeaderAncestry, "top,id"}, 400, "invalid request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := s.send(test.method, test.path, test.body, test.header...)
			if a.status != test.status || a.header.Get("Content-Type") != "application/problem+json" || a.doc["kind"] != test.kind ||
				a.doc["status"] != float64(test.status) || a.doc["detail"] == "" || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("status %d, %v: %s; want %d and a problem of kind %q", a.status, a.header, a.text, test.status, test.kind)
			}
			if test.status == 405 && a.header.Get("Allow") == "" {
				t.Error("no Allow")
			}
		})
	}
	if n := src.calls.Load(); n != 0 {
		t.Errorf("the source was asked %d times", n)
	}
	if a := s.send("POST", "/v1/identities/typo/credential", "{}"); a.doc["hint"] != "there are: id, other" {
		t.Errorf("hint %v", a.doc["hint"])
	}
	a := s.send("POST", path, "{}", localapi.HeaderConfig, "def")
	if !strings.Contains(a.doc["detail"].(string), "/etc/freshet.yaml") || a.doc["hint"] == nil {
		t.Errorf("another configuration: %s", a.text)
	}
	if a := s.send("POST", path, "{}", localapi.HeaderConfig, "abc"); a.status != 200 {
		t.Errorf("the same configuration: %s", a.text)
	}
}

func TestEveryKindOfFailureHasItsStatus(t *testing.T) {
	for kind, status := range map[freshet.Kind]int{
		freshet.Invalid: 400, freshet.LoginNeeded: 401, freshet.Denied: 403, freshet.Unavailable: 503, freshet.Malformed: 502, freshet.Bug: 500,
	} {
		src := &issuer{err: &freshet.Error{Kind: kind, Why: "issuer: no", Hint: "do this", RetryAfter: 90 * time.Second, Cause: errors.New("planted-cause-0123")}}
		s := serve(t, 0o600, nil, identity("id", src, broker.Policy{}))
		a := s.send("POST", "/v1/identities/id/credential", "{}")
		if a.status != status || a.doc["kind"] != string(kind) || a.doc["detail"] != "identity id (test): issuer: no" || a.doc["hint"] != "do this" ||
			a.doc["retry_after"] != float64(90) || a.header.Get("Retry-After") != "90" {
			t.Errorf("%s: status %d, %v: %s; want %d", kind, a.status, a.header, a.text, status)
		}
		freshettest.LeakedSecrets(t, a.text, "planted-cause-0123")
	}
}

func TestStatusHealthAndMetricsAreServed(t *testing.T) {
	missing := []string{"prod", "azure-dev"}
	s := serve(t, 0o600, func(c *localapi.Config) {
		c.Waiting = func() []string { return missing }
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("freshet_build_info 1\n")) })
	}, identity("id", new(issuer), broker.Policy{}))
	s.send("POST", "/v1/identities/id/credential", "{}")
	a := s.send("GET", "/v1/status", "")
	ids, _ := a.doc["identities"].([]any)
	if a.status != 200 || a.doc["version"] != "v1" || a.doc["config"] != "/etc/freshet.yaml" || a.doc["config_sha256"] != "abc" || len(ids) != 1 {
		t.Errorf("status: %s", a.text)
	}
	freshettest.LeakedSecrets(t, a.text, secretPrefix)
	if a := s.send("GET", "/healthz", ""); a.status != 200 || a.text != "ok\n" {
		t.Errorf("healthz: %d %s", a.status, a.text)
	}
	if a := s.send("GET", "/readyz", ""); a.status != 503 || a.text != "not ready: waiting for prod, azure-dev\n" {
		t.Errorf("readyz before: %d %s", a.status, a.text)
	}
	missing = nil
	if a := s.send("GET", "/readyz", ""); a.status != 200 || a.text != "ready\n" {
		t.Errorf("readyz: %d %s", a.status, a.text)
	}
	if a := s.send("GET", "/metrics", ""); a.status != 200 || !strings.HasPrefix(a.text, "freshet_") {
		t.Errorf("metrics: %d %s", a.status, a.text)
	}
}

func TestWithheldIdentityLeavesByNeitherRouteNorSession(t *testing.T) {
	src := new(issuer)
	s := serve(t, 0o600, nil, identity("id", src, broker.Policy{Withheld: true}), identity("free", new(issuer), broker.Policy{}))
	for path, body := range map[string]string{"/v1/identities/id/credential": "{}", "/v1/sessions": `{"identities":["free","id"]}`} {
		if a := s.send("POST", path, body); a.status != 403 || src.calls.Load() != 0 {
			t.Errorf("%s: %d %s, after %d retrievals", path, a.status, a.text, src.calls.Load())
		}
	}
}

func TestAnotherUserIsRefusedBeforeTheSourceAndRecorded(t *testing.T) {
	asRoot(t)
	closed, open := new(issuer), new(issuer)
	s := serve(t, 0o666, nil, identity("closed", closed, broker.Policy{}), identity("open", open, broker.Policy{UIDs: []uint32{nobody}}))
	out, _ := s.another("ask", &syscall.Credential{Uid: nobody, Gid: nobody}, "closed", "open", "missing")
	var lines []string
	for out.Scan() {
		lines = append(lines, out.Text())
	}
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "403 ") || !strings.Contains(lines[0], "uid 65534") || !strings.HasPrefix(lines[1], "200 ") ||
		!strings.HasPrefix(lines[2], "404 ") || !strings.Contains(lines[2], "there are: open\"") {
		t.Errorf("the other user got %q", lines)
	}
	if closed.calls.Load() != 0 || open.calls.Load() != 1 {
		t.Errorf("the sources were asked %d and %d times, want 0 and 1", closed.calls.Load(), open.calls.Load())
	}
	record := s.record()
	if !strings.Contains(record, `"event":"deny","identity":"closed","caller":"socket:uid:65534","pid":`) ||
		!strings.Contains(record, `"event":"hand_out","identity":"open","caller":"socket:uid:65534"`) {
		t.Errorf("the record is %s", record)
	}
}

// TestUnblockIsForTheDaemonsOwnUser asks for it as another user, who may use the identity, and as this one.
func TestUnblockIsForTheDaemonsOwnUser(t *testing.T) {
	asRoot(t)
	s := serve(t, 0o666, nil, identity("id", new(issuer), broker.Policy{UIDs: []uint32{0, nobody}}))
	as := func(uid uint32) string {
		out, _ := s.another("unblock", &syscall.Credential{Uid: uid, Gid: uid}, "id")
		if !out.Scan() {
			t.Fatal("no answer")
		}
		return out.Text()
	}
	if got := as(nobody); !strings.HasPrefix(got, "403 ") || !strings.Contains(got, "only the daemon's own user and root") {
		t.Errorf("another user's: %s", got)
	}
	if got := as(0); !strings.HasPrefix(got, "204") {
		t.Errorf("the daemon's own user's: %s", got)
	}
	if got := s.record(); strings.Count(got, `"event":"unblock"`) != 1 || !strings.Contains(got, `"event":"unblock","identity":"id","caller":"socket:uid:0"`) {
		t.Errorf("the record is %s", got)
	}
}

// TestReloadIsForTheDaemonsOwnUser asks for a reload as another user, and as this one; the file's faults are told to this one alone.
func TestReloadIsForTheDaemonsOwnUser(t *testing.T) {
	asRoot(t)
	var reloads atomic.Int64
	s := serve(t, 0o666, func(c *localapi.Config) {
		c.Running = func() wire.Running { return wire.Running{Config: "/c.yaml", ConfigError: "PAYROLL_SECRET is not set"} }
		c.Reload = func() (wire.Reloaded, error) {
			reloads.Add(1)
			return wire.Reloaded{Added: []string{"new"}}, nil
		}
	}, identity("id", new(issuer), broker.Policy{}))
	as := func(what string, uid uint32) string {
		out, _ := s.another(what, &syscall.Credential{Uid: uid, Gid: uid})
		if !out.Scan() {
			t.Fatal("no answer")
		}
		return out.Text()
	}
	if got := as("reload", nobody); !strings.HasPrefix(got, "403 ") || reloads.Load() != 0 {
		t.Errorf("another user's reload: %s, and %d were made", got, reloads.Load())
	}
	if got := as("reload", 0); !strings.HasPrefix(got, "200 ") || !strings.Contains(got, `"added":["new"]`) || reloads.Load() != 1 {
		t.Errorf("the daemon's own user's: %s, and %d were made", got, reloads.Load())
	}
	if got := as("status", nobody); strings.Contains(got, "PAYROLL") || !strings.Contains(got, "config_error") {
		t.Errorf("another user's status: %s", got)
	}
	if got := as("status", 0); !strings.Contains(got, "PAYROLL_SECRET is not set") {
		t.Errorf("the daemon's own user's: %s", got)
	}
}

func TestSupplementaryGroupsCount(t *testing.T) {
	asRoot(t)
	const group = 4711
	for name, test := range map[string]struct {
		cred syscall.Credential
		want string
	}{
		"primary":       {syscall.Credential{Uid: nobody, Gid: group}, "200 "},
		"supplementary": {syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{1, 2, group, 3}}, "200 "},
		"none":          {syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{1, 2, 3}}, "403 "},
	} {
		src := new(issuer)
		s := serve(t, 0o666, nil, identity("id", src, broker.Policy{GIDs: []uint32{group}}))
		out, _ := s.another("ask", &test.cred, "id")
		if !out.Scan() || !strings.HasPrefix(out.Text(), test.want) {
			t.Errorf("%s: got %q, want %s", name, out.Text(), test.want)
		}
		if asked := src.calls.Load(); asked != 0 && test.want == "403 " {
			t.Errorf("%s: the source was asked", name)
		}
	}
}

func TestSocketOfTheUsualModeIsClosedToOthers(t *testing.T) {
	asRoot(t)
	s := serve(t, 0o600, nil, identity("id", new(issuer), broker.Policy{UIDs: []uint32{nobody}}))
	out, _ := s.another("ask", &syscall.Credential{Uid: nobody, Gid: nobody}, "id")
	if !out.Scan() || !strings.Contains(out.Text(), "permission denied") {
		t.Errorf("got %q", out.Text())
	}
}

func TestWhomTheKernelDoesNotNameIsRefused(t *testing.T) {
	src := new(issuer)
	s := serve(t, 0o600, nil, identity("id", src, broker.Policy{UIDs: []uint32{0, uint32(os.Getuid())}}))
	for _, path := range []string{"/v1/identities/id/credential", "/v1/status", "/healthz", "/metrics"} {
		w := httptest.NewRecorder()
		s.api.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader("{}")))
		if w.Code != 403 || src.calls.Load() != 0 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
