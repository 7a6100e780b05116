// Package proxy forwards plain requests to one upstream each, with a credential put on them: their callers hold none.
//
// A request is let in (who sends it, where to, by which method), stripped of what only a signer or the next hop may say, and sent
// by httputil.ReverseProxy, whose transport does the rest: it takes one immutable credential for each attempt, signs, sends, and
// looks at the answer. A 401, or a 403 that names the credential, rejects that version, and the request is sent once more with
// the next one if its body can be. A redirect is passed on, never followed. Bodies stream both ways; what a signer has to read
// before it signs is kept in memory, past a bound in a file without a name.
package proxy

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/signing"
)

// Signer puts a credential on requests to one upstream. Its methods may be called by many goroutines; they wait for nothing but a
// body's reader.
type Signer interface {
	// Prepare readies a request before its first attempt: it takes away what only the signer may say, refuses what cannot be
	// signed, and may put a decoder in place of the body (ContentLength is then the decoded one). It is called once a request,
	// whose URL is the upstream's by then. Errors are of kind [freshet.Invalid].
	Prepare(r *http.Request) (signing.Plan, error)
	// Sign puts a credential on one attempt, replacing what an earlier attempt's has set. hash is the body's hex SHA-256 where the
	// plan asked for it, else "". It changes no header's values in place.
	Sign(r *http.Request, c *freshet.Credential, hash string) error
	// Judge reads an answer of status 400, 401 or 403. head is the first 64 KiB of its body.
	Judge(resp *http.Response, head []byte) signing.Verdict
	// Explain is the body in which the upstream's clients look for an error, and its Content-Type. code is a word, message a
	// sentence without secrets.
	Explain(status int, code, message string) (contentType string, body []byte)
}

// Door hands out the identity's credential, to be put on requests alone.
type Door interface {
	Get(ctx context.Context, identity string, req freshet.Request) (freshet.Answer, error)
	// Reject says that the upstream refused a version.
	Reject(identity, fingerprint string) error
}

// Config is one route: where requests go, as whom, and who may send them.
type Config struct {
	Name     string   // in figures and the record
	Upstream *url.URL // scheme, host and base path alone
	Prefix   string   // path that requests begin with, and that is taken away, as "/openai"; "" or "/" for none
	Identity string
	Request  freshet.Request // what the identity is asked for; Tenant, Scopes and Audience alone
	Signer   Signer
	Door     Door
	Callers  Callers

	Methods []string // those allowed; empty allows all. CONNECT and TRACE never are
	// Paths are those allowed, below the prefix: a path, or the beginning of some with a * at its end. Empty allows all.
	Paths []string

	MaxBody  int64 // bytes of a request's body; 0: no bound
	MaxSpool int64 // bytes of a body that has to be read before it is sent; 0: 1 GiB

	Connect     time.Duration // to connect, and again for TLS; 0: 10 s
	Answer      time.Duration // from the request's end to the answer's header; 0: no bound
	Idle        time.Duration // without a byte either way; 0: 10 min
	Write       time.Duration // to send a request, once connected; 0: no bound
	Retries     int           // attempts after 429 and 502 to 504 where a request may be repeated
	Connections int           // to the upstream at once; 0: no bound
	TLS         *tls.Config   // towards the upstream; nil: the system's authorities
	HTTP2       bool          // the upstream speaks HTTP/2 without TLS (gRPC on loopback)
	Buffers     int           // bytes that each connection to the upstream has either way; 0: 32 KiB, for bodies that are large
	Anonymous   bool          // without a credential where the identity has none until somebody logs in

	Observe func(Event) // told of every request that has ended; nil: nobody
}

// Event is a request that has ended.
type Event struct {
	Route, Identity string
	Caller          string        // "secret", "uid:1000", "cert:NAME"; "" where it was not let in
	Status          int           // what was answered; 0 if the caller left before
	Refused         string        // why it was answered by freshet itself, in a word; "" for the upstream's answers
	Took            time.Duration // to the end of the answer
	Signing         time.Duration // spent in the signer
	Rejections      int           // versions that the upstream refused
	Replays         int           // attempts beyond the first, whatever for
}

// Route is one upstream's door: an [http.Handler]. Its methods may be called by many goroutines.
type Route struct {
	cfg       Config
	base      string // the upstream's path, escaped, without a slash at its end
	secret    guard.Secret
	unknown   chan struct{} // holds one for each body in a file whose sender is not known yet
	reverse   httputil.ReverseProxy
	transport *http.Transport
	ctx       context.Context // until Close
	end       context.CancelFunc
}

// Defaults of a route's bounds.
const (
	defaultConnect = 10 * time.Second
	defaultIdle    = 10 * time.Minute
	defaultSpool   = 1 << 30
)

// New makes a route. It connects when it is first used. Errors are of kind [freshet.Invalid].
func New(cfg Config) (*Route, error) {
	switch u := cfg.Upstream; {
	case u == nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, freshet.Errorf(freshet.Invalid, "proxy %s: an upstream is a URL of scheme, host and path", cfg.Name)
	case u.Scheme == "http" && !field.Loopback(u.Hostname()):
		return nil, freshet.Errorf(freshet.Invalid, "proxy %s: a credential must not travel to %s in the clear", cfg.Name, u.Hostname()).
			WithHint("use https; http is for this machine's own addresses")
	case cfg.Signer == nil || cfg.Door == nil:
		return nil, freshet.Errorf(freshet.Bug, "proxy %s: no signer, or no door", cfg.Name)
	}
	cfg.Upstream = canonical(cfg.Upstream)
	cfg.Prefix = strings.TrimSuffix(cfg.Prefix, "/")
	if cfg.Connect == 0 {
		cfg.Connect = defaultConnect
	}
	if cfg.Idle == 0 {
		cfg.Idle = defaultIdle
	}
	if cfg.MaxSpool == 0 {
		cfg.MaxSpool = defaultSpool
	}
	r := &Route{cfg: cfg, unknown: make(chan struct{}, unknownBodies)}
	if base := strings.Trim(cfg.Upstream.EscapedPath(), "/"); base != "" {
		r.base = "/" + base
	}
	r.secret = guard.NewSecret(string(cfg.Callers.Secret))
	r.ctx, r.end = context.WithCancel(context.Background())
	r.transport = newTransport(&r.cfg)
	r.reverse = httputil.ReverseProxy{
		Rewrite: r.rewrite, Transport: attempts{r}, ModifyResponse: r.modify, ErrorHandler: failed, ErrorLog: silent, BufferPool: &buffers,
	}
	return r, nil
}

// canonical is a URL without its scheme's own port: a client that leaves it out of the Host header signs that.
func canonical(u *url.URL) *url.URL {
	plain := *u
	plain.Host = strings.TrimSuffix(u.Host, map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
	return &plain
}

// Close ends what is under way, WebSockets too, and closes the connections that are kept. Nothing may be asked of the route
// afterwards.
func (r *Route) Close() {
	r.end()
	r.transport.CloseIdleConnections()
}

// ServeHTTP forwards a request.
func (r *Route) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	x := &exchange{route: r, began: freshet.Now(), control: http.NewResponseController(w), Event: Event{Route: r.cfg.Name, Identity: r.cfg.Identity}}
	x.answer = answer{w, x}
	x.Context, x.cancel = context.WithCancelCause(req.Context())
	defer x.cancel(nil)
	x.watch()
	defer x.close()
	req = req.WithContext(x)
	if req.ContentLength != 0 {
		x.body.ReadCloser, x.body.exchange = req.Body, x
		req.Body = &x.body
		// An answer that comes before the body has been read is passed on at once, as HTTP/2 does anyway.
		_ = x.control.EnableFullDuplex()
	}
	if err := r.enter(x, req); err != nil {
		x.refuse(req, err)
		return
	}
	r.reverse.ServeHTTP(&x.answer, req)
}
