package sigv4

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"freshet.dev/freshet"
)

const (
	secret = "the-proxys-own-secret-0123456789abcdef"
	host   = "127.0.0.1:9920"
)

var (
	at      = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	keys    = aws.Credentials{AccessKeyID: "ANY", SecretAccessKey: secret}
	options = func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }
)

// signed is a request that the SDK for Go has signed for S3.
func signed(t testing.TB, method, target string, header http.Header) *http.Request {
	t.Helper()
	if header == nil {
		header = make(http.Header)
	}
	header.Set("X-Amz-Content-Sha256", Nothing)
	r := came(t, method, target, host, header, "")
	r.URL.Host = host
	if err := v4.NewSigner(options).SignHTTP(t.Context(), keys, r, Nothing, "s3", "eu-west-1", at); err != nil {
		t.Fatal(err)
	}
	return r
}

// presign is a request with a URL that the SDK for Go has presigned.
func presign(t testing.TB, target string, header http.Header, expires string) *http.Request {
	t.Helper()
	return presignOf(t, target, header, expires, Unsigned)
}

func presignOf(t testing.TB, target string, header http.Header, expires, payload string) *http.Request {
	t.Helper()
	r := came(t, "GET", target, host, header, "")
	r.URL.Scheme, r.URL.Host = "http", host
	q := r.URL.Query()
	q.Set("X-Amz-Expires", expires)
	r.URL.RawQuery = q.Encode()
	u, left, err := v4.NewSigner(options).PresignHTTP(t.Context(), keys, r, payload, "s3", "eu-west-1", at)
	if err != nil {
		t.Fatal(err)
	}
	left.Del("Host")
	return came(t, "GET", strings.TrimPrefix(u, "http://"+host), host, left, "")
}

func TestFindRefusesWhatIsNotWellMade(t *testing.T) {
	const good = "AWS4-HMAC-SHA256 Credential=ANY/20260102/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	ask := func(target string, authorization ...string) *http.Request {
		return came(t, "GET", target, host, http.Header{"Authorization": authorization, "X-Amz-Date": {"20260102T030405Z"}}, "")
	}
	if sig, found, err := Find(ask("/", good)); !found || err != nil || sig.AccessKeyID != "ANY" || sig.Day != "20260102" || sig.Region != "eu-west-1" || sig.Service != "s3" || !sig.Time.Equal(at) || sig.Query {
		t.Errorf("got %+v, %v, %v", sig, found, err)
	}
	if sig, _, err := Find(ask("/", strings.Replace(good, "ANY", "a/b", 1))); err != nil || sig.AccessKeyID != "a/b" {
		t.Errorf("got %q, %v: an access key id may have a slash in it", sig.AccessKeyID, err)
	}
	for _, authorization := range []string{"", "Bearer x", "Basic x", "AWS ANY:x"} {
		if _, found, err := Find(ask("/?X-Amz-Meta=x&Signature=y", authorization)); found || err != nil {
			t.Errorf("%q: got %v, %v, want none", authorization, found, err)
		}
	}
	replaced := func(old, new string) *http.Request { return ask("/", strings.Replace(good, old, new, 1)) }
	query := func(pairs ...string) *http.Request {
		q := map[string]string{"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": "ANY%2F20260102%2Feu-west-1%2Fs3%2Faws4_request", "X-Amz-Date": "20260102T030405Z",
			"X-Amz-Expires": "60", "X-Amz-SignedHeaders": "host", "X-Amz-Signature": strings.Repeat("a", 64)}
		for i := 0; i < len(pairs); i += 2 {
			q[pairs[i]] = pairs[i+1]
		}
		var list []string
		for _, name := range slices.Sorted(maps.Keys(q)) {
			list = append(list, name+"="+q[name])
		}
		return came(t, "GET", "/?"+strings.Join(list, "&"), host, http.Header{}, "")
	}
	if sig, found, err := Find(query()); !found || err != nil || !sig.Query || sig.Expires != time.Minute {
		t.Errorf("got %+v, %v, %v", sig, found, err)
	}
	undated, otherDate, twice := ask("/", good), ask("/", good), ask("/", good, good)
	undated.Header.Del("X-Amz-Date")
	otherDate.Header.Set("X-Amz-Date", "2026-01-02T03:04:05Z")
	both := query()
	both.Header.Set("Authorization", good)
	both.Header.Set("X-Amz-Date", "20260102T030405Z")
	many := "host;x-amz-date" + strings.Repeat(";a", 300)
	for name, r := range map[string]*http.Request{
		"version 4a": replaced("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "no algorithm": replaced("AWS4-HMAC-SHA256 ", "AWS4-"),
		"a part twice": replaced("Signature=", "Signature=00, Signature="), "no signature": replaced("Signature=", "S="), "short signature": replaced("Signature=0123", "Signature="),
		"capitals": replaced("Signature=0123", "Signature=ABCD"), "no day": replaced("20260102/", ""), "another day": replaced("20260102", "20260103"),
		"no key": replaced("ANY/", ""), "empty key": replaced("ANY", ""), "no region": replaced("eu-west-1", ""), "no service": replaced("/s3/", "//"), "no end": replaced("aws4_request", "aws4"),
		"no host": replaced("host;", ""), "no date": replaced(";x-amz-date", ""), "no headers": replaced("host;x-amz-date", ""), "a capital": replaced("host;", "host;X;"), "an empty name": replaced("host;", "host;;"),
		"a colon in a name": replaced("host;", "host;a:b;"), "many headers": replaced("host;x-amz-date", many), "undated": undated, "another form of date": otherDate, "twice": twice, "in the query too": both,
		"query's algorithm": query("X-Amz-Algorithm", "AWS4-ECDSA-P256-SHA256"), "query's date": query("X-Amz-Date", "x"), "query's credential": query("X-Amz-Credential", "x%zz"),
		"8 days": query("X-Amz-Expires", "604801"), "negative": query("X-Amz-Expires", "-1"), "no number": query("X-Amz-Expires", ""),
		"query's signature": query("X-Amz-Signature", "aa&X-Amz-Signature=bb"), "a parameter twice": query("X-Amz-Expires", "60&X-Amz-Expires=60"), "signature alone": came(t, "GET", "/?X-Amz-Signature=aaaa", host, http.Header{}, ""),
	} {
		_, found, err := Find(r)
		if !found || !errors.Is(err, freshet.Invalid) {
			t.Errorf("%s: got %v, %v, want it to be malformed", name, found, err)
		} else if !strings.HasPrefix(err.Error(), "the request's signature is malformed: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestVerifyTellsWhatIsWrong(t *testing.T) {
	inHeader := signed(t, "GET", "/b/k", nil)
	inQuery := presign(t, "/b/k", http.Header{}, "3600")
	for _, c := range []struct {
		name   string
		r      *http.Request
		secret string
		now    time.Duration // after it was signed
		want   error
	}{
		{"at once", inHeader, secret, 0, nil},
		{"15 min late", inHeader, secret, 15 * time.Minute, nil},
		{"15 min early", inHeader, secret, -15 * time.Minute, nil},
		{"too late", inHeader, secret, 15*time.Minute + time.Second, ErrTime},
		{"too early", inHeader, secret, -15*time.Minute - time.Second, ErrTime},
		{"wrong, and late", inHeader, "another", time.Hour, ErrSignature},
		{"presigned", inQuery, secret, time.Hour, nil},
		{"presigned early", inQuery, secret, -15 * time.Minute, nil},
		{"presigned too early", inQuery, secret, -16 * time.Minute, ErrTime},
		{"expired", inQuery, secret, time.Hour + time.Second, ErrExpired},
		{"presigned with another", inQuery, "another", 0, ErrSignature},
	} {
		sig, _, err := Find(c.r)
		if err != nil {
			t.Fatal(err)
		}
		err = sig.Verify(c.r, c.secret, at.Add(c.now), nil)
		switch {
		case c.want == nil && err != nil, c.want != nil && !errors.Is(err, c.want):
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		case err != nil && (!errors.Is(err, freshet.Denied) || freshet.AsError(err).Hint == ""):
			t.Errorf("%s: got %v, which is not of kind Denied with a hint", c.name, err)
		case err != nil && strings.Contains(fmt.Sprintf("%v %+v %s", err, err, freshet.AsError(err).Hint), secret):
			t.Errorf("%s: %v shows the secret", c.name, err)
		}
	}
}

// TestAQueryThatCannotBeReadIsNoOther changes a signed query into one that differs where it cannot be unescaped.
func TestAQueryThatCannotBeReadIsNoOther(t *testing.T) {
	r := signed(t, "GET", "/b/k?=x", nil)
	sig, _, err := Find(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := sig.Verify(r, secret, at, nil); err != nil {
		t.Fatal(err)
	}
	r.URL.RawQuery = "%zz=x"
	if err := sig.Verify(r, secret, at, nil); !errors.Is(err, ErrSignature) {
		t.Errorf("got %v", err)
	}
}

func TestVerifyAsksForTheBodyOnlyWhereTheRequestDoesNotTellItsHash(t *testing.T) {
	r := came(t, "POST", "/", host, http.Header{}, "x=y")
	sum, _ := hash("x=y")()
	r.URL.Host = host
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, r, sum, "sts", "eu-west-1", at); err != nil {
		t.Fatal(err)
	}
	sig, _, err := Find(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := sig.Verify(r, secret, at, hash("x=y")); err != nil {
		t.Errorf("got %v", err)
	}
	if err := sig.Verify(r, secret, at, hash("x=z")); !errors.Is(err, ErrSignature) {
		t.Errorf("another body: got %v", err)
	}
	if err := sig.Verify(r, secret, at, nil); !errors.Is(err, ErrSignature) {
		t.Errorf("no body: got %v", err)
	}
	broken := errors.New("broken")
	if err := sig.Verify(r, secret, at, func() (string, error) { return "", broken }); !errors.Is(err, broken) {
		t.Errorf("a body that cannot be read: got %v", err)
	}
	inQuery := presignOf(t, "/b/k?X-Amz-Content-Sha256="+sum, http.Header{}, "60", sum)
	if sig, _, err = Find(inQuery); err != nil {
		t.Fatal(err)
	}
	if err := sig.Verify(inQuery, secret, at, nil); err != nil {
		t.Errorf("told in the query: got %v", err)
	}
	if Strip(inQuery); inQuery.Header.Get("X-Amz-Content-Sha256") != sum || inQuery.URL.RawQuery != "" {
		t.Errorf("got %v %s, want what was said of the body in the header", inQuery.Header, inQuery.URL.RawQuery)
	}
	told := signed(t, "GET", "/b/k", nil)
	if sig, _, err = Find(told); err != nil {
		t.Fatal(err)
	}
	if err := sig.Verify(told, secret, at, func() (string, error) { t.Error("the body was asked for"); return "", nil }); err != nil {
		t.Error(err)
	}
}

func TestStripLeavesARequestAsIfNobodyHadSignedIt(t *testing.T) {
	r := signed(t, "GET", "/b/k?prefix=a%20b&x", http.Header{"X-Amz-Security-Token": {"t"}, "X-Amz-Meta-A": {"b"}})
	Strip(r)
	if _, found, _ := Find(r); found || len(r.Header) != 2 || r.Header.Get("X-Amz-Content-Sha256") != Nothing || r.Header.Get("X-Amz-Meta-A") != "b" {
		t.Errorf("got %v", r.Header)
	}
	r = presign(t, "/b/k?prefix=a%20b%2B&acl&z=%C3%A9", http.Header{"X-Amz-Checksum-Mode": {"ENABLED"}}, "60")
	old := r.URL
	if !strings.Contains(old.RawQuery, "X-Amz-Checksum-Mode=ENABLED") {
		t.Fatalf("the SDK has not put the header into the query: %s", old.RawQuery)
	}
	before := old.RawQuery
	Strip(r)
	if got, want := r.URL.RawQuery, "acl=&prefix=a%20b%2B&z=%C3%A9"; got != want {
		t.Errorf("got query %s, want %s", got, want)
	}
	if old.RawQuery != before {
		t.Error("the URL was changed in place")
	}
	if got := r.Header; len(got) != 2 || got.Get("X-Amz-Checksum-Mode") != "ENABLED" || got.Get("X-Amz-Content-Sha256") != Unsigned {
		t.Errorf("got %v, want what was put into the query as headers again", got)
	}
	plain := came(t, "GET", "/?X-Amz-Expires=1&x-amz-acl=y", host, http.Header{"Authorization": {"Bearer x"}, "X-Amz-Date": {"x"}}, "")
	Strip(plain)
	if len(plain.Header) != 2 || plain.URL.RawQuery != "X-Amz-Expires=1&x-amz-acl=y" {
		t.Errorf("got %v %s: there was no signature to take away", plain.Header, plain.URL.RawQuery)
	}
	evil := presign(t, "/b/k?x-amz-acl=a%0d%0ab&x-amz-%0a=c", http.Header{}, "60")
	Strip(evil)
	if len(evil.Header) != 1 {
		t.Errorf("got %q: a line break has got into a header", evil.Header)
	}
}
