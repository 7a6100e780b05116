// Package sigv4 is a signer that puts AWS's Signature Version 4 on requests, for AWS's services and for what speaks their protocols,
// as MinIO:
//
//	Authorization: AWS4-HMAC-SHA256 Credential=KEY/20260102/REGION/SERVICE/aws4_request, SignedHeaders=content-type;host;…, Signature=HEX
//	X-Amz-Date: 20260102T030405Z
//	X-Amz-Security-Token: …                (with keys that have one)
//	X-Amz-Content-Sha256: HEX | UNSIGNED-PAYLOAD | STREAMING-UNSIGNED-PAYLOAD-TRAILER     (where the service wants it, or the caller sent it)
//
// It is made by the SDK's own signer (aws-sdk-go-v2's aws/signer/v4), which signs every header that it is shown: also those that a
// connection's next hop changes. So it is shown a request that has only what is to be signed, and what it adds is put on the real
// one: the path and the other headers of that are sent as they came.
//
// What is signed of a body is said in payload.go, and what becomes of the clock in clock.go.
package sigv4

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"freshet.dev/freshet"
	"freshet.dev/internal/signing"
	"freshet.dev/internal/sigv4"
)

// Signer signs requests to one upstream. It is safe for concurrent use, and holds no lock while it waits.
type Signer struct {
	service, region string
	host            string // the upstream's, without the scheme's own port
	secure          bool   // the upstream is https
	unsigned        bool   // bodies are not signed
	last            atomic.Pointer[version]
	offset          atomic.Int64 // what is added to this machine's clock, in nanoseconds
}

// version is one version of the keys, and what was derived from them. The SDK's signer finds what it has derived by the access key's
// id and the day alone, so that a secret which changes under the same id would be signed with no sooner than the next day: each
// version has a signer of its own. The signer is kept with the version, in one pointer, so all parts are always of one.
type version struct {
	of     *freshet.Credential
	keys   aws.Credentials
	signer *v4.Signer
}

// New makes a signer for an upstream. Errors are of kind Invalid, and have field errors behind them.
func New(c Config, upstream *url.URL) (*Signer, error) {
	err := c.Check()
	if err == nil {
		err = c.complete(upstream)
	}
	if err != nil {
		return nil, &freshet.Error{Kind: freshet.Invalid, Why: strings.ReplaceAll(err.Error(), "\n", "; "), Hint: hint(err), Cause: err}
	}
	s := &Signer{service: c.Service, region: c.Region, host: upstream.Host, secure: upstream.Scheme == "https"}
	if port := upstream.Port(); s.secure && port == "443" || upstream.Scheme == "http" && port == "80" {
		s.host = strings.TrimSuffix(s.host, ":"+port)
	}
	s.unsigned = c.Payload == "unsigned" || s.service == lattice && s.secure
	return s, nil
}

// Service is what it signs for.
func (s *Signer) Service() string { return s.service }

// Format implements fmt.Formatter, for every verb alike.
func (s *Signer) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "sigv4(%s %s)", s.service, s.region) }

// Prepare implements proxy.Signer.
func (s *Signer) Prepare(r *http.Request) (signing.Plan, error) {
	if err := s.readQuery(r); err != nil {
		return plan{}, err
	}
	for name := range r.Header {
		if only(name) {
			delete(r.Header, name)
		}
	}
	return s.payload(r)
}

// only reports whether a header says what only the signer may say, or whom the request has come by: the latter would tell the
// upstream of this machine, and would be signed where it begins with X-Amz.
func only(name string) bool {
	switch name {
	case "Authorization", "X-Amz-Date", "X-Amz-Security-Token", "Forwarded", "Via":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-")
}

// readQuery refuses a query that the signer and the upstream might read differently, and one with somebody's signature in it.
func (s *Signer) readQuery(r *http.Request) error {
	raw := r.URL.RawQuery
	if raw == "" {
		return nil
	}
	if strings.Contains(raw, ";") {
		return freshet.Errorf(freshet.Invalid, "the query has a semicolon, which some read as a separator").WithHint("write it as %%3B")
	}
	for one := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(one, "=")
		name, err := url.QueryUnescape(name)
		if _, valueErr := url.QueryUnescape(value); err != nil || valueErr != nil {
			return freshet.Errorf(freshet.Invalid, "the query has a percent sign without two hex digits after it").WithHint("write it as %%25")
		}
		switch name {
		case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Security-Token":
			return freshet.Errorf(freshet.Invalid, "the query has a signature already").
				WithHint("send the request unsigned, or sign it with the proxy's secret as the secret access key")
		}
	}
	if strings.Contains(raw, "+") {
		// Whoever reads it as a form takes a plus for a space, and so does the SDK. Thus everybody does.
		u := *r.URL
		u.RawQuery = strings.ReplaceAll(raw, "+", "%20")
		r.URL = &u
	}
	return nil
}

// Sign implements proxy.Signer.
func (s *Signer) Sign(r *http.Request, c *freshet.Credential, hash string) error {
	if c.Type() != freshet.AWS {
		return freshet.Errorf(freshet.Invalid, "the identity has a credential of type %s, and AWS signatures are made with AWS keys", c.Type()).
			WithHint("name an identity whose credential is AWS keys, or sign with bearer")
	}
	said := r.Header.Get(contentHash)
	switch {
	case hash == "" && said == "":
		return freshet.Errorf(freshet.Bug, "a request is signed that was not prepared")
	case hash == "":
		hash = said
	case sigv4.IsHash(said) && said != hash:
		return &freshet.Error{Kind: freshet.Invalid, Why: "the body does not have the hash that " + contentHash + " gives", Cause: signing.ErrRequest}
	}
	v := s.version(c)
	path := sigv4.Path(r.URL, s.service)
	shown := http.Request{
		Method: r.Method, Host: s.host, Header: make(http.Header, 8),
		// The SDK's signer takes the path of Opaque as it is.
		URL: &url.URL{Scheme: r.URL.Scheme, Host: s.host, Opaque: "//" + s.host + path, RawQuery: r.URL.RawQuery},
	}
	for name, values := range r.Header {
		if signed(name) {
			shown.Header[name] = values
		}
	}
	if said != "" || wantsHash(s.service) {
		shown.Header[contentHash] = []string{hash}
	}
	if len(r.TransferEncoding) == 0 {
		shown.ContentLength = max(0, r.ContentLength)
	}
	if err := v.signer.SignHTTP(r.Context(), v.keys, &shown, hash, s.service, s.region, s.now()); err != nil {
		return &freshet.Error{Kind: freshet.Bug, Why: "the request cannot be signed", Cause: err}
	}
	r.Host = s.host
	delete(r.Header, "X-Amz-Security-Token")
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", contentHash} {
		if value, ok := shown.Header[name]; ok {
			r.Header[name] = value
		}
	}
	return nil
}

// signed reports whether a header of the request is signed. Services want x-amz-* to be; what the signer sets itself comes from it.
func signed(name string) bool {
	switch name {
	case "Content-Type", "Content-Md5":
		return true
	case "X-Amz-Date", "X-Amz-Security-Token":
		return false
	}
	return strings.HasPrefix(name, "X-Amz-")
}

// wantsHash reports whether a service wants to be told the hash of the body. No service minds, as the SDK for JavaScript tells all.
func wantsHash(service string) bool {
	switch service {
	case "glacier", "aoss", lattice:
		return true
	}
	return sigv4.OnceEscaped(service)
}

// version is what signs with a credential. A credential is immutable, so its address tells versions apart. What was kept of another
// version is let go of here, so that no secret outlives its version for longer than to the next request.
func (s *Signer) version(c *freshet.Credential) *version {
	if v := s.last.Load(); v != nil && v.of == c {
		return v
	}
	keys := c.AWS()
	v := &version{of: c, signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), keys: aws.Credentials{
		AccessKeyID: keys.AccessKeyID, SecretAccessKey: string(keys.SecretAccessKey), SessionToken: string(keys.SessionToken),
	}}
	s.last.Store(v)
	return v
}

// now is the time by the upstream's clock, as far as it is known.
func (s *Signer) now() time.Time { return freshet.Now().Wall().Add(time.Duration(s.offset.Load())) }
