package proxy

import (
	"cmp"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/signing"
)

const (
	// keptConnections is how many idle ones a route keeps; net/http keeps two, and opens one for nearly every request of a fan-out.
	keptConnections = 100
	keptFor         = 90 * time.Second
	// maxAnswerHeader bounds an upstream's header; net/http's own bound is 10 MiB.
	maxAnswerHeader = 1 << 20
	// expectContinue is how long an upstream may take to ask for the body of a request that wants to be asked.
	expectContinue = time.Second
)

// newTransport makes a route's own pool of connections. It follows no redirect, unpacks nothing, and takes proxies from
// HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
func newTransport(cfg *Config) *http.Transport {
	dialer := &net.Dialer{Timeout: cfg.Connect}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: cfg.Connect,
		MaxConnsPerHost: cfg.Connections, MaxIdleConnsPerHost: cmp.Or(cfg.Connections, keptConnections), IdleConnTimeout: keptFor,
		ResponseHeaderTimeout: cfg.Answer, ExpectContinueTimeout: expectContinue,
		DisableCompression: true, MaxResponseHeaderBytes: maxAnswerHeader,
		WriteBufferSize: cmp.Or(cfg.Buffers, bufferSize), ReadBufferSize: cmp.Or(cfg.Buffers, bufferSize),
		Protocols: new(http.Protocols),
	}
	t.TLSClientConfig = cfg.TLS.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.Protocols.SetHTTP1(!cfg.HTTP2)
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(cfg.HTTP2)
	return t
}

// hops are headers about who has forwarded a request, which an upstream must be told by nobody but those it trusts. ReverseProxy
// takes away those of the hop itself, Connection and what it names among them.
var hops = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-Ip", "Via"}

// overrides are headers by which some servers take a request for one of another method or path than those it was let in for.
var overrides = []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url"}

// rewrite points a request at the upstream. It is a ReverseProxy's Rewrite.
func (r *Route) rewrite(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In.Context())
	x.in = p.In
	path := r.base + x.rest
	plain, err := url.PathUnescape(path)
	if err != nil {
		plain = path
	}
	u := p.Out.URL
	u.Scheme, u.Host, u.User, u.Opaque = r.cfg.Upstream.Scheme, r.cfg.Upstream.Host, nil, ""
	u.Path, u.RawPath = plain, path
	u.RawQuery, u.ForceQuery = p.In.URL.RawQuery, p.In.URL.ForceQuery // as it came, where ReverseProxy would drop what it cannot read
	p.Out.Host = ""
	for _, name := range hops {
		delete(p.Out.Header, name)
	}
	if len(r.cfg.Methods) > 0 || len(r.cfg.Paths) > 0 {
		for _, name := range overrides {
			delete(p.Out.Header, name)
		}
	}
	for name := range p.Out.Header {
		if strings.HasPrefix(name, "Sec-Fetch-") {
			delete(p.Out.Header, name) // Node's fetch says them of every request
		}
	}
}

// modify readies an upstream's answer for the caller. It is a ReverseProxy's ModifyResponse.
func (r *Route) modify(resp *http.Response) error {
	delete(resp.Header, "Alt-Svc") // another way to the upstream, on which nobody signs
	delete(resp.Header, "Freshet-Error")
	if where := resp.Header.Get("Location"); where != "" {
		resp.Header.Set("Location", r.local(where))
	}
	x := exchangeOf(resp.Request.Context())
	if both, ok := resp.Body.(tunnelBody); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = tunnel{both, x}
		x.Status = resp.StatusCode // ReverseProxy writes it by itself
	}
	return nil
}

// tunnelBody is what net/http makes of an answer that switches protocols.
type tunnelBody interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Close() error
}

// local is a redirect to somewhere else in the same upstream as the caller can follow it: through this route. One to another
// place is left as it is, for the caller to follow without a credential.
func (r *Route) local(where string) string {
	u, err := url.Parse(where)
	if err != nil || u.Scheme != r.cfg.Upstream.Scheme || !strings.EqualFold(u.Host, r.cfg.Upstream.Host) {
		if err != nil || u.Host != "" || !strings.HasPrefix(where, "/") {
			return where
		}
	}
	path, ok := strings.CutPrefix(u.EscapedPath(), r.base)
	if !ok || path != "" && path[0] != '/' || strings.HasPrefix(r.cfg.Prefix+path, "//") {
		return where
	}
	if path = r.cfg.Prefix + path; path == "" {
		path = "/"
	}
	if u.RawQuery != "" || u.ForceQuery {
		path += "?" + u.RawQuery
	}
	if u.Fragment != "" {
		path += "#" + u.EscapedFragment()
	}
	return path
}

// attempts is a route's http.RoundTripper: a request becomes one or more attempts, each signed with one version of the credential.
type attempts struct{ route *Route }

// patience is how long a request waits for a credential where its issuer fails and nothing valid is to be had.
const patience = 20 * time.Second

// OutboundPatience is the same of a request of freshet's own, which is one of several that its caller waits for, and told by an error what
// is wrong.
const OutboundPatience = 5 * time.Second

// RoundTrip signs and sends. Its errors are of freshet, of this package, or of net/http.
func (a attempts) RoundTrip(in *http.Request) (*http.Response, error) {
	cfg := &a.route.cfg
	x := exchangeOf(in.Context())
	began, body := freshet.Now(), in.Body
	plan, err := cfg.Signer.Prepare(in)
	x.Signing += began.Elapsed()
	if err != nil {
		return nil, asRefusal(err)
	}
	p, err := x.payload(in, plan, in.Body != body)
	if err != nil {
		return nil, err
	}
	want := cfg.Request
	want.Hold = patience
	if x.outbound() {
		want.Hold = OutboundPatience
	}
	again := replays{left: cfg.Retries}
	for {
		ans, err := cfg.Door.Get(in.Context(), cfg.Identity, want)
		var unsigned error // why it is
		if err != nil && cfg.Anonymous && !again.signed && freshet.AsError(err).Kind == freshet.LoginNeeded {
			unsigned, err = err, nil
		}
		if err != nil {
			if again.response == nil {
				return nil, err
			}
			if freshet.AsError(err).Kind == freshet.LoginNeeded {
				again.drop()
				return nil, err // which says what to do
			}
			return again.response, nil // what the upstream said of the version before says more
		}
		want.Rejected, want.Claims = "", "" // the broker remembers both
		if again.response != nil {
			if ans.Credential.Fingerprint() == again.refused || !p.claim() {
				return again.response, nil // there is no other, or the body has gone meanwhile
			}
			again.drop()
			x.Replays++
		}
		out := in
		if again.n > 0 { // net/http may still be about the header of the attempt before
			out = in.WithContext(in.Context())
			out.Header = maps.Clone(in.Header)
		}
		again.n++
		p.attach(out)
		if unsigned == nil {
			again.signed = true
			if err := a.sign(x, out, ans.Credential, p.hash); err != nil {
				return nil, err
			}
		}
		resp, err := a.route.send(x, out)
		if err != nil {
			return nil, p.blame(err)
		}
		x.passed()
		if unsigned != nil && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden) {
			resp.Body.Close()
			return nil, unsigned // it tells how there will be a credential, as the upstream wants one
		}
		next, err := again.judge(x, p, resp, ans.Credential, &want)
		if err != nil || !next {
			p.settle()
			return resp, err
		}
	}
}

// sign puts a version of the credential on an attempt.
func (a attempts) sign(x *exchange, out *http.Request, c *freshet.Credential, hash string) error {
	began := freshet.Now()
	err := a.route.cfg.Signer.Sign(out, c, hash)
	x.Signing += began.Elapsed()
	if errors.Is(err, signing.ErrRequest) {
		return asRefusal(err)
	}
	return err
}

// asRefusal is a signer's error about a request, which is the caller's to mend.
func asRefusal(err error) error {
	e := freshet.AsError(err)
	if e.Kind == freshet.Invalid {
		return &refused{e, http.StatusBadRequest, "InvalidRequest"}
	}
	return e
}
