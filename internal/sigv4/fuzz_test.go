package sigv4

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// FuzzFind holds that no header and no query makes Find, Verify or Strip panic, that none verifies, and that nothing of a signature
// is left of it.
func FuzzFind(f *testing.F) {
	const good = "AWS4-HMAC-SHA256 Credential=ANY/20260102/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	f.Add(good, "", "20260102T030405Z")
	f.Add("", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20260102%2Fr%2Fs3%2Faws4_request&X-Amz-Date=20260102T030405Z&X-Amz-SignedHeaders=host&X-Amz-Expires=9&X-Amz-Signature="+strings.Repeat("0", 64), "")
	f.Add("AWS4-HMAC-SHA256 Credential=,=,", "a;b&%zz&X-Amz-Signature&x-amz-%41=%0d", "")
	f.Add(good, "a=%zz&+=+&=", "Fri, 02 Jan 2026 03:04:05 GMT")
	f.Fuzz(func(t *testing.T, authorization, query, date string) {
		r := &http.Request{Method: "GET", Host: host, URL: &url.URL{Path: "/b/k", RawQuery: query}, Header: http.Header{"Authorization": {authorization}, "X-Amz-Date": {date}}}
		sig, found, err := Find(r)
		if err != nil && !found {
			t.Errorf("%v, and there is none", err)
		}
		if found && err == nil {
			if err := sig.Verify(r, secret, sig.Time, nil); err == nil {
				t.Errorf("%q %q verifies", authorization, query)
			}
		}
		Strip(r)
		if _, found, _ := Find(r); found {
			t.Errorf("%q %q is left", r.Header, r.URL.RawQuery)
		}
		for name, values := range r.Header {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n") && !strings.ContainsAny(authorization+date, "\r\n") {
				t.Errorf("%q: %q", name, values)
			}
		}
	})
}

// FuzzVerify holds that whatever the SDK for Go signs, and presigns, verifies.
func FuzzVerify(f *testing.F) {
	f.Add("/b/a b+c", "prefix=a%20b&acl", "x  y", true)
	f.Add("//a/../b;c/é", "a=b&a=a&A=%2B", " v ", false)
	f.Add("/%2F", "=&&a=/&a=-", "", true)
	f.Add("/.", "+=+", "\t", false)
	f.Fuzz(func(t *testing.T, path, query, value string, s3 bool) {
		u := &url.URL{Scheme: "http", Host: host, Path: path, RawQuery: query}
		if !strings.HasPrefix(path, "/") || strings.ContainsFunc(query+value, control) || strings.ContainsAny(query, ";# ") || presigning(query) || strings.Contains(query, "mz-") {
			return
		}
		if _, err := url.ParseQuery(query); err != nil {
			return
		}
		if _, err := url.ParseRequestURI(u.RequestURI()); err != nil {
			return
		}
		service, opt := "execute-api", func(*v4.SignerOptions) {}
		if s3 {
			service, opt = "s3", options
		}
		r := &http.Request{Method: "GET", Host: host, URL: u, Header: http.Header{"X-Amz-Meta-A": {value, "b"}, "X-Amz-Content-Sha256": {Unsigned}}}
		presigned, _, err := v4.NewSigner(opt).PresignHTTP(t.Context(), keys, r, Unsigned, service, "r", at)
		if err != nil {
			t.Fatal(err)
		}
		if err := v4.NewSigner(opt).SignHTTP(t.Context(), keys, r, Unsigned, service, "r", at); err != nil {
			t.Fatal(err)
		}
		inQuery, err := http.NewRequest("GET", presigned, nil)
		if err != nil {
			t.Fatal(err)
		}
		inQuery.Header = http.Header{"X-Amz-Meta-A": {value, "b"}, "X-Amz-Content-Sha256": {Unsigned}}
		for _, r := range []*http.Request{r, inQuery} {
			sig, found, err := Find(r)
			if !found || err != nil {
				t.Fatalf("%s: %v, %v", r.URL, found, err)
			}
			if err := sig.Verify(r, secret, at, nil); err != nil {
				t.Errorf("%s %q: %v", r.URL, value, err)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	r := signed(b, "GET", "/b/some/key%20of%20mine", http.Header{"X-Amz-Meta-A": {"b"}})
	b.ReportAllocs()
	for b.Loop() {
		sig, _, err := Find(r)
		if err == nil {
			err = sig.Verify(r, secret, at, nil)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
