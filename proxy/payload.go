package proxy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"

	"freshet.dev/internal/signing"
	"freshet.dev/internal/sigv4"
)

// errBody is the cause of errors about what a caller sends.
var errBody = errors.New("the request's body")

// keptBody is how much of a streamed body is kept, so that it can be sent again.
const keptBody = 64 << 10

// payload is a request's body, as its attempts read it: each from the start, for as long as what was read is kept.
type payload struct {
	hash  string        // hex SHA-256, where the signer wanted it
	spool *spool        // all of it, where it was read first
	size  int64         // as ContentLength has it
	in    *http.Request // as it was let in: its trailer comes after its body

	trailer http.Header // names of what is passed on of that

	mu      sync.Mutex
	idle    sync.Cond     // nobody reads the source
	source  io.ReadCloser // nil: no body, or all of it is in spool
	reading bool
	current *attempt
	kept    []byte
	gone    bool  // what was kept is not: it is too much, or not wanted any more
	final   bool  // there will be no other attempt
	end     error // of the source; nil until it has ended
}

// payload readies a request's body as its signer wants it. decoded: it is not as the caller sent it.
func (x *exchange) payload(in *http.Request, plan signing.Plan, decoded bool) (*payload, error) {
	p := &payload{size: in.ContentLength, source: in.Body, in: x.in, trailer: in.Trailer}
	p.idle.L = &p.mu
	switch {
	case in.Body == nil || in.Body == http.NoBody:
		p.source, p.size = nil, 0
		if plan.Hash {
			p.hash = sigv4.Nothing
		}
	case plan.Hash:
		if x.spool != nil && !decoded { // before the caller was let in
			p.spool = x.spool
		} else {
			if in.ContentLength > x.route.cfg.MaxSpool {
				return nil, errSpool
			}
			s, err := newSpool(in.Body, x.route.cfg.MaxSpool)
			if err != nil {
				return nil, err
			}
			if x.spool != nil {
				x.spool.close()
			}
			x.spool, p.spool = s, s
		}
		p.source, p.hash, p.size = nil, p.spool.hash(), p.spool.size
		in.TransferEncoding = nil
	}
	if plan.Read != nil {
		if err := plan.Read(in.Header); err != nil {
			return nil, asRefusal(err)
		}
	}
	return p, nil
}

// attach gives an attempt its body.
func (p *payload) attach(out *http.Request) {
	out.ContentLength, out.GetBody = p.size, nil
	out.Trailer = maps.Clone(p.trailer)
	switch {
	case p.spool != nil && p.size > 0:
		out.Body = p.spool.open()
		out.GetBody = func() (io.ReadCloser, error) { return p.spool.open(), nil }
	case p.source != nil:
		out.Body = p.begin(out)
		// net/http asks for it where a kept connection turns out to be dead before anything was sent.
		out.GetBody = func() (io.ReadCloser, error) {
			if !p.claim() {
				return nil, errBody
			}
			return p.begin(out), nil
		}
	default:
		out.Body = nil
	}
}

// begin is the body for another attempt.
func (p *payload) begin(out *http.Request) *attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = &attempt{payload: p, out: out}
	return p.current
}

// claim ends the attempt there is, if another can read the body from its start. From then on nothing of it goes: what the one that has
// ended still reads is kept for the next.
func (p *payload) claim() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.replayableLocked() {
		return false
	}
	if p.current != nil {
		p.current.closed = true
		p.idle.Broadcast()
	}
	return true
}

// settle tells that there will be no other attempt: an answer may go on for hours, and what was sent need not be kept for as long.
func (p *payload) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.final = true
	if p.current != nil {
		p.current.forgetLocked()
	}
}

// replayable reports whether another attempt could read the body from its start now. The one there is may read on; see claim.
func (p *payload) replayable() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.replayableLocked()
}

func (p *payload) replayableLocked() bool { return !p.gone && (p.end == nil || p.end == io.EOF) }

// blame is what an attempt failed with: the caller's body, if that did.
func (p *payload) blame(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end == nil || p.end == io.EOF {
		return err
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(p.end, &tooLarge) || errors.Is(p.end, errBody) {
		return p.end
	}
	return fmt.Errorf("%w: %w", errBody, p.end)
}

// attempt is one attempt's way through a streamed body.
type attempt struct {
	*payload
	out    *http.Request
	at     int64
	closed bool
}

// Read gives what is kept, then what comes. Of several attempts, of which all but the last have ended, one at a time reads the
// source; what an ended one still gets is kept for the next.
func (r *attempt) Read(b []byte) (int, error) {
	p := r.payload
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		r.forgetLocked()
		switch {
		case r.closed:
			return 0, http.ErrBodyReadAfterClose
		case !p.gone && r.at < int64(len(p.kept)):
			n := copy(b, p.kept[r.at:])
			r.at += int64(n)
			return n, nil
		case p.end != nil:
			r.trail()
			return 0, p.end
		case len(b) == 0:
			return 0, nil
		case p.reading:
			p.idle.Wait()
			continue
		}
		p.reading = true
		p.mu.Unlock()
		n, err := p.source.Read(b)
		p.mu.Lock()
		p.reading = false
		p.idle.Broadcast()
		p.end = err
		switch {
		case p.gone:
		case len(p.kept)+n <= keptBody || r.closed:
			p.kept = append(p.kept, b[:n]...)
		default:
			p.kept, p.gone = nil, true
		}
		r.at += int64(n)
		if r.closed {
			continue
		}
		r.trail()
		return n, err
	}
}

// forgetLocked lets go of what is kept once it is of no use.
func (r *attempt) forgetLocked() {
	if r.final && r == r.current && !r.gone && r.at >= int64(len(r.kept)) {
		r.kept, r.gone = nil, true
	}
}

// trail passes the caller's trailer on, once it has come. p.mu is held.
func (r *attempt) trail() {
	if r.end != io.EOF {
		return
	}
	for name := range r.trailer {
		r.out.Trailer[name] = r.in.Trailer[name]
	}
}

// Close ends this attempt's reading; the source is the server's to close.
func (r *attempt) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.idle.Broadcast()
	return nil
}
