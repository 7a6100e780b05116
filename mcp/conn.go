package mcp

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

func newConn(l *link) *conn {
	a := l.agent
	c := &conn{link: l, done: make(chan struct{})}
	c.round = &round{name: l.up.Name, caller: a.caller, next: l.profile.Transport, panicked: a.bridge.fault}
	c.client = sdk.NewClient(a.identity(), &sdk.ClientOptions{
		Capabilities:               a.capabilities(),
		MultiRoundTrip:             &sdk.MultiRoundTripOptions{Disabled: true},
		ToolListChangedHandler:     func(context.Context, *sdk.ToolListChangedRequest) { a.changed(l, listTools) },
		PromptListChangedHandler:   func(context.Context, *sdk.PromptListChangedRequest) { a.changed(l, listPrompts) },
		ResourceListChangedHandler: func(context.Context, *sdk.ResourceListChangedRequest) { a.changed(l, listResources) },
		ResourceUpdatedHandler: func(_ context.Context, r *sdk.ResourceUpdatedNotificationRequest) {
			if r.Params != nil {
				a.updated(l.up, r.Params.URI)
			}
		},
		LoggingMessageHandler:       func(_ context.Context, r *sdk.LoggingMessageRequest) { a.logged(c, r.Params) },
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) { a.progressed(c, r.Params) },
		ElicitationCompleteHandler:  func(_ context.Context, r *sdk.ElicitationCompleteNotificationRequest) { a.elicited(c, r.Params) },
	})
	c.client.AddReceivingMiddleware(c.receive)
	c.client.AddSendingMiddleware(c.stamp)
	return c
}

// stamp is what each request to an upstream has in its _meta: the agent's keys, then the operator's that are not there yet.
func (c *conn) stamp(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
		p := req.GetParams()
		if strings.HasPrefix(method, "notifications/") || p == nil || len(c.link.up.meta) == 0 {
			return next(ctx, method, req)
		}
		m := maps.Clone(p.GetMeta())
		if m == nil {
			m = map[string]any{}
		}
		for k, v := range c.link.up.meta {
			if _, ok := m[k]; !ok {
				m[k] = v
			}
		}
		p.SetMeta(m)
		return next(ctx, method, req)
	}
}

// perRequest are the keys by which a request of the stateless era says what its sender is. They are its sender's own.
var perRequest = []string{sdk.MetaKeyProtocolVersion, sdk.MetaKeyClientInfo, sdk.MetaKeyClientCapabilities, sdk.MetaKeyLogLevel}

// meta is an agent's _meta as the upstream gets it. The progress token is replaced: several agents' may be the same.
func (c *conn) meta(m map[string]any, token string) sdk.Meta {
	out := sdk.Meta(maps.Clone(m))
	if out == nil {
		out = sdk.Meta{}
	}
	delete(out, "progressToken")
	if token != "" {
		out["progressToken"] = token
	}
	if c.modern {
		delete(out, sdk.MetaKeyProtocolVersion)
		if l := c.link.agent.level.get(); l != "" && out[sdk.MetaKeyLogLevel] == nil {
			out[sdk.MetaKeyLogLevel] = string(l)
		}
		return out
	}
	for _, k := range perRequest {
		delete(out, k)
	}
	return out
}

// receive is what an upstream asks for, and tells.
func (c *conn) receive(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (res sdk.Result, err error) {
		defer func() {
			if f := c.link.agent.bridge.fault(method, recover()); f != nil {
				res, err = nil, failure(f)
			}
		}()
		if strings.HasPrefix(method, "notifications/") {
			defer c.handled.add(1)
			if p, ok := req.GetParams().(*sdk.ElicitationCompleteParams); ok && p == nil {
				return nil, nil // the SDK takes it that it has params
			}
			return next(ctx, method, req)
		}
		switch p := req.GetParams().(type) {
		case *sdk.ElicitParams:
			if p == nil {
				return nil, errNoParams
			}
			return c.link.agent.ask(ctx, c, method, p)
		case *sdk.CreateMessageWithToolsParams:
			if p == nil {
				return nil, errNoParams
			}
			return c.link.agent.ask(ctx, c, method, p)
		case *sdk.ListRootsParams:
			if p == nil {
				p = &sdk.ListRootsParams{}
			}
			return c.link.agent.ask(ctx, c, method, p)
		}
		if method == "roots/list" {
			return c.link.agent.ask(ctx, c, method, &sdk.ListRootsParams{})
		}
		if method == "ping" {
			return next(ctx, method, req)
		}
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "not supported"}
	}
}

var errNoParams = &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "params are missing"}

// settle waits until what the upstream has told of during a call is on its way to the agent. The SDK hands notifications over beside
// the results that they came before.
func (c *conn) settle(ctx context.Context) {
	c.handled.reach(ctx, c.round.arrived.Load(), 100*time.Millisecond)
	c.link.agent.out.flush(ctx, time.Second)
}

// tokens are the progress tokens of requests that are going on at one upstream session.
type tokens struct {
	mu   sync.Mutex
	next int
	open map[string]*asker
}

// asker is the request of an agent's that something of an upstream's belongs to.
type asker struct {
	modern bool
	asks   chan *question // where questions for a request of the stateless era go; nil: the agent is asked itself

	mu      sync.Mutex
	ctx     context.Context // of the request, which says on what stream it is answered
	session *sdk.ServerSession
	token   any
}

// at is the request that it is now: one that waited for a person goes on in another.
func (w *asker) at() (context.Context, *sdk.ServerSession, any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ctx, w.session, w.token
}

func (w *asker) move(ctx context.Context, session *sdk.ServerSession, token any) {
	w.mu.Lock()
	w.ctx, w.session = ctx, session
	if token != nil {
		w.token = token
	}
	w.mu.Unlock()
}

func (t *tokens) put(a *asker) (string, func()) {
	if _, _, token := a.at(); token == nil {
		return "", func() {}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	name := "freshet-" + strconv.Itoa(t.next)
	if t.open == nil {
		t.open = map[string]*asker{}
	}
	t.open[name] = a
	return name, func() {
		t.mu.Lock()
		delete(t.open, name)
		t.mu.Unlock()
	}
}

func (t *tokens) get(token any) *asker {
	name, _ := token.(string)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[name]
}

// inflight are the requests of agents that are going on at one upstream session.
type inflight struct {
	mu   sync.Mutex
	list []going
}

// going is one of them.
type going struct {
	who  *asker
	mark string
	over chan struct{} // closed when it is
}

// put adds one, and yields its mark, which no upstream guesses.
func (f *inflight) put(a *asker) (mark string, done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	mark = rand.Text()
	over := make(chan struct{})
	f.list = append(f.list, going{a, mark, over})
	return mark, func() {
		close(over)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.list = slices.DeleteFunc(f.list, func(g going) bool { return g.mark == mark })
	}
}

// wait waits until those that are going on are over, not longer than limit.
func (f *inflight) wait(limit time.Duration) {
	f.mu.Lock()
	list := slices.Clone(f.list)
	f.mu.Unlock()
	late := time.NewTimer(limit)
	defer late.Stop()
	for _, g := range list {
		select {
		case <-g.over:
		case <-late.C:
			return
		}
	}
}

// of is the one that a message of the upstream's belongs to, whose mark it takes away; none if that is over. What has no mark did not
// come on the stream of a call: it is most likely about the newest of those that can be asked, if all of them are one agent's. Requests
// of the era without sessions are not: several programs may say the same of themselves.
func (f *inflight) of(p sdk.Params, stateless bool) going {
	meta := p.GetMeta()
	mark, _ := meta[metaCall].(string)
	delete(meta, metaCall)
	if meta != nil && len(meta) == 0 {
		p.SetMeta(nil)
	}
	if mark == "" && stateless {
		return going{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	newest := going{}
	for _, g := range slices.Backward(f.list) {
		if g.mark == mark || mark == "" && (!g.who.modern || g.who.asks != nil) {
			return g
		}
		if newest.who == nil && mark == "" {
			newest = g
		}
	}
	return newest
}

// ends are the ends of all that is going on.
func (f *inflight) ends() []chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]chan struct{}, 0, len(f.list))
	for _, g := range f.list {
		list = append(list, g.over)
	}
	return list
}

// level is a level of logging that was asked for.
type level struct {
	mu   sync.Mutex
	name sdk.LoggingLevel
}

func (l *level) get() sdk.LoggingLevel {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.name
}

// set reports whether it was another.
func (l *level) set(to sdk.LoggingLevel) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.name == to {
		return false
	}
	l.name = to
	return true
}

// counter counts up, and may be waited for.
type counter struct {
	mu   sync.Mutex
	n    int64
	more chan struct{}
}

func (c *counter) add(n int64) {
	c.mu.Lock()
	c.n += n
	if c.more != nil {
		close(c.more)
		c.more = nil
	}
	c.mu.Unlock()
}

// reach waits until the counter is there, and puts it there where that takes too long: what is missing was none of what is counted.
func (c *counter) reach(ctx context.Context, n int64, limit time.Duration) {
	var late <-chan time.Time
	for {
		c.mu.Lock()
		if c.n >= n {
			c.mu.Unlock()
			return
		}
		if c.more == nil {
			c.more = make(chan struct{})
		}
		more := c.more
		c.mu.Unlock()
		if late == nil {
			t := time.NewTimer(limit)
			defer t.Stop()
			late = t.C
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		case <-late:
			c.mu.Lock()
			c.n = max(c.n, n)
			c.mu.Unlock()
			return
		}
	}
}
