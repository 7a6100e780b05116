package oauth2

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"freshet.dev/freshet"
)

// Transport is an http.RoundTripper that puts the token on every request, over base (nil: http.DefaultTransport). Unlike
// oauth2.Transport it waits for a token as long as the request's own context allows, and does not follow a redirect to another
// host with it.
//
// A token that the server calls invalid, by a 401 with the error invalid_token (RFC 6750 §3.1), is rejected, and the request made
// once more with the next one, whatever its method: the server has not acted on it. The caller gets the server's first answer
// where there is no other token to be had now, or the request has a body that cannot be sent again (http.Request.GetBody).
func (s *Source) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{src: s, base: base}
}

type transport struct {
	src  *Source
	base http.RoundTripper
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if strayed(req) {
		return t.base.RoundTrip(req)
	}
	a, err := t.src.s.handle.Get(req.Context())
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	resp, err := t.send(req, req.Body, a)
	if err != nil || !refused(resp) {
		return resp, err
	}
	t.src.s.identity.Reject(a.Credential.Fingerprint())
	if !repeatable(req) {
		return resp, nil
	}
	next, err := t.src.s.identity.Get(impatient{req.Context()}, freshet.Request{Rejected: a.Credential.Fingerprint()})
	if err != nil {
		return resp, nil
	}
	body := req.Body
	if req.GetBody != nil {
		if body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxRest)
	_ = resp.Body.Close()
	resp, err = t.send(req, body, next)
	if err == nil && refused(resp) {
		t.src.s.identity.Reject(next.Credential.Fingerprint())
	}
	return resp, err
}

// maxRest is how much is read of an answer that nobody gets, so that its connection can be used again.
const maxRest = 4 << 10

// send makes a request with an answer's token.
func (t *transport) send(req *http.Request, body io.ReadCloser, a freshet.Answer) (*http.Response, error) {
	req = req.Clone(req.Context()) // a RoundTripper must not change what it is given
	req.Body = body
	t.src.s.version(a).token.SetAuthHeader(req)
	return t.base.RoundTrip(req)
}

// repeatable reports whether a request has no body, or one that can be had again.
func repeatable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// impatient is a context that ends with another and shows no deadline. The engine holds a caller that has one until its issuer may
// be asked again; whoever has an answer already does not wait for that.
type impatient struct{ context.Context }

func (impatient) Deadline() (time.Time, bool) { return time.Time{}, false }

// strayed reports whether redirects have led to another scheme or host than the first request went to.
func strayed(req *http.Request) bool {
	first := req
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	return req.URL.Host != first.URL.Host || req.URL.Scheme != first.URL.Scheme
}

func refused(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	for _, challenge := range resp.Header.Values("WWW-Authenticate") {
		if strings.Contains(challenge, `error="invalid_token"`) || strings.Contains(challenge, "error=invalid_token") {
			return true
		}
	}
	return false
}
