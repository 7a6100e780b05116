package sigv4

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
)

// came is a request as a server gets it; target is the second word of its first line.
func came(t testing.TB, method, target, host string, header http.Header, body string) *http.Request {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	r := &http.Request{Method: method, URL: u, Host: host, Header: header, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
	if body == "" {
		r.Body = http.NoBody
	}
	return r
}

func hash(body string) func() (string, error) {
	sum := sha256.Sum256([]byte(body))
	return func() (string, error) { return hex.EncodeToString(sum[:]), nil }
}

// vectors are of AWS's Signature Version 4 test suite (aws-sig-v4-test-suite), and of the examples in S3's API reference
// ("Signature Calculations for the Authorization Header", "Authenticating Requests: Using Query Parameters").
var vectors = []struct {
	name, method, target string
	headers              string // name: value, each in a line; the Authorization's Credential and Signature are added
	signed, body         string
	signature            string
}{
	{"get-vanilla", "GET", "/", "", "host;x-amz-date", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-vanilla-query", "GET", "/", "", "host;x-amz-date", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-vanilla-query-order-key-case", "GET", "/?Param2=value2&Param1=value1", "", "host;x-amz-date", "", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
	{"get-vanilla-empty-query-key", "GET", "/?Param1=value1", "", "host;x-amz-date", "", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
	{"get-utf8", "GET", "/\u1234", "", "host;x-amz-date", "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
	{"get-unreserved", "GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "", "host;x-amz-date", "", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
	{"get-space", "GET", "/example space/", "", "host;x-amz-date", "", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
	{"get-relative", "GET", "/example/..", "", "host;x-amz-date", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-relative-relative", "GET", "/example1/example2/../..", "", "host;x-amz-date", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-slash", "GET", "//", "", "host;x-amz-date", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-slashes", "GET", "//example//", "", "host;x-amz-date", "", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
	{"get-slash-dot-slash", "GET", "/./", "", "host;x-amz-date", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-slash-pointless-dot", "GET", "/./example", "", "host;x-amz-date", "", "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
	{"get-header-key-duplicate", "GET", "/", "My-Header1:value2\nMy-Header1:value2\nMy-Header1:value1", "host;my-header1;x-amz-date", "", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
	{"get-header-value-order", "GET", "/", "My-Header1:value4\nMy-Header1:value1\nMy-Header1:value3\nMy-Header1:value2", "host;my-header1;x-amz-date", "", "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
	{"get-header-value-trim", "GET", "/", "My-Header1: value1\nMy-Header2: \"a   b   c\"", "host;my-header1;my-header2;x-amz-date", "", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
	{"post-vanilla", "POST", "/", "", "host;x-amz-date", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{"post-vanilla-query", "POST", "/?Param1=value1", "", "host;x-amz-date", "", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
	{"post-header-key-sort", "POST", "/", "My-Header1:value1", "host;my-header1;x-amz-date", "", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
	{"post-header-value-case", "POST", "/", "My-Header1:VALUE1", "host;my-header1;x-amz-date", "", "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
	{"post-x-www-form-urlencoded", "POST", "/", "Content-Type:application/x-www-form-urlencoded", "content-type;host;x-amz-date", "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	{"post-x-www-form-urlencoded-parameters", "POST", "/", "Content-Type:application/x-www-form-urlencoded; charset=utf8", "content-type;host;x-amz-date", "Param1=value1", "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"},
}

const (
	suiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	s3Secret    = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

func TestPublishedVectorsVerify(t *testing.T) {
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	for _, v := range vectors {
		h := http.Header{"X-Amz-Date": {"20150830T123600Z"}, "Authorization": {
			"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=" + v.signed + ", Signature=" + v.signature}}
		for line := range strings.SplitSeq(v.headers, "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok {
				h.Add(name, strings.TrimSpace(value))
			}
		}
		r := came(t, v.method, v.target, "example.amazonaws.com", h, v.body)
		check(t, v.name, r, suiteSecret, at, v.body)
	}
}

func TestPublishedExamplesOfS3Verify(t *testing.T) {
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	const scope, host = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,", "examplebucket.s3.amazonaws.com"
	for _, v := range []struct {
		method, target string
		header         http.Header
		body           string
	}{
		{"GET", "/test.txt", http.Header{"Range": {"bytes=0-9"}, "X-Amz-Content-Sha256": {Nothing}, "X-Amz-Date": {"20130524T000000Z"},
			"Authorization": {scope + "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"}}, ""},
		{"PUT", "/test%24file.text", http.Header{"Date": {"Fri, 24 May 2013 00:00:00 GMT"}, "X-Amz-Date": {"20130524T000000Z"}, "X-Amz-Storage-Class": {"REDUCED_REDUNDANCY"},
			"X-Amz-Content-Sha256": {"44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
			"Authorization":        {scope + "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"}}, "Welcome to Amazon S3."},
		{"GET", "/?lifecycle", http.Header{"X-Amz-Content-Sha256": {Nothing}, "X-Amz-Date": {"20130524T000000Z"},
			"Authorization": {scope + "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"}}, ""},
		{"GET", "/?max-keys=2&prefix=J", http.Header{"X-Amz-Content-Sha256": {Nothing}, "X-Amz-Date": {"20130524T000000Z"},
			"Authorization": {scope + "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"}}, ""},
		{"GET", "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404", http.Header{}, ""},
	} {
		check(t, v.method+" "+v.target, came(t, v.method, v.target, host, v.header, v.body), s3Secret, at, v.body)
	}
}

// check verifies a request, then with each of its parts changed: none of these may pass.
func check(t *testing.T, name string, r *http.Request, secret string, at time.Time, body string) {
	t.Helper()
	sig, found, err := Find(r)
	if !found || err != nil {
		t.Errorf("%s: got %v, %v, want a signature", name, found, err)
		return
	}
	if err := sig.Verify(r, secret, at, hash(body)); err != nil {
		t.Errorf("%s: got %v", name, err)
		return
	}
	wrong := func(what string, change func(r *http.Request, sig *Signature, secret *string)) {
		other, key, s := r.Clone(t.Context()), secret, sig
		change(other, &s, &key)
		if err := s.Verify(other, key, at, hash(body)); !errors.Is(err, ErrSignature) || !errors.Is(err, freshet.Denied) {
			t.Errorf("%s: with another %s: got %v", name, what, err)
		}
	}
	wrong("secret", func(_ *http.Request, _ *Signature, secret *string) { *secret += "x" })
	wrong("method", func(r *http.Request, _ *Signature, _ *string) { r.Method = "PATCH" })
	wrong("host", func(r *http.Request, _ *Signature, _ *string) { r.Host = "example.org" })
	wrong("path", func(r *http.Request, _ *Signature, _ *string) {
		r.URL.Path, r.URL.RawPath = r.URL.Path+"x", ""
	})
	wrong("query", func(r *http.Request, _ *Signature, _ *string) { r.URL.RawQuery += "&x=y" })
	wrong("signature", func(_ *http.Request, s *Signature, _ *string) {
		s.Signature = strings.Map(func(c rune) rune {
			if c == '9' {
				return '0'
			}
			return c + 1
		}, s.Signature)
	})
	wrong("region", func(_ *http.Request, s *Signature, _ *string) { s.Region = "eu-north-1" })
	for _, name := range sig.SignedHeaders {
		if name != "host" {
			wrong(name, func(r *http.Request, _ *Signature, _ *string) { r.Header.Add(name, "x") })
		}
	}
}

// TestRequestsOfSDKsVerify has requests as botocore 1.43 and the SDK for JavaScript sign them (with what each is likely to meet:
// objects' names with anything in them, dots, presigned URLs, session tokens).
func TestRequestsOfSDKsVerify(t *testing.T) {
	f, err := os.Open("testdata/sdks.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, n := bufio.NewScanner(f), 0
	for ; lines.Scan(); n++ {
		var c struct {
			Name, Method, Host, Target, Body string
			Header                           map[string]string
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		h := make(http.Header)
		for name, value := range c.Header {
			h.Set(name, strings.TrimSpace(value))
		}
		check(t, c.Name, came(t, c.Method, c.Target, c.Host, h, c.Body), "the-proxys-own-secret-0123456789abcdef", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), c.Body)
	}
	if n != 48 {
		t.Errorf("got %d requests, want 48", n)
	}
}
