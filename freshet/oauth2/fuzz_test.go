package oauth2

import (
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"golang.org/x/oauth2"
)

// FuzzToken has a source give any token, with or without an end. It holds that what freshet would keep for ever it keeps, if it is no
// JWT that has ended, and that it never keeps what has.
func FuzzToken(f *testing.F) {
	part := base64.RawURLEncoding.EncodeToString
	for _, claims := range []string{`{"exp":4000000000}`, `{"exp":1}`, `{"exp":1e300}`, `{"exp":"x"}`, `{"exp":0}`, `[]`} {
		f.Add("e30."+part([]byte(claims))+".x", "Bearer", int64(0), int64(0))
		f.Add("e30."+part([]byte(claims)), "", int64(0), int64(0))
		f.Add("e30."+part([]byte(claims))+".x.y.z", "DPoP", int64(3600), int64(0))
	}
	f.Add("t", "Bearer", int64(9223372036854775807), int64(0))
	f.Add("t", "Bearer", int64(-1), int64(1<<40))
	f.Add("a\r\nX-Injected: y", "Bearer", int64(0), int64(0))
	f.Fuzz(func(t *testing.T, text, kind string, expiresIn, seconds int64) {
		token := &oauth2.Token{AccessToken: text, TokenType: kind, ExpiresIn: expiresIn}
		if seconds != 0 {
			token.Expiry = time.Unix(seconds, 0)
		}
		in := &inner{src: &fake{reply: func(int64) (*oauth2.Token, error) { return token, nil }}}
		cred, err := in.Retrieve(t.Context(), freshet.Request{})
		if (cred == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cred, err)
		}
		if err != nil {
			e, ok := err.(*freshet.Error)
			if !ok || e.Kind != freshet.Malformed {
				t.Fatalf("got %v", err)
			}
			if _, bad := freshet.NewBearer(text, kind, freshet.Validity{Static: true}); bad != nil {
				return
			}
			if _, ended := freshet.NewBearer(text, kind, freshet.Validity{}); expiresIn <= 0 && seconds == 0 && strings.Contains(e.Error(), "does not say when") {
				t.Errorf("%q, which says nothing of its end, is refused: %v, %v", text, err, ended)
			}
			return
		}
		if cred.Remaining() <= 0 || cred.Static() && (expiresIn > 0 || seconds != 0) || cred.Token() != text {
			t.Errorf("got %v", cred)
		}
		if got := in.original(cred); got.AccessToken != text || got.TokenType != kind {
			t.Errorf("it is given back as %q of type %q", got.AccessToken, got.TokenType)
		}
	})
}

// FuzzFailure has an endpoint refuse with any words. It holds that the error is one that callers can act on, and shows none of them but
// RFC 6749's own.
func FuzzFailure(f *testing.F) {
	f.Add(400, "invalid_grant", "hunter2-hunter2", "")
	f.Add(401, "hunter2-hunter2", "{}", "7")
	f.Add(503, "invalid_client", "<html>", "Sun, 06 Nov 2094 08:49:37 GMT")
	f.Add(429, "", "", "99999999999999999999")
	f.Add(0, "server_error", "\xff", "-1")
	f.Fuzz(func(t *testing.T, status int, code, body, wait string) {
		header := http.Header{"Retry-After": {wait}, "Date": {body}}
		for _, resp := range []*http.Response{nil, {StatusCode: status, Header: header}} {
			e := failure(&oauth2.RetrieveError{Response: resp, Body: []byte(body), ErrorCode: code, ErrorDescription: body, ErrorURI: body})
			if !slices.Contains([]freshet.Kind{freshet.LoginNeeded, freshet.Denied, freshet.Unavailable}, e.Kind) || e.RetryAfter < 0 || e.RetryAfter > time.Hour {
				t.Errorf("%d %q %q: kind %q, retry after %v", status, code, wait, e.Kind, e.RetryAfter)
			}
			if text := e.Error() + e.Hint; strings.Contains(text, "hunter2") || len(text) > 100 || strings.ContainsAny(text, "\r\n\x1b") {
				t.Errorf("%d %q %q: the error is %q", status, code, body, text)
			}
			if status := e.Status; resp != nil && (status == 429 || status >= 500) && e.Kind != freshet.Unavailable || !errors.Is(e, e.Kind) {
				t.Errorf("%d %q: kind %q", status, code, e.Kind)
			}
		}
	})
}

// FuzzChallenge holds that a token counts as refused by a 401 that says so, and by nothing else.
func FuzzChallenge(f *testing.F) {
	f.Add(401, `Bearer realm="x", error="invalid_token"`, "")
	f.Add(401, `Basic realm="x"`, `Bearer error=invalid_token`)
	f.Add(403, `Bearer error="invalid_token"`, "")
	f.Add(401, `Bearer error="insufficient_scope"`, "\x00")
	f.Fuzz(func(t *testing.T, status int, one, two string) {
		got := refused(&http.Response{StatusCode: status, Header: http.Header{"Www-Authenticate": {one, two}}})
		if got && (status != http.StatusUnauthorized || !strings.Contains(one+"\n"+two, "invalid_token")) {
			t.Errorf("%d with %q and %q counts as refused", status, one, two)
		}
		if says := `, error="invalid_token"`; status == http.StatusUnauthorized && !got && strings.Contains(one+"\n"+two, says) {
			t.Errorf("%d with %q and %q does not count as refused", status, one, two)
		}
	})
}
