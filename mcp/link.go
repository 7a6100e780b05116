package mcp

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

// link is what joins an agent to an upstream by one profile: up to [Upstream.Sessions] sessions, opened as they are needed.
type link struct {
	agent   *agent
	up      *upstream
	profile *Profile

	mu     sync.Mutex
	slots  []slot
	failed *freshet.Error // of the last session that could not be opened, if that took long to find out
	at     freshet.Instant
}

// An agent asks for several things one after another. That nobody is there, where it took longDial to find out, it is told for
// keptFailed without waiting anew for each.
const (
	longDial   = time.Second
	keptFailed = 2 * time.Second
)

// slot is the place of one session.
type slot struct {
	conn   *conn
	opens  *flight[*conn]
	users  int
	closed bool
}

// take finds the session that has the least to do, and opens it where there is none. The caller gives its slot back.
func (l *link) take(ctx context.Context) (*conn, func(), error) {
	l.mu.Lock()
	best := 0
	for i := range l.slots {
		if l.slots[i].users < l.slots[best].users {
			best = i
		}
	}
	s := &l.slots[best]
	s.users++
	give := func() {
		l.mu.Lock()
		s.users--
		l.mu.Unlock()
	}
	if s.conn != nil && !s.conn.ended() {
		c := s.conn
		l.mu.Unlock()
		return c, give, nil
	}
	if s.closed {
		l.mu.Unlock()
		give()
		return nil, nil, errLost
	}
	f := s.opens
	if f == nil && l.failed != nil && l.at.Elapsed() < keptFailed {
		err := l.failed
		l.mu.Unlock()
		give()
		return nil, nil, err
	}
	if f == nil {
		f = &flight[*conn]{done: make(chan struct{})}
		old := s.conn
		if !l.agent.background(func() {
			if old != nil {
				old.close()
			}
			l.open(s, f)
		}) {
			l.mu.Unlock()
			give()
			return nil, nil, errClosed
		}
		s.opens, s.conn = f, nil
	}
	l.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		give()
		return nil, nil, context.Cause(ctx)
	}
	if f.err != nil {
		give()
		return nil, nil, f.err
	}
	return f.value, give, nil
}

// open opens the session of a slot. It goes on when whoever asked for it first does not wait any more: others may.
func (l *link) open(s *slot, f *flight[*conn]) {
	defer close(f.done)
	began := freshet.Now()
	f.value, f.err = l.connect()
	l.mu.Lock()
	l.failed = nil
	if e, ok := errors.AsType[*freshet.Error](f.err); ok && e.Kind == freshet.Unavailable && began.Elapsed() >= longDial {
		l.failed, l.at = e, freshet.Now()
	}
	s.opens = nil
	closed := s.closed
	if f.err == nil && !closed {
		s.conn = f.value
	}
	l.mu.Unlock()
	if f.err == nil && closed {
		f.value.close()
		f.err = errLost
	}
}

func (l *link) connect() (c *conn, err error) {
	defer func() {
		if f := l.agent.bridge.fault("connecting to "+l.up.Name, recover()); f != nil {
			c, err = nil, f
		}
	}()
	limit := l.up.Timeouts.Request
	ctx, cancel := context.WithTimeoutCause(l.agent.ctx, limit, errTimeout)
	defer cancel()
	ctx = context.WithValue(ctx, repeatKey{}, true)
	c, err = l.dial(ctx)
	if err != nil {
		return nil, explain(ctx, l.up.Name, limit, err)
	}
	l.agent.greet(ctx, c)
	return c, nil
}

// dial opens a session. The SDK asks each upstream first for the era without sessions; one that was known not to have it is not
// asked again while it answers.
func (l *link) dial(ctx context.Context) (*conn, error) {
	legacy := l.up.legacy.Load()
	c := newConn(l)
	opts := &sdk.ClientSessionOptions{}
	if legacy {
		opts.ProtocolVersion = "2025-11-25"
	}
	session, err := c.client.Connect(context.WithValue(ctx, connKey{}, c), &noted{Transport: c.transport(), conn: c}, opts)
	if err != nil {
		c.close()
		if legacy {
			l.up.legacy.Store(false)
		}
		return nil, err
	}
	c.session = session
	r := session.InitializeResult()
	c.modern = r.ProtocolVersion >= eraStateless
	l.up.legacy.Store(!c.modern)
	if !l.agent.background(func() {
		_ = session.Wait()
		c.end()
	}) {
		c.close()
		return nil, errClosed
	}
	return c, nil
}

// drop leaves a session that is no good any more. Its calls end.
func (l *link) drop(c *conn) {
	c.end()
	l.mu.Lock()
	for i := range l.slots {
		if l.slots[i].conn == c {
			l.slots[i].conn = nil
		}
	}
	l.mu.Unlock()
	if !l.agent.background(c.close) {
		c.close()
	}
}

func (l *link) close() {
	l.mu.Lock()
	var list []*conn
	for i := range l.slots {
		l.slots[i].closed = true
		if c := l.slots[i].conn; c != nil {
			list = append(list, c)
		}
	}
	l.mu.Unlock()
	var all sync.WaitGroup
	for _, c := range list {
		all.Go(c.close)
	}
	all.Wait()
}

// conns are the sessions that are open.
func (l *link) conns() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []*conn
	for i := range l.slots {
		if c := l.slots[i].conn; c != nil && !c.ended() {
			list = append(list, c)
		}
	}
	return list
}

// eraStateless is the first version of the protocol that has no sessions.
const eraStateless = "2026-07-28"

type connKey struct{}

// conn is one upstream session.
type conn struct {
	link    *link
	client  *sdk.Client
	session *sdk.ClientSession
	round   *round
	modern  bool
	done    chan struct{} // closed when it is no good any more
	once    sync.Once
	shut    sync.Once
	wire    sdk.Connection
	tokens  tokens
	calls   inflight
	level   level
	handled counter
	owed    atomic.Int64 // cancellations that the upstream is to be told of
	asking  atomic.Int32 // questions that the agent is at
}

func (c *conn) end() { c.once.Do(func() { close(c.done) }) }

func (c *conn) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return c.round.lost.Load()
	}
}

// close ends the session at the upstream. Calls that are on it have ended, or are cut off.
func (c *conn) close() {
	c.shut.Do(func() {
		c.end()
		if c.link.agent.ctx.Err() != nil {
			c.takeBack()
		}
		if c.session != nil {
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				_ = c.session.Close()
			}()
			t := time.NewTimer(time.Second)
			defer t.Stop()
			select {
			case <-closed:
				return
			case <-t.C:
			}
			_ = c.wire.Close()
			<-closed
			return
		}
		if c.wire != nil {
			_ = c.wire.Close()
		}
	})
}

// lastCancel is how long the end of a session waits for calls to be cancelled at the upstream.
const lastCancel = 500 * time.Millisecond

// takeBack sees to it that the upstream has heard which calls were cancelled: the SDK tells it in the background, and a server may go
// on with the calls of a session that has ended.
func (c *conn) takeBack() {
	c.calls.wait(lastCancel)
	c.round.cancels.reach(context.Background(), c.owed.Load(), lastCancel)
}

func (c *conn) transport() sdk.Transport {
	return &sdk.StreamableClientTransport{
		Endpoint:     c.link.up.URL.String(),
		HTTPClient:   &http.Client{Transport: c.round, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		MaxEventSize: maxMessage,
	}
}

// noted keeps the connection that the SDK makes, to close it whatever becomes of the session.
type noted struct {
	sdk.Transport
	conn *conn
}

// Connect implements [sdk.Transport].
func (n *noted) Connect(ctx context.Context) (sdk.Connection, error) {
	wire, err := n.Transport.Connect(ctx)
	n.conn.wire = wire
	return wire, err
}

// send has an upstream do something. A session that is lost meanwhile is opened anew once; what may be done twice is then done again.
func send[R any](ctx context.Context, l *link, safe bool, do func(context.Context, *conn) (R, error)) (R, error) {
	var none R
	for again := false; ; again = true {
		c, give, err := l.take(ctx)
		if err != nil {
			return none, err
		}
		t := &attempt{}
		r, err := once(context.WithValue(ctx, attemptKey{}, t), c, safe, do)
		give()
		if err == nil {
			l.agent.returned(l.up)
			return r, nil
		}
		if broken := t.broken.Load(); broken != nil && remote(err) != nil {
			err = broken
		}
		switch c.state(ctx, err) {
		case whole:
			if !safe && t.unclear(err) {
				err = uncertain{err}
			}
			return none, err
		case ended:
			l.drop(c)
		}
		if !safe && !t.untaken.Load() {
			return none, &freshet.Error{Kind: freshet.Unavailable, Cause: err,
				Why:  l.up.Name + ": its session was lost during the call, and it is not known whether the tool has run",
				Hint: "check what it did before calling it again"}
		}
		if again {
			return none, &freshet.Error{Kind: freshet.Unavailable, Why: l.up.Name + ": its session was lost, and again", Cause: err}
		}
	}
}

// once is one attempt. Its context ends with it: the SDK reads the rest of a stream for as long as that lasts.
func once[R any](ctx context.Context, c *conn, safe bool, do func(context.Context, *conn) (R, error)) (r R, err error) {
	defer func() {
		if f := c.link.agent.bridge.fault("an answer of "+c.link.up.Name, recover()); f != nil {
			err = f
		}
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx = context.WithValue(ctx, repeatKey{}, safe)
	stop := context.AfterFunc(c.link.agent.ctx, func() { cancel(context.Canceled) })
	defer stop()
	var answered atomic.Bool
	r, err = do(context.WithValue(ctx, heardKey{}, &answered), c)
	if err != nil && ctx.Err() != nil && !c.modern {
		c.owed.Add(1)
	}
	if err != nil && answered.Load() && c.state(ctx, err) == ended && !gone(err) && !c.ended() {
		err = c.round.malformed("what it answered is no result of this method")
	}
	return r, err
}

// gone reports whether an error says that the session is no more.
func gone(err error) bool {
	return errors.Is(err, errLost) || errors.Is(err, sdk.ErrSessionMissing) || errors.Is(err, sdk.ErrConnectionClosed)
}

// What became of a session of which a request has failed.
const (
	whole = iota // the request failed
	cut          // its answer broke off
	ended        // the session is no more
)

func (c *conn) state(ctx context.Context, err error) int {
	switch {
	case ctx.Err() != nil:
		return whole
	case c.ended(), gone(err):
		return ended
	}
	if _, ok := errors.AsType[*freshet.Error](err); ok || remote(err) != nil {
		return whole
	}
	if strings.Contains(err.Error(), "request terminated without response") { // the SDK's, of a stream that ends
		return cut
	}
	return ended
}
