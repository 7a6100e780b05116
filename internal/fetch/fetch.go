// Package fetch is the HTTP client that sources ask their issuers with. It does what a credential on the wire needs and a
// browser's habits forbid: redirects are refused rather than followed, no cookie is kept, an answer has at most 1 MiB, nothing
// is retried (the engine's retries are the only ones), and every failure is a *freshet.Error that names the host and the class
// of the cause, never a URL's query or a body.
package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
)

const (
	// maxBody is far over any credential: the largest tokens, JWTs full of groups, are under 64 KiB.
	maxBody = 1 << 20
	// maxHeader bounds the answer's header likewise; net/http's own bound is 10 MiB.
	maxHeader = 64 << 10

	dialTimeout = 10 * time.Second // of TCP, and again of TLS
	// idleTimeout is short because requests to one issuer come in bursts, minutes apart: in between the connection would only
	// be there to break. Node's servers close theirs after 5 s, the soonest of those known.
	idleTimeout = 4 * time.Second
	// backstop ends a request whose context has no deadline. The engine's always has one, of a minute unless configured.
	backstop = 5 * time.Minute
)

// Config is what differs from client to client.
type Config struct {
	// CAFile is a PEM file of the certificates to trust, in place of the system's; empty: the system's. It is read again
	// once it has changed.
	CAFile string
}

// Client sends requests to an issuer. It is safe for concurrent use. It speaks HTTP/1.1 and HTTP/2, and takes proxies from
// HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
type Client struct {
	http  atomic.Pointer[http.Client]
	roots *roots // nil: the system's
}

// New returns a client. Errors are of kind Invalid: a CAFile that cannot be read or has no certificate.
func New(cfg Config) (*Client, error) {
	c := new(Client)
	if cfg.CAFile == "" {
		c.http.Store(newHTTP(nil))
		return c, nil
	}
	c.roots = &roots{path: cfg.CAFile}
	pool, err := c.roots.read()
	if err != nil {
		return nil, err
	}
	c.http.Store(newHTTP(pool))
	return c, nil
}

// newHTTP makes the net/http client; pool nil trusts the system's certificates.
func newHTTP(pool *x509.CertPool) *http.Client {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		ForceAttemptHTTP2:      true, // a TLS configuration of one's own turns it off otherwise
		TLSHandshakeTimeout:    dialTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: maxHeader,
	}
	if pool != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport: transport,
		Timeout:   backstop,
		// The first answer is returned as it is, and Do refuses it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// current is the client to use: another than before if the CA file has changed. One that cannot be read changes nothing.
func (c *Client) current() *http.Client {
	if c.roots == nil || !c.roots.changed() {
		return c.http.Load()
	}
	pool, err := c.roots.read()
	if err != nil {
		return c.http.Load()
	}
	next := newHTTP(pool)
	c.http.Swap(next).CloseIdleConnections()
	return next
}

// Do sends a request and returns the answer, whatever its status, unless that is a redirect. The answer's body fails with a
// *freshet.Error once it is read past 1 MiB; who calls Do closes it. Every error is a *freshet.Error.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "freshet")
	}
	resp, err := c.current().Do(req)
	if err != nil {
		return nil, Failure(req, err)
	}
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		_ = resp.Body.Close()
		e := freshet.Errorf(freshet.Malformed, "%s: redirect refused", req.URL.Host).
			WithHint("credentials do not follow redirects: configure the issuer's final address")
		e.Status = resp.StatusCode
		return nil, e
	}
	resp.Body = &body{ReadCloser: resp.Body, req: req, resp: resp, left: maxBody}
	return resp, nil
}

// Answer is a whole answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Exchange sends a request and reads the whole answer. Every error is a *freshet.Error.
func (c *Client) Exchange(req *http.Request) (*Answer, error) {
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: b}, nil
}

// body is an answer's body that ends in an error at maxBody. Its first error stays: who reads on, or after Close, must not be
// told of another.
type body struct {
	io.ReadCloser
	req  *http.Request
	resp *http.Response
	left int
	err  error
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	// One byte past the cap is read, to tell an answer that ends there from one that does not.
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if n > b.left {
		n = b.left
		err = b.refused(freshet.Errorf(freshet.Malformed, "%s: answer over 1 MiB", b.req.URL.Host))
	} else if err != nil && err != io.EOF {
		err = b.refused(Failure(b.req, err))
	}
	b.left -= n
	b.err = err
	return n, err
}

// refused adds to an error of the body what the header said already, if that was a refusal. A success that breaks off is a
// failure of the connection, which has no status.
func (b *body) refused(e *freshet.Error) *freshet.Error {
	if b.resp.StatusCode >= http.StatusBadRequest {
		e.Status, e.RetryAfter = b.resp.StatusCode, RetryAfter(b.resp.Header)
	}
	return e
}
