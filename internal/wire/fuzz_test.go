package wire

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/corpus"
)

// FuzzCredential holds that a document is a credential that lives, and that to render it again changes nothing, or an error
// without any of it.
func FuzzCredential(f *testing.F) {
	for _, golden := range corpus.Of(f, "../../format/json/testdata/*.json") {
		f.Add(golden)
	}
	f.Add(`{"type":"bearer","access_token":"t","token_type":"a\r\nb","refresh_at":"9999-12-31T23:59:59Z","served_from":"issuer"}`)
	f.Add(`{"type":"aws","access_key_id":"a","secret_access_key":"s","expires_at":"0001-01-01T00:00:00Z","refresh_at":"0001-01-01T00:00:00Z"}`)
	f.Add(`{"type":"basic","password":"planted-secret","expires_at":"2030-01-01T00:00:00.000000001+14:00"}`)
	f.Add(`{"type":"planted-secret"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var d Credential
		if json.Unmarshal([]byte(text), &d) != nil {
			return
		}
		a, err := d.Answer(freshet.Now())
		if (a.Credential == nil) == (err == nil) {
			t.Fatalf("got %v and %v", a.Credential, err)
		}
		if err != nil {
			if e := freshet.AsError(err); e.Kind != freshet.Malformed || strings.Contains(e.Error()+e.Hint, "planted-secret") {
				t.Errorf("got %v", err)
			}
			return
		}
		c := a.Credential
		if c.Remaining() <= 0 || c.Static() != (d.ExpiresAt == nil) {
			t.Errorf("%q is %v", text, c)
		}
		again, err := Of(a).Answer(c.Issued())
		if err != nil {
			t.Fatalf("%v is rendered as %+v, and that is refused: %v", c, Of(a), err)
		}
		// What is chosen by a person has a keyed fingerprint, but one key in one process.
		if g := again.Credential; g.Fingerprint() != c.Fingerprint() || g.Type() != c.Type() || g.TokenType() != c.TokenType() ||
			!g.Expires().Equal(c.Expires()) || again.Stale != a.Stale || again.Short != a.Short || again.Retrieved != a.Retrieved {
			t.Errorf("%v is read again as %v", c, g)
		}
	})
}

// FuzzProblem holds that a problem is an error of a kind that callers know, whose time to wait is bounded, and that to write it as
// a problem and read that changes nothing.
func FuzzProblem(f *testing.F) {
	f.Add(`{"type":"about:blank","title":"denied","status":403,"detail":"identity a: no","kind":"denied","hint":"ask","identity":"a","source":"b","why":"no"}`)
	f.Add(`{"detail":"x","kind":"teapot","retry_after":1e308}`)
	f.Add(`{"detail":"x","retry_after":-1,"status":200}`)
	f.Add(`{"kind":"unavailable","retry_after":0.0004}`)
	f.Fuzz(func(t *testing.T, text string) {
		var p Problem
		if json.Unmarshal([]byte(text), &p) != nil {
			return
		}
		e := p.Err()
		if e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter {
			t.Errorf("%q: wait %v", text, e.RetryAfter)
		}
		switch e.Kind {
		case freshet.Invalid, freshet.LoginNeeded, freshet.Denied, freshet.Unavailable, freshet.Malformed, freshet.Bug:
		default:
			t.Errorf("%q: kind %q", text, e.Kind)
		}
		w := httptest.NewRecorder()
		ProblemOf(e).Write(w)
		var q Problem
		if err := json.Unmarshal(w.Body.Bytes(), &q); err != nil || w.Code < 400 {
			t.Fatalf("%d %q: %v", w.Code, w.Body, err)
		}
		again := q.Err()
		if off := again.RetryAfter - e.RetryAfter; off.Abs() > time.Millisecond || again.Kind != e.Kind || again.Hint != e.Hint ||
			e.Why != "" && again.Error() != e.Error() {
			t.Errorf("%q is read as %#v (%v), and again as %#v (%v)", text, e, e.RetryAfter, again, again.RetryAfter)
		}
	})
}

// FuzzSession holds that what is read of a request for a session is what a client writes of it.
func FuzzSession(f *testing.F) {
	f.Add(`{"identities":["a","b"],"hold":"30s"}`)
	f.Add(`{"identities":null,"hold":"-1ns"}`)
	f.Add(`{"hold":"1h0m0.000000001s"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var s Session
		if json.Unmarshal([]byte(text), &s) != nil {
			return
		}
		hold, err := s.Held()
		if err != nil {
			if e := freshet.AsError(err); e.Kind != freshet.Invalid || e.Hint == "" || hold != 0 {
				t.Errorf("%q: %v and %v", text, hold, err)
			}
			return
		}
		if again, err := SessionOf(s.Identities, hold).Held(); hold < 0 || hold > MaxHold || err != nil || again != hold {
			t.Errorf("%q holds %v, and written again %v (%v)", text, hold, again, err)
		}
	})
}

// FuzzProxy holds that what is read of a request for a route asks the identity for what it says, is held for no longer than a caller
// may be, and is read the same when it is written again.
func FuzzProxy(f *testing.F) {
	f.Add(`{"upstream":"https://api.openai.com/v1","identity":"a","signer":"bearer","settings":{"header":"api-key"},"listen":"127.0.0.1:0","secret":"s"}`)
	f.Add(`{"tenant":"t","scopes":["a","b"],"audience":"x","methods":["GET"],"paths":["/v1/*"],"ca_file":"/ca.pem","hold":"30s"}`)
	f.Add(`{"scopes":[""],"hold":"1h0m0.000000001s"}`)
	f.Add(`{"settings":null,"scopes":[],"hold":"-1ns"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var p Proxy
		if json.Unmarshal([]byte(text), &p) != nil {
			return
		}
		r, err := p.Request()
		if err != nil {
			if e := freshet.AsError(err); e.Kind != freshet.Invalid || e.Hint == "" {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if r.Hold < 0 || r.Hold > MaxHold || slices.Contains(r.Scopes, "") || r.Tenant != p.Tenant || r.Audience != p.Audience || !slices.Equal(r.Scopes, p.Scopes) {
			t.Errorf("%q asks for %v, held for %v", text, r, r.Hold)
		}
		b, err := json.Marshal(p.WithHold(r.Hold))
		if err != nil {
			t.Fatal(err)
		}
		var q Proxy
		if err := json.Unmarshal(b, &q); err != nil {
			t.Fatalf("%q is written as %q, which is not read: %v", text, b, err)
		}
		again, err := q.Request()
		if err != nil || again.Hold != r.Hold || again.String() != r.String() {
			t.Errorf("%q asks for %v, and written again for %v (%v)", text, r, again, err)
		}
		p.Hold, q.Hold = "", ""
		if first, second := marshal(t, p), marshal(t, q); first != second {
			t.Errorf("%q is %s, and written again %s", text, first, second)
		}
	})
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
