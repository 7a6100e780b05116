package proxy

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	"freshet.dev/freshet"
)

// Outbound is what is known of a request of freshet's own; see [WithOutbound].
type Outbound struct {
	Caller     string // on whose behalf, in figures and the record
	Repeatable bool   // a POST that may be sent again after 502 to 504, as a GET may
}

type outboundKey struct{}

// WithOutbound is a context for requests that [Route.RoundTrip] sends.
func WithOutbound(ctx context.Context, o Outbound) context.Context {
	return context.WithValue(ctx, outboundKey{}, o)
}

// RoundTrip sends a request of freshet's own through the route: signed, replayed and recorded as a caller's is. It makes a route
// an [http.RoundTripper]. The request's URL must be the upstream's, or below it; methods and paths of the configuration are for
// callers. It is over, and told of, when the answer's body has been read or closed.
//
// Errors are of freshet: what the identity's credential came to, or of kind [freshet.Unavailable] where the upstream was not
// reached, or took too long. That of a request whose context has ended has the context's error as its cause.
func (r *Route) RoundTrip(req *http.Request) (*http.Response, error) {
	x := &exchange{route: r, began: freshet.Now(), in: req, Event: Event{Route: r.cfg.Name, Identity: r.cfg.Identity}}
	o, _ := req.Context().Value(outboundKey{}).(Outbound)
	x.Caller, x.repeatable = o.Caller, o.Repeatable
	x.Context, x.cancel = context.WithCancelCause(req.Context())
	x.watch()
	a := &received{exchange: x, request: req.Body}
	out, err := r.outbound(x, req)
	if err == nil {
		a.response, err = attempts{r}.RoundTrip(out)
	}
	if err != nil {
		e := x.explain(err)
		x.Status, x.Refused = e.status, e.code
		a.end()
		return nil, e.why
	}
	x.Status = a.response.StatusCode
	if req.Method == http.MethodGet && strings.HasPrefix(a.response.Header.Get("Content-Type"), "text/event-stream") {
		x.quiet = true // nobody has asked for anything that is overdue
		x.idle.Stop()
	}
	resp := *a.response // a body of a retry's is net/http's to close, by the answer that it knows
	resp.Request, resp.Body = req, a
	return &resp, nil
}

// outbound is a request as its attempts take it: the caller keeps its own.
func (r *Route) outbound(x *exchange, req *http.Request) (*http.Request, error) {
	if from := req.Response; from != nil { // net/http's client follows
		return nil, refusal(freshet.Denied, http.StatusForbidden, "Redirected",
			r.cfg.Upstream.Host+" leads elsewhere, and a credential is not taken there: "+destination(req.URL))
	}
	u := canonical(req.URL)
	path := u.EscapedPath()
	rest, ok := strings.CutPrefix(path, r.base)
	if u.Scheme != r.cfg.Upstream.Scheme || !strings.EqualFold(u.Host, r.cfg.Upstream.Host) || u.User != nil || u.Opaque != "" ||
		!ok || rest != "" && rest[0] != '/' || climbs(rest) {
		return nil, refusal(freshet.Denied, http.StatusForbidden, "AccessDenied", "nothing is sent there in this identity's name: "+destination(req.URL))
	}
	out := req.Clone(x)
	out.URL, out.Host, out.GetBody = u, "", nil
	if out.Header == nil {
		out.Header = make(http.Header)
	}
	if req.Body != nil && req.Body != http.NoBody {
		x.body.ReadCloser, x.body.exchange = req.Body, x
		out.Body = &x.body
		out.ContentLength = cmp.Or(req.ContentLength, -1) // 0 is not known, where there is a body
	}
	return out, nil
}

// destination is where a URL leads, without what it may say there.
func destination(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// send makes one attempt, within the time there is to send it.
func (r *Route) send(x *exchange, out *http.Request) (*http.Response, error) {
	if r.cfg.Write <= 0 {
		return r.transport.RoundTrip(out)
	}
	late := new(overdue)
	defer late.end()
	return r.transport.RoundTrip(out.WithContext(httptrace.WithClientTrace(out.Context(), &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { late.begin(r.cfg.Write, func() { x.stop(errSlow) }) },
		WroteRequest: func(httptrace.WroteRequestInfo) { late.stop() },
	})))
}

// overdue has something done when a time is over, which begins once there is a connection: again, if net/http takes another one.
// The connection's goroutines tell of it, some of them after the attempt has ended.
type overdue struct {
	mu    sync.Mutex
	timer *time.Timer // nil: no time has begun
	ended bool
}

func (o *overdue) begin(after time.Duration, do func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.ended:
	case o.timer == nil:
		o.timer = time.AfterFunc(after, do)
	default:
		o.timer.Reset(after)
	}
}

func (o *overdue) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.timer != nil {
		o.timer.Stop()
	}
}

// end is stop for good.
func (o *overdue) end() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	o.stop()
}

// received is the body of an answer that freshet has asked for itself. Its end is the exchange's.
type received struct {
	exchange *exchange
	response *http.Response
	request  io.Closer // the body that was sent; nil: none
	once     sync.Once
}

func (b *received) Read(p []byte) (int, error) {
	n, err := b.response.Body.Read(p)
	if n > 0 {
		b.exchange.passed()
	}
	switch {
	case err == nil:
	case err == io.EOF:
		b.end()
	default:
		err = b.exchange.explain(err).why
		b.end()
	}
	return n, err
}

// Close implements [io.Closer].
func (b *received) Close() error {
	b.end()
	return nil
}

func (b *received) end() {
	b.once.Do(func() {
		if b.response != nil {
			b.response.Body.Close()
		}
		b.exchange.cancel(nil)
		if b.request != nil {
			b.request.Close()
		}
		b.exchange.close()
	})
}
