package party

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
)

// maxSTSBody bounds what is read of a request to look for its action; a session token is a few kilobytes.
const maxSTSBody = 1 << 20

// STSProxy stands before an STS and counts what is asked of it: MinIO deletes its own records of credentials as they
// expire, so they cannot be counted afterwards.
type STSProxy struct {
	// URL to use in place of the STS's.
	URL string

	requests, successes atomic.Int64
}

// CountingProxy starts a loopback proxy to the target, for the length of the test. Host is passed on as it came, so
// that signatures made for the proxy's address hold.
func CountingProxy(t testing.TB, target string) *STSProxy {
	t.Helper()
	base, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &STSProxy{}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(base)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Context().Value(isWebIdentity{}) != nil && r.StatusCode == http.StatusOK {
				proxy.successes.Add(1)
			}
			return nil
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, err := markWebIdentity(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if r.Context().Value(isWebIdentity{}) != nil {
			proxy.requests.Add(1)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	proxy.URL = server.URL
	return proxy
}

// Requests is how many AssumeRoleWithWebIdentity requests arrived.
func (p *STSProxy) Requests() int { return int(p.requests.Load()) }

// Successes is how many of them yielded credentials.
func (p *STSProxy) Successes() int { return int(p.successes.Load()) }

// isWebIdentity is the context key of a request that trades a token for credentials.
type isWebIdentity struct{}

// markWebIdentity looks for the request's action, which may be in its query or in a form (STS query protocol), and
// leaves the body as it was.
func markWebIdentity(r *http.Request) (*http.Request, error) {
	if r.Method != http.MethodPost || r.URL.Path != "/" {
		return r, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSTSBody))
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return r, nil
	}
	const action = "AssumeRoleWithWebIdentity"
	if form.Get("Action") != action && r.URL.Query().Get("Action") != action {
		return r, nil
	}
	return r.WithContext(context.WithValue(r.Context(), isWebIdentity{}, true)), nil
}
