package bearer

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/field"
)

var forever = freshet.Validity{Static: true}

func token(t testing.TB, value, tokenType string) *freshet.Credential {
	t.Helper()
	return must(t)(freshet.NewBearer(value, tokenType, forever))
}

func must(t testing.TB) func(*freshet.Credential, error) *freshet.Credential {
	return func(c *freshet.Credential, err error) *freshet.Credential {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

func signer(t testing.TB, header string) *Signer {
	t.Helper()
	s, err := New(Config{Header: header}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSignPutsEachTypeIntoTheHeader(t *testing.T) {
	ok := must(t)
	basic := ok(freshet.NewBasic("Aladdin", "open sesame", forever))
	for _, test := range []struct {
		header string
		c      *freshet.Credential
		want   string // "name: value"
	}{
		{"", token(t, "tok", ""), "Authorization: Bearer tok"},
		{"", token(t, "tok", "bearer"), "Authorization: Bearer tok"},
		{"", token(t, "tok", "BEARER"), "Authorization: Bearer tok"},
		{"", token(t, "tok", "Token"), "Authorization: Token tok"},
		{"authorization", token(t, "tok", ""), "Authorization: Bearer tok"},
		{"", ok(freshet.NewIDToken("tok", forever)), "Authorization: Bearer tok"},
		{"", basic, "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		{"", ok(freshet.NewBasic("", "ü\n", forever)), "Authorization: Basic OsO8Cg=="},
		{"api-key", token(t, "tok", ""), "Api-Key: tok"},
		{"X-Api-Key", token(t, "tok", "Token"), "X-Api-Key: tok"},
		{"x-goog-api-key", ok(freshet.NewIDToken("tok", forever)), "X-Goog-Api-Key: tok"},
		{"PRIVATE-TOKEN", basic, "Private-Token: open sesame"},
		{"api-key", ok(freshet.NewBasic("a:b", "c", forever)), "Api-Key: c"},
	} {
		r := httptest.NewRequest("GET", "https://upstream.example/", nil)
		if err := signer(t, test.header).Sign(r, test.c, ""); err != nil {
			t.Errorf("%s: %v", test.want, err)
			continue
		}
		name, value, _ := strings.Cut(test.want, ": ")
		if len(r.Header) != 1 || !slices.Equal(r.Header[name], []string{value}) {
			t.Errorf("got %q, want %s alone", r.Header, test.want)
		}
	}
}

func TestSignRefusesWhatAHeaderCannotSay(t *testing.T) {
	ok := must(t)
	keys := ok(freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "AKIDSECRET", SecretAccessKey: "planted-secret", SessionToken: "planted-session"}, forever))
	for _, test := range []struct {
		header    string
		c         *freshet.Credential
		why, hint string
	}{
		{"", keys, "AWS keys are no bearer token: requests are signed with them", "use signer: sigv4"},
		{"api-key", keys, "AWS keys are no bearer token: requests are signed with them", "use signer: sigv4"},
		{"", token(t, "planted-secret", "DPoP"), "a token of type DPoP needs a proof beside it on every request", "have the issuer give bearer tokens"},
		{"api-key", token(t, "planted-secret", "dpop"), "a token of type dpop needs a proof beside it on every request", "have the issuer give bearer tokens"},
		{"", token(t, "planted-secret", "pop"), "a token of type pop needs a proof beside it on every request", "have the issuer give bearer tokens"},
		{"", token(t, "planted-secret", "mac"), "a token of type mac needs a proof beside it on every request", "have the issuer give bearer tokens"},
		{"", token(t, "planted-secret", "N_A"), "the issuer says that its token is no access token", "ask it for an access token"},
		{"", ok(freshet.NewBasic("planted-secret:x", "planted-secret", forever)), "a user name with a colon has no Authorization header", ""},
		{"api-key", ok(freshet.NewBasic("planted-secret", "", forever)), "the credential has no password for header Api-Key", ""},
		{"api-key", ok(freshet.NewBasic("u", "planted-secret\r\nX-Other: y", forever)), "the credential has bytes that no header may carry", ""},
		{"api-key", ok(freshet.NewBasic("u", "planted-secret\x00", forever)), "the credential has bytes that no header may carry", ""},
		{"api-key", ok(freshet.NewBasic("u", "planted-secret\x7f", forever)), "the credential has bytes that no header may carry", ""},
		{"api-key", ok(freshet.NewBasic("u", " planted-secret", forever)), "the credential has bytes that no header may carry", ""},
		{"api-key", ok(freshet.NewBasic("u", "planted-secret\t", forever)), "the credential has bytes that no header may carry", ""},
	} {
		r := httptest.NewRequest("GET", "https://upstream.example/", nil)
		err := signer(t, test.header).Sign(r, test.c, "")
		e, ok := errors.AsType[*freshet.Error](err)
		if !ok || e.Kind != freshet.Invalid || e.Why != test.why || e.Hint != test.hint {
			t.Errorf("got %v, want %s (%s)", err, test.why, test.hint)
			continue
		}
		freshettest.LeakedSecrets(t, e.Error()+e.Hint, "planted-secret", "planted-session")
		if len(r.Header) != 0 {
			t.Errorf("%s: the request has %v even so", test.why, r.Header)
		}
	}
}

// One request is signed for each attempt, with another version each, while the header of an earlier attempt may still be written.
func TestSignReplacesWhatAnEarlierAttemptHadAndLeavesItAsItWas(t *testing.T) {
	s := signer(t, "")
	first := httptest.NewRequest("GET", "https://upstream.example/", nil)
	first.Header["Authorization"] = []string{"Basic a", "Basic b"}
	before := first.Header["Authorization"]
	if err := s.Sign(first, token(t, "one", ""), ""); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(before, []string{"Basic a", "Basic b"}) {
		t.Errorf("the values that were there became %q", before)
	}
	one := first.Header["Authorization"]
	if err := s.Sign(first, token(t, "two", ""), ""); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(one, []string{"Bearer one"}) || !slices.Equal(first.Header["Authorization"], []string{"Bearer two"}) {
		t.Errorf("got %q and then %q, want Bearer one and Bearer two", one, first.Header["Authorization"])
	}
}

// What a version's header says is kept: it must be that version's, and print nowhere.
func TestKeptHeaderIsOfTheVersionThatSigns(t *testing.T) {
	s := signer(t, "")
	one, two := token(t, "planted-one", ""), token(t, "planted-two", "")
	for _, c := range []*freshet.Credential{one, one, two, one, two, two} {
		r := httptest.NewRequest("GET", "https://upstream.example/", nil)
		if err := s.Sign(r, c, ""); err != nil || !slices.Equal(r.Header["Authorization"], []string{"Bearer " + c.Token()}) {
			t.Errorf("got %v, %v, want the token %s", r.Header, err, c.Token())
		}
		r.Header.Add("Authorization", "another") // which finds no room in what is kept
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		freshettest.LeakedSecrets(t, fmt.Sprintf(form, s), "planted-one", "planted-two")
	}
	if n := testing.AllocsPerRun(100, func() { _ = s.Sign(&http.Request{Header: http.Header{"Authorization": nil}}, two, "") }); n > 2 {
		t.Errorf("%v allocations, of which two are the test's", n)
	}
}

func TestSignersAreEverybodys(t *testing.T) {
	s := signer(t, "api-key")
	c := token(t, "tok", "")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				r := httptest.NewRequest("GET", "https://upstream.example/", nil)
				if _, err := s.Prepare(r); err != nil {
					t.Error(err)
				}
				if err := s.Sign(r, c, ""); err != nil || r.Header.Get("api-key") != "tok" {
					t.Errorf("got %v, %v", r.Header, err)
				}
				s.Judge(&http.Response{StatusCode: 401, Header: http.Header{}}, nil)
			}
		})
	}
	all.Wait()
}

func TestPrepareLeavesNothingThatOnlyTheSignerMaySay(t *testing.T) {
	sent := func() http.Header {
		return http.Header{
			"Authorization": {"Bearer placeholder"}, "Proxy-Authorization": {"Basic x"}, "Forwarded": {"for=1.2.3.4"}, "Via": {"1.1 x"},
			"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Host": {"h"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Anything": {"y"},
			"x-forwarded-for": {"set by hand"}, "X-Forwarded-": {""},
			"Api-Key": {"placeholder"}, "X-Forward": {"kept"}, "Cookie": {"a=b"}, "Accept": {"*/*"}, "Content-Type": {"text/plain"},
		}
	}
	for header, want := range map[string][]string{
		"":        {"Accept", "Api-Key", "Content-Type", "Cookie", "X-Forward"},
		"api-key": {"Accept", "Content-Type", "Cookie", "X-Forward"},
	} {
		r := httptest.NewRequest("POST", "https://upstream.example/", strings.NewReader("the body"))
		r.Header, r.Trailer = sent(), sent()
		body := r.Body
		plan, err := signer(t, header).Prepare(r)
		if err != nil || plan.Hash || plan.Read != nil {
			t.Errorf("got plan %+v, %v, want the body to be sent as it comes", plan, err)
		}
		for what, h := range map[string]http.Header{"header": r.Header, "trailer": r.Trailer} {
			var got []string
			for name := range h {
				got = append(got, name)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("signer of %q: %s: got %q, want %q", header, what, got, want)
			}
		}
		if r.Body != body || r.ContentLength != 8 {
			t.Errorf("signer of %q: the body is another", header)
		}
	}
	r := httptest.NewRequest("GET", "https://upstream.example/", nil)
	r.Trailer = nil
	if _, err := signer(t, "").Prepare(r); err != nil {
		t.Error(err)
	}
}

func TestHeadersThatCarryNoCredentialAreRefused(t *testing.T) {
	for _, header := range []string{"", "Authorization", "AUTHORIZATION", "api-key", "x-api-key", "X-Goog-Api-Key", "PRIVATE-TOKEN", "x!#$%&'*+-.^_`|~1", strings.Repeat("a", 64)} {
		if err := (Config{Header: header}).Check(); err != nil {
			t.Errorf("%q: %v", header, err)
		}
	}
	const name, carries = "not the name of a header", "a header that carries no credential"
	for header, want := range map[string]string{
		"a b": name, "a:": name, "api-key\r\nHost: x": name, "é": name, " api-key": name, "": "", "(x)": name, strings.Repeat("a", 65): name,
		"Host": carries, "host": carries, "content-length": carries, "Content-Type": carries, "connection": carries, "Keep-Alive": carries,
		"Proxy-Authorization": carries, "TE": carries, "Trailer": carries, "transfer-encoding": carries, "Upgrade": carries, "cookie": carries,
		"Set-Cookie": carries, "Expect": carries, "Forwarded": carries, "X-Forwarded-For": carries, "Via": carries, "sec-websocket-key": carries,
		"Accept": carries, "Accept-Encoding": carries, "If-Match": carries, "Range": carries, "Date": carries, "HTTP2-Settings": carries,
		"WWW-Authenticate": carries, "Access-Control-Request-Method": carries, "Origin": carries, "User-Agent": carries, "Referer": carries,
		"Cache-Control": carries,
	} {
		err := Config{Header: header}.Check()
		f, ok := errors.AsType[*field.Error](err)
		if want == "" && err == nil {
			continue
		}
		if !ok || f.Field != "header" || f.Why != want || f.Help == "" {
			t.Errorf("%q: got %v, want header: %s", header, err, want)
		}
		s, err := New(Config{Header: header}, nil)
		if e, ok := errors.AsType[*freshet.Error](err); s != nil || !ok || e.Kind != freshet.Invalid || e.Why != "header: "+want || e.Hint == "" {
			t.Errorf("%q: got %v, %v of New", header, s, err)
		}
	}
}
