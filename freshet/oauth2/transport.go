package oauth2

import (
	"net/http"
	"strings"
)

// Transport is an http.RoundTripper that puts the token on every request, over base (nil: http.DefaultTransport). Unlike
// oauth2.Transport it waits for a token as long as the request's own context allows, does not follow a redirect to another host
// with it, and rejects it if the server says that it is invalid: a 401 with the error invalid_token (RFC 6750 §3.1). The answer
// is the caller's all the same; a request made again has another token as soon as there is one.
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
	a, err := t.src.s.get(req.Context())
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	req = req.Clone(req.Context()) // a RoundTripper must not change what it is given
	t.src.s.version(a).token.SetAuthHeader(req)
	resp, err := t.base.RoundTrip(req)
	if err == nil && refused(resp) {
		t.src.s.identity.Reject(a.Credential.Fingerprint())
	}
	return resp, err
}

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
