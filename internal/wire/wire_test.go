package wire

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
)

func TestRequestSurvivesTheWire(t *testing.T) {
	for _, r := range []freshet.Request{
		{},
		{Tenant: "t", Scopes: []string{"b", "a"}, Audience: "aud", Claims: `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`,
			MinTTL: 90 * time.Second, Rejected: "0123456789abcdef0123456789abcdef"},
		{Hold: 1500 * time.Millisecond},
		{Hold: MaxHold},
	} {
		b, err := json.Marshal(RequestOf(r))
		if err != nil {
			t.Fatal(err)
		}
		var w Request
		if err := json.Unmarshal(b, &w); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Parse(); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s is read as %v (%v), want %v", b, got, err, r)
		}
	}
}

func TestRequestsThatMeanNothingAreRefused(t *testing.T) {
	for _, w := range []Request{
		{MinTTL: "5"}, {MinTTL: "-5m"}, {MinTTL: "soon"}, {Hold: "30"}, {Hold: "-1s"}, {Hold: "1h0m1s"}, {Hold: "soon"}, {Claims: "!"}, {Claims: "e30"[:2]}, {Claims: base64.StdEncoding.EncodeToString([]byte("[]"))},
		{Claims: base64.StdEncoding.EncodeToString([]byte(`{"planted-claims":`))}, {Scopes: []string{"a", ""}}, {Scopes: []string{""}},
	} {
		_, err := w.Parse()
		e := freshet.AsError(err)
		if e == nil || e.Kind != freshet.Invalid || e.Hint == "" {
			t.Errorf("%+v: %v, want it refused with a hint", w, err)
			continue
		}
		freshettest.LeakedSecrets(t, e.Error()+e.Hint, "planted-claims")
	}
}

func TestHoldIsBounded(t *testing.T) {
	if got, err := RequestOf(freshet.Request{Hold: 24 * time.Hour}).Parse(); err != nil || got.Hold != MaxHold {
		t.Errorf("a day: got %v, %v, want %v", got.Hold, err, MaxHold)
	}
	for hold, want := range map[string]time.Duration{"": 0, "0s": 0, "30s": 30 * time.Second} {
		if got, err := (Session{Hold: hold}).Held(); err != nil || got != want {
			t.Errorf("a session's %q: got %v, %v", hold, got, err)
		}
	}
	if _, err := (Session{Hold: "2h"}).Held(); freshet.AsError(err) == nil || freshet.AsError(err).Kind != freshet.Invalid {
		t.Errorf("a session's 2h: got %v", err)
	}
	if s := SessionOf([]string{"id"}, 90*time.Second); s.Hold != "1m30s" || len(s.Identities) != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestClaimsAreReadInEveryBase64(t *testing.T) {
	const claims = `{"a":"??>>~~"}` // both alphabets differ in it, and it needs padding
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		s := enc.EncodeToString([]byte(claims))
		if got, err := DecodeClaims(s); err != nil || got != claims {
			t.Errorf("%s: got %q, %v", s, got, err)
		}
	}
}

func TestEveryErrorSurvivesTheWire(t *testing.T) {
	for kind, status := range map[freshet.Kind]int{
		freshet.Invalid: 400, freshet.LoginNeeded: 401, freshet.Denied: 403, freshet.Unavailable: 503, freshet.Malformed: 502, freshet.Bug: 500,
	} {
		e := &freshet.Error{Kind: kind, Identity: "id", Source: "oauth2", Why: "issuer: no", Hint: "do this", RetryAfter: 1500 * time.Millisecond,
			Cause: errors.New("planted-cause-0123")}
		w := httptest.NewRecorder()
		ProblemOf(e).Write(w)
		if w.Code != status || w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Retry-After") != "2" ||
			w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, %v", kind, w.Code, w.Header())
		}
		freshettest.LeakedSecrets(t, w.Body.String(), "planted-cause-0123")
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Detail != e.Error() || p.Status != status || p.Type != "about:blank" {
			t.Errorf("%s: %+v, %v", kind, p, err)
		}
		want := *e
		want.Cause = nil
		if got := p.Err(); !reflect.DeepEqual(got, &want) {
			t.Errorf("%s: read as %#v (%s, %v), want %#v", kind, got, got.Kind, got.RetryAfter, &want)
		}
	}
	w := httptest.NewRecorder()
	ProblemOf(errors.New("planted-cause-0123")).Write(w)
	if w.Code != 503 || w.Header().Get("Retry-After") != "" {
		t.Errorf("a foreign error: status %d, %v", w.Code, w.Header())
	}
	freshettest.LeakedSecrets(t, w.Body.String(), "planted-cause-0123")
}

func TestRetryTimeIsWholeSecondsUpwards(t *testing.T) {
	for d, want := range map[time.Duration]string{time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", time.Hour: "3600"} {
		if got := RetryAfter(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	if p := ProblemOf(&freshet.Error{Kind: freshet.Unavailable, RetryAfter: 90*time.Second + time.Microsecond}); p.RetryAfter != 90 {
		t.Errorf("90 s and a microsecond: %v, want 90", p.RetryAfter)
	}
	for _, s := range []float64{-1, 1e300} {
		if got := (Problem{RetryAfter: s}).Err().RetryAfter; got < 0 || got > maxRetryAfter {
			t.Errorf("%v seconds are read as %v", s, got)
		}
	}
}

func TestDocumentsThatAreNoCredentialAreErrors(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	for name, d := range map[string]Credential{
		"nothing": {}, "unknown type": {Type: "kerberos", Token: "t"}, "no token": {Type: freshet.Bearer}, "no keys": {Type: freshet.AWS},
		"expired": {Type: freshet.Bearer, AccessToken: "t", ExpiresAt: &past}, "line break": {Type: freshet.Bearer, AccessToken: "a\r\nb"},
	} {
		if a, err := d.Answer(freshet.Now()); freshet.AsError(err) == nil || freshet.AsError(err).Kind != freshet.Malformed {
			t.Errorf("%s: %v, %v", name, a.Credential, err)
		}
	}
}

func FuzzDecodeClaims(f *testing.F) {
	for _, s := range []string{"", "e30=", "e30", "eyJhIjoiPz8-Pn5-In0", "eyJhIjoiPz8+Pn5+In0", "\n", strings.Repeat("A", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := DecodeClaims(s)
		var doc map[string]any
		if err == nil && json.Unmarshal([]byte(got), &doc) != nil {
			t.Errorf("%q is read as %q, which is no object", s, got)
		}
		if err != nil && got != "" {
			t.Errorf("%q: both %q and an error", s, got)
		}
	})
}

func FuzzRequestParse(f *testing.F) {
	f.Add(`{"tenant":"t","scopes":["a"],"audience":"x","claims":"e30","min_ttl":"5m","rejected":"0"}`)
	f.Add(`{"min_ttl":"-1ns","scopes":[""]}`)
	f.Add(`{"min_ttl":"9223372036854775807h"}`)
	f.Fuzz(func(t *testing.T, s string) {
		var w Request
		if json.Unmarshal([]byte(s), &w) != nil {
			return
		}
		r, err := w.Parse()
		if err != nil {
			return
		}
		if r.MinTTL < 0 {
			t.Errorf("%q asks for %v of life", s, r.MinTTL)
		}
		again, err := RequestOf(r).Parse()
		if err != nil || again.String() != r.String() || again.Claims != r.Claims {
			t.Errorf("%q is read as %v, and that as %v (%v)", s, r, again, err)
		}
	})
}

func TestMessageTellsWhenToComeAgain(t *testing.T) {
	for _, tt := range []struct {
		e    freshet.Error
		want string
	}{
		{freshet.Error{Kind: freshet.Unavailable, Why: "throttled", RetryAfter: 38*time.Second + time.Millisecond}, "throttled; try again in 38s"},
		{freshet.Error{Kind: freshet.Unavailable, Why: "throttled", Hint: "wait", RetryAfter: time.Minute}, "throttled; wait; try again in 1m0s"},
		{freshet.Error{Kind: freshet.Unavailable, Why: "throttled", RetryAfter: time.Second}, "throttled"},
		{freshet.Error{Kind: freshet.Denied, Why: "no", Hint: "ask", RetryAfter: time.Minute}, "no; ask"},
	} {
		if got := Message(&tt.e); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
