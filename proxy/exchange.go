package proxy

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
)

// exchange is one request and its answer, and the context of both.
type exchange struct {
	Event
	context.Context
	cancel  context.CancelCauseFunc
	route   *Route
	began   freshet.Instant
	control *http.ResponseController // of the caller's connection; nil: the request is freshet's own
	idle    *time.Timer              // its end is the exchange's
	detach  func() bool              // from the route's end
	answer  answer                   // to the caller
	body    watched                  // the caller's, if it sends one
	in      *http.Request            // as it was let in
	rest    string                   // of its path, below the prefix
	spool   *spool                   // of the body, where it had to be read first

	repeatable bool // whatever its method
	quiet      bool // the answer may say nothing for as long as it likes

	ending sync.Mutex
	ended  bool // nothing may be done to the connection any more: its next request is another exchange's
}

// outbound tells whether the request is freshet's own: no caller has a connection here.
func (x *exchange) outbound() bool { return x.control == nil }

type exchangeKey struct{}

// Value implements [context.Context].
func (x *exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return x
	}
	return x.Context.Value(key)
}

// exchangeOf is the exchange of a request's context, or of one derived from it.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.(*exchange); ok {
		return x
	}
	return ctx.Value(exchangeKey{}).(*exchange)
}

// Why an exchange was ended by the proxy.
var (
	errIdle   = errors.New("no byte came for too long")
	errClosed = errors.New("the route has ended")
	errSlow   = errors.New("the request could not be sent in time")
)

// watch ends the exchange once no byte has passed for the route's idle time, or the route is closed.
func (x *exchange) watch() {
	x.idle = time.AfterFunc(x.route.cfg.Idle, func() { x.stop(errIdle) })
	x.detach = context.AfterFunc(x.route.ctx, func() { x.stop(errClosed) })
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// lastWord is how long the caller of an exchange that was stopped has to read why, if it was answered nothing yet.
const lastWord = 5 * time.Second

// stop ends the exchange: the upstream's side by its context, the caller's by its connection's deadlines.
func (x *exchange) stop(why error) {
	x.ending.Lock()
	defer x.ending.Unlock()
	if x.ended {
		return
	}
	x.cancel(why)
	if x.outbound() {
		return
	}
	_ = x.control.SetReadDeadline(past)
	_ = x.control.SetWriteDeadline(freshet.Now().Wall().Add(lastWord))
}

// passed tells that bytes have.
func (x *exchange) passed() {
	if !x.quiet {
		x.idle.Reset(x.route.cfg.Idle)
	}
}

// unreadBody is how long a caller has to send what nobody reads any more: net/http reads some of it to keep the connection.
const unreadBody = 5 * time.Second

// close ends the exchange, and tells of it.
func (x *exchange) close() {
	x.ending.Lock()
	x.ended = true
	x.ending.Unlock()
	x.idle.Stop()
	x.detach()
	if x.spool != nil {
		x.spool.close()
	}
	if !x.outbound() && x.body.ReadCloser != nil && !x.body.ended.Load() {
		_ = x.control.SetReadDeadline(freshet.Now().Wall().Add(unreadBody))
	}
	x.Took = x.began.Elapsed()
	if observe := x.route.cfg.Observe; observe != nil {
		observe(x.Event)
	}
}

// watched is a body whose bytes keep the exchange alive.
type watched struct {
	io.ReadCloser
	exchange *exchange
	ended    atomic.Bool
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.exchange.passed()
	}
	if err != nil {
		b.ended.Store(true)
	}
	return n, err
}

// answer is what the caller is sent.
type answer struct {
	http.ResponseWriter
	exchange *exchange
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		a.exchange.Status = status
	}
	for name, values := range a.Header() {
		if strings.HasPrefix(name, "X-Amz-Meta-") { // boto3 shows it as it is spelt, and S3 spells it in lower case
			delete(a.Header(), name)
			a.Header()[strings.ToLower(name)] = values
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	if n > 0 {
		a.exchange.passed()
	}
	return n, err
}

// tunnel is an upgraded connection whose bytes keep the exchange alive.
type tunnel struct {
	io.ReadWriteCloser
	exchange *exchange
}

func (t tunnel) Read(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Read(p)
	t.exchange.passed()
	return n, err
}

func (t tunnel) Write(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Write(p)
	t.exchange.passed()
	return n, err
}

// CloseWrite ends what the caller says, and lets the upstream say the rest.
func (t tunnel) CloseWrite() error {
	if c, ok := t.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return t.Close()
}

// silent takes what httputil logs: an event tells it.
var silent = log.New(io.Discard, "", 0)

// buffers are those that answers are copied through.
var buffers pool

type pool struct{ sync.Pool }

const bufferSize = 32 << 10

func (p *pool) Get() []byte {
	if b, ok := p.Pool.Get().(*[bufferSize]byte); ok {
		return b[:]
	}
	return make([]byte, bufferSize)
}

func (p *pool) Put(b []byte) {
	if len(b) == bufferSize {
		p.Pool.Put((*[bufferSize]byte)(b))
	}
}
