package oauth2

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/fetch"
)

func TestLifetime(t *testing.T) {
	sent := freshet.Now()
	in := func(d time.Duration) time.Time { return sent.Wall().Add(d).Truncate(time.Second) }
	for _, test := range []struct {
		name, fields string
		token        string
		lifetime     time.Duration
		want         time.Time
	}{
		{"number", `"expires_in":3600`, token, 0, sent.Wall().Add(time.Hour)},
		{"fraction", `"expires_in":3599.5`, token, 0, sent.Wall().Add(time.Hour - 500*time.Millisecond)},
		{"exponent", `"expires_in":3.6e3`, token, 0, sent.Wall().Add(time.Hour)},
		{"string", `"expires_in":"3600"`, token, 0, sent.Wall().Add(time.Hour)},
		{"string wins over lifetime", `"expires_in":"60"`, token, time.Hour, sent.Wall().Add(time.Minute)},
		{"empty string", `"expires_in":""`, token, time.Hour, sent.Wall().Add(time.Hour)},
		{"null", `"expires_in":null`, token, time.Hour, sent.Wall().Add(time.Hour)},
		{"absent", `"x":1`, token, time.Hour, sent.Wall().Add(time.Hour)},
		{"JWT alone", `"x":1`, bearerJWT(in(time.Hour)), 0, in(time.Hour)},
		{"JWT earlier", `"expires_in":3600`, bearerJWT(in(time.Minute)), 0, in(time.Minute)},
		{"JWT later", `"expires_in":60`, bearerJWT(in(time.Hour)), 0, sent.Wall().Add(time.Minute)},
		{"JWT of centuries", `"expires_in":60`, bearerJWT(in(100 * 365 * 24 * time.Hour)), 0, sent.Wall().Add(time.Minute)},
		{"JWT earlier than lifetime", `"x":1`, bearerJWT(in(time.Minute)), time.Hour, in(time.Minute)},
		{"JWT cut to whole seconds", `"expires_in":30`, bearerJWT(in(30 * time.Second)), 0, in(30 * time.Second)},
	} {
		cred, err := credential("idp", fmt.Appendf(nil, `{"access_token":%q,%s}`, test.token, test.fields), freshet.Validity{Sent: sent, Lifetime: test.lifetime})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if !cred.Expires().Equal(test.want) {
			t.Errorf("%s: expires %v, want %v", test.name, cred.Expires(), test.want)
		}
		if cred.Issued() != sent {
			t.Errorf("%s: its life does not count from when the request was sent", test.name)
		}
	}
}

func TestAnswersRefused(t *testing.T) {
	for body, want := range map[string]string{
		``:                                      "not the JSON of a token",
		`[]`:                                    "not the JSON of a token",
		`null`:                                  "answer has no token",
		`{}`:                                    "answer has no token",
		`{"access_token":7,"expires_in":5}`:     "not the JSON of a token",
		`{"access_token":"a b","expires_in":5}`: "characters that no token has",
		`{"access_token":"x"}`:                  "does not say when it expires",
		`{"access_token":"x","expires_in":0}`:   "had expired already",
		`{"access_token":"x","expires_in":-5}`:  "had expired already",
		`{"access_token":"x","expires_in":"soon"}`:                      "expires_in is no number",
		`{"access_token":"x","expires_in":"0x10"}`:                      "expires_in is no number",
		`{"access_token":"x","expires_in":"Inf"}`:                       "expires_in is no number",
		`{"access_token":"x","expires_in":true}`:                        "expires_in is no number",
		`{"access_token":"x","expires_in":1e300}`:                       "10 years",
		`{"access_token":"x","expires_in":5,"token_type":"DPoP"}`:       "DPoP token",
		`{"access_token":"x","expires_in":5,"token_type":"mac"}`:        "another type than Bearer",
		`{"access_token":"` + jwtPast() + `","expires_in":3600}`:        "had expired already",
		`{"access_token":"x","expires_in":5} {"access_token":"second"}`: "not the JSON of a token",
	} {
		_, err := credential("idp.example", []byte(body), freshet.Validity{Sent: freshet.Now()})
		if !errors.Is(err, freshet.Malformed) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "idp.example: ") {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
}

func jwtPast() string { return bearerJWT(freshet.Now().Wall().Add(-time.Second)) }

func TestTokenTypes(t *testing.T) {
	for _, typ := range []string{"", "Bearer", "bearer", "BEARER", "BearerToken"} {
		cred, err := credential("idp", fmt.Appendf(nil, `{"access_token":"x","expires_in":5,"token_type":%q}`, typ), freshet.Validity{Sent: freshet.Now()})
		if err != nil || cred.TokenType() != "Bearer" {
			t.Errorf("%q: got %v, %v", typ, cred, err)
		}
	}
}

func TestRefreshIn(t *testing.T) {
	// The credential does not tell its refresh time, so the engine is watched: at a minute of an hour it must ask again.
	for fields, want := range map[string]int{`"refresh_in":60`: 2, `"refresh_in":"60"`: 2, `"refresh_in":"x"`: 1, `"x":1`: 1} {
		calls := make(chan struct{}, 8)
		cache := freshet.NewCache(freshet.CacheConfig{Observe: func(freshet.Event) { calls <- struct{}{} }})
		sent := freshet.Now()
		n := 0
		id, err := cache.Add(freshet.IdentityConfig{Name: "x", Source: sourceFunc(func() (*freshet.Credential, error) {
			n++
			return credential("idp", fmt.Appendf(nil, `{"access_token":"x%d","expires_in":3600,%s}`, n, fields), freshet.Validity{Sent: sent})
		})})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := id.Get(t.Context(), freshet.Request{}); err != nil {
			t.Fatal(err)
		}
		<-calls
		t.Run(fields, func(t *testing.T) {
			freshettest.SetWallClock(t, 2*time.Minute)
			if _, err := id.Get(t.Context(), freshet.Request{}); err != nil {
				t.Fatal(err)
			}
			if err := cache.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n != want {
				t.Errorf("asked %d times, want %d", n, want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	const described = `,"error_description":"` + gossip + `"}`
	src := &Source{cfg: Config{Auth: authBasic}}
	for _, test := range []struct {
		status int
		body   string
		kind   freshet.Kind // "" for none
		why    string
		stands int // the error's status; 0: the answer's
	}{
		{200, `{"access_token":"x"}`, "", "", 0},
		{200, `{"access_token":"x","error":null}`, "", "", 0},
		{200, `{"access_token":"x","error":""}`, "", "", 0},
		{201, `{"access_token":"x"}`, "", "", 0},
		{200, gossip, "", "", 0}, // the parser's to refuse
		{200, `{"error":"invalid_grant"` + described, freshet.Denied, "idp: refused: invalid_grant", 0},
		{200, `{"error":"temporarily_unavailable"` + described, freshet.Unavailable, "idp: answered 200: temporarily_unavailable", 503},
		{200, `{"error":{"message":"` + gossip + `"}}`, freshet.Malformed, "idp: answered 200, which is neither a token nor an error of OAuth", 0},
		{400, `{"error":"invalid_request"` + described, freshet.Denied, "idp: refused: invalid_request", 0},
		{400, `{"error":"invalid_scope"` + described, freshet.Denied, "idp: refused: invalid_scope", 0},
		{400, `{"error":"invalid_target"` + described, freshet.Denied, "idp: refused: invalid_target", 0},
		{400, `{"error":"access_denied"` + described, freshet.Denied, "idp: refused: access_denied", 0},
		{400, `{"error":"unauthorized_client"` + described, freshet.Denied, "idp: refused: unauthorized_client", 0},
		{400, `{"error":"unsupported_grant_type"` + described, freshet.Denied, "idp: refused: unsupported_grant_type", 0},
		{400, `{"error":"interaction_required"` + described, freshet.Denied, "idp: refused: interaction_required", 0},
		{401, `{"error":"invalid_client"` + described, freshet.Denied, "idp: refused: invalid_client", 0},
		{401, gossip, freshet.Denied, "idp: refused with status 401", 0},
		{403, `{"error":"` + gossip + `"}`, freshet.Denied, "idp: refused with status 403", 0},
		{400, `{"error":"` + gossip + `"}`, freshet.Malformed, "idp: answered 400, which is neither a token nor an error of OAuth", 0},
		{400, `{"error":"` + strings.Repeat("x", 65) + `"}`, freshet.Malformed, "idp: answered 400, which is neither a token nor an error of OAuth", 0},
		{404, gossip, freshet.Malformed, "idp: answered 404, which is neither a token nor an error of OAuth", 0},
		{204, "", freshet.Malformed, "idp: answered 204, which is neither a token nor an error of OAuth", 0},
		{408, "", freshet.Unavailable, "idp: answered 408", 0},
		{429, gossip, freshet.Unavailable, "idp: answered 429", 0},
		{500, `{"error":"invalid_client"` + described, freshet.Unavailable, "idp: answered 500: invalid_client", 0},
		{503, gossip, freshet.Unavailable, "idp: answered 503", 0},
		{400, `{"error":"temporarily_unavailable"` + described, freshet.Unavailable, "idp: answered 400: temporarily_unavailable", 503},
		{400, `{"error":"server_error"` + described, freshet.Unavailable, "idp: answered 400: server_error", 500},
		{400, `{"error":"slow_down"` + described, freshet.Unavailable, "idp: answered 400: slow_down", 429},
		{429, `{"error":"invalid_request"` + described, freshet.Unavailable, "idp: answered 429: invalid_request", 0},
		{429, `{"error":"temporarily_unavailable"` + described, freshet.Unavailable, "idp: answered 429: temporarily_unavailable", 0},
		{502, `{"error":"server_error"` + described, freshet.Unavailable, "idp: answered 502: server_error", 0},
		{502, `{"error":"slow_down"` + described, freshet.Unavailable, "idp: answered 502: slow_down", 429},
	} {
		err := src.refusal("idp", &fetch.Answer{Status: test.status, Body: []byte(test.body), Header: http.Header{"Retry-After": {"7"}}})
		if test.kind == "" {
			if err != nil {
				t.Errorf("%d %s: got %v, want none", test.status, test.body, err)
			}
			continue
		}
		e, ok := err.(*freshet.Error)
		if !ok || e.Kind != test.kind || e.Why != test.why {
			t.Errorf("%d %s: got %v, want %q %q", test.status, test.body, err, test.kind, test.why)
			continue
		}
		if want := map[bool]time.Duration{true: 7 * time.Second}[e.Kind == freshet.Unavailable]; e.RetryAfter != want {
			t.Errorf("%d: retry after %v, want %v", test.status, e.RetryAfter, want)
		}
		if want := cmp.Or(test.stands, test.status); e.Status != want {
			t.Errorf("%d %s: status is %d, want %d", test.status, test.body, e.Status, want)
		}
		freshettest.LeakedSecrets(t, e.Error()+e.Hint, gossip)
	}
}

func TestInvalidClientHasAHint(t *testing.T) {
	for auth, want := range map[string]string{authBasic: "auth: post", authPost: "auth: basic", authPrivateKeyJWT: "assertion_audience"} {
		src := &Source{cfg: Config{Auth: auth}}
		err := src.refusal("idp", &fetch.Answer{Status: 401, Body: []byte(`{"error":"invalid_client"}`)})
		if hint := freshet.AsError(err).Hint; !strings.Contains(hint, want) {
			t.Errorf("%s: hint is %q, want it to name %s", auth, hint, want)
		}
	}
}

func FuzzCredential(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"x","token_type":"Bearer","expires_in":3600,"refresh_in":"60"}`, `{"access_token":"x","expires_in":1e400}`,
		`{"error":"invalid_client"}`, `{"access_token":"a.e30.c","expires_in":"-0"}`, `{"error":{"a":[]}}`, `{"expires_in":"1e18","access_token":"x"}`,
	} {
		f.Add([]byte(body), 200)
	}
	src := &Source{}
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		if err := src.refusal("idp", &fetch.Answer{Status: status, Body: body}); err != nil {
			if e, ok := err.(*freshet.Error); !ok || e.Why == "" {
				t.Errorf("got %#v", err)
			}
		}
		cred, err := credential("idp", body, freshet.Validity{Sent: freshet.Now()})
		if (cred == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cred, err)
		}
		if err != nil && !errors.Is(err, freshet.Malformed) {
			t.Errorf("got %v", err)
		}
		if cred != nil && (cred.Remaining() <= 0 || cred.Remaining() > 11*365*24*time.Hour) {
			t.Errorf("remaining %v", cred.Remaining())
		}
	})
}

func FuzzSeconds(f *testing.F) {
	for _, raw := range []string{"1", "1.5", `"30"`, "null", `""`, "1e308", `"nan"`, "-1", `" 5 "`, "{}"} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, ok, given := seconds(raw)
		if ok && !given || !ok && d != 0 || d > time.Duration(math.MaxInt64) {
			t.Errorf("%q: got %v %v %v", raw, d, ok, given)
		}
	})
}
