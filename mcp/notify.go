package mcp

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// joined is a context that ends as one does, and has another's values: what the SDK finds there says on which of an agent's streams
// a message goes.
type joined struct {
	context.Context
	values context.Context
}

func (j joined) Value(key any) any {
	if v := j.values.Value(key); v != nil {
		return v
	}
	return j.Context.Value(key)
}

// along is ctx with a request's values, where there is one.
func along(ctx context.Context, who *asker) context.Context {
	if who == nil {
		return ctx
	}
	values, _, _ := who.at()
	return joined{ctx, values}
}

type substituteKey struct{}

type substitute struct {
	method string
	req    sdk.Request
}

// substituted sends what the SDK has no method to send, or only after a judgement of its own.
func substituted(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
		if s, ok := ctx.Value(substituteKey{}).(substitute); ok {
			return next(ctx, s.method, s.req)
		}
		return next(ctx, method, req)
	}
}

func (a *agent) only() *sdk.ServerSession {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.session
}

// progressed passes an upstream's progress on, with the agent's own token.
func (a *agent) progressed(c *conn, p *sdk.ProgressNotificationParams) {
	if p == nil {
		return
	}
	who := c.tokens.get(p.ProgressToken)
	if who == nil {
		return
	}
	mine := *p
	a.out.put(256+len(p.Message), func() {
		ctx, session, token := who.at()
		if mine.ProgressToken = token; token != nil && ctx.Err() == nil {
			_ = session.NotifyProgress(ctx, &mine)
		}
	})
}

// levels are those of RFC 5424, from the least.
var levels = []sdk.LoggingLevel{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// logged passes a message of an upstream's log on. An agent that has not said what it wants gets what the upstream sends, as it would
// without a bridge; one of the stateless era says it with each request.
func (a *agent) logged(c *conn, p *sdk.LoggingMessageParams) {
	if p == nil {
		return
	}
	who := c.calls.of(p, a.stateless).who
	data, err := json.Marshal(p.Data)
	if err != nil {
		return
	}
	mine := *p
	mine.Data = json.RawMessage(data)
	if who != nil && who.modern {
		a.out.put(256+len(data), func() {
			if ctx, session, _ := who.at(); ctx.Err() == nil {
				_ = session.Log(ctx, &mine)
			}
		})
		return
	}
	session := a.only()
	if session == nil || slices.Index(levels, p.Level) < slices.Index(levels, a.level.get()) {
		return
	}
	req := &sdk.ServerRequest[*sdk.LoggingMessageParams]{Session: session, Params: &mine}
	a.out.put(256+len(data), func() { a.send(session, who, "notifications/message", req) })
}

// elicited tells that what a person was sent elsewhere for is done.
func (a *agent) elicited(c *conn, p *sdk.ElicitationCompleteParams) {
	session := a.only()
	if p == nil || session == nil || session.InitializeParams() == nil || session.InitializeParams().ProtocolVersion >= eraStateless {
		return
	}
	req := &sdk.ServerRequest[*sdk.ElicitationCompleteParams]{Session: session, Params: p}
	who := c.calls.of(p, a.stateless).who
	a.out.put(256+len(p.ElicitationID), func() { a.send(session, who, "notifications/elicitation/complete", req) })
}

func (a *agent) send(session *sdk.ServerSession, who *asker, method string, req sdk.Request) {
	ctx, cancel := context.WithTimeout(a.ctx, 10*time.Second)
	defer cancel()
	if who != nil {
		if values, _, _ := who.at(); values.Err() != nil {
			who = nil
		}
	}
	ctx = context.WithValue(along(ctx, who), substituteKey{}, substitute{method, req})
	_ = session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{})
}

// updated tells that a resource has news, once until the agent has heard it. Another upstream than it was subscribed at has none.
func (a *agent) updated(up *upstream, uri string) {
	a.mu.Lock()
	s, wanted := a.subs[uri]
	wanted = wanted && s.up == up
	_, waits := a.fresh[uri]
	if wanted && !waits {
		a.fresh[uri] = struct{}{}
	}
	a.mu.Unlock()
	if !wanted || waits {
		return
	}
	a.out.put(256+len(uri), func() {
		a.mu.Lock()
		delete(a.fresh, uri)
		a.mu.Unlock()
		_ = a.server.ResourceUpdated(a.ctx, &sdk.ResourceUpdatedNotificationParams{URI: uri})
	})
}

// changed tells that lists are others now.
func (a *agent) changed(l *link, what lists) {
	a.mu.Lock()
	if what&listTools != 0 && a.index[l.up] != nil {
		a.index[l.up].changed = a.index[l.up].begun
	}
	a.dirty |= what
	a.mu.Unlock()
	select {
	case a.stir <- struct{}{}:
	default:
	}
}

// tellChanges tells an agent of changed lists, once a second at most: an agent lists anew each time, from every upstream. The SDK sends
// that when a thing is added to its own lists, which an agent never sees.
func (a *agent) tellChanges() {
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-a.stir:
		}
		a.mu.Lock()
		what := a.dirty
		a.dirty = 0
		a.mu.Unlock()
		if what&listTools != 0 {
			a.server.AddTool(&sdk.Tool{Name: "freshet", InputSchema: emptySchema}, nil)
		}
		if what&listPrompts != 0 {
			a.server.AddPrompt(&sdk.Prompt{Name: "freshet"}, nil)
		}
		if what&listResources != 0 {
			a.server.AddResource(&sdk.Resource{Name: "freshet", URI: "freshet:changed"}, nil)
		}
		t := time.NewTimer(changeEvery)
		select {
		case <-a.ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// notice is what an agent tells.
func (a *agent) notice(ctx context.Context, method string, req sdk.Request) {
	switch r := req.(type) {
	case *sdk.ProgressNotificationServerRequest: // of an answer that it is at
		if r.Params == nil {
			return
		}
		key, ok := tokenKey(r.Params.ProgressToken)
		if !ok {
			return
		}
		a.mu.Lock()
		c := a.asked[key]
		a.mu.Unlock()
		if c != nil {
			_ = c.session.NotifyProgress(ctx, r.Params)
		}
	case *sdk.RootsListChangedRequest:
		for _, l := range a.allLinks() {
			for _, c := range l.conns() {
				// The SDK tells its server when a root is added. It asks the agent for the roots.
				a.background(func() { c.client.AddRoots(&sdk.Root{URI: "file:///"}) })
			}
		}
	}
}

// tokenKey is a progress token as a key: a string or a number. Others are none, whatever JSON they are.
func tokenKey(t any) (string, bool) {
	switch t := t.(type) {
	case string:
		return "s" + t, true
	case float64:
		return "n" + strconv.FormatFloat(t, 'g', -1, 64), true
	case json.Number:
		if f, err := t.Float64(); err == nil {
			return tokenKey(f)
		}
		return "n" + t.String(), true
	}
	return "", false
}

// setLevel tells all upstreams that keep a level which one the agent wants.
func (a *agent) setLevel(ctx context.Context, to sdk.LoggingLevel) {
	a.level.set(to)
	for _, l := range a.allLinks() {
		for _, c := range l.conns() {
			c.setLevel(ctx, to)
		}
	}
}

func (c *conn) setLevel(ctx context.Context, to sdk.LoggingLevel) {
	r := c.session.InitializeResult()
	if to == "" || c.modern || r.Capabilities == nil || r.Capabilities.Logging == nil || !c.level.set(to) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.link.up.Timeouts.Request)
	defer cancel()
	if err := c.session.SetLoggingLevel(ctx, &sdk.SetLoggingLevelParams{Level: to}); err != nil {
		c.level.set("")
	}
}
