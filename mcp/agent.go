package mcp

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

// agent is one that is served: a connection over stdio, a session over HTTP, or, in the era without sessions, all requests of one
// caller that say the same of themselves. Its upstream sessions are its own.
type agent struct {
	bridge    *Bridge
	caller    string
	stateless bool // over HTTP, without a session
	server    *sdk.Server
	ctx       context.Context
	cancel    context.CancelFunc
	once      sync.Once
	gone      chan struct{}  // closed when all of it has ended
	work      sync.WaitGroup // its goroutines
	out       *outbox
	level     level
	sessionID string        // over HTTP; "": the SDK's
	stir      chan struct{} // something is in dirty

	mu        sync.Mutex
	session   *sdk.ServerSession // nil where each request has one
	self      self
	links     map[linkKey]*link
	index     map[*upstream]*index
	uris      map[string]*upstream    // of resources that were listed
	subs      map[string]subscription // of resources
	fresh     map[string]struct{}     // of resources whose news wait in out
	dirty     lists                   // lists that the agent has to be told of
	missed    map[*upstream]lists     // lists that failed
	asked     map[string]*conn        // progress tokens of questions that the agent is at
	busy      int                     // requests that are going on
	listening int                     // of them, those that end with the agent
	working   int                     // of them, those that are forwarded or looked up
	used      freshet.Instant         // when the last one ended
}

// self is what an agent says of itself.
type self struct {
	info *sdk.Implementation
	caps *sdk.ClientCapabilities
}

type linkKey struct {
	up      *upstream
	profile string
}

// lists is a set of an upstream's lists.
type lists uint8

const (
	listTools lists = 1 << iota
	listPrompts
	listResources
)

var errClosed = &freshet.Error{Kind: freshet.Unavailable, Why: "mcp: closed"}

// agent begins to serve one.
func (b *Bridge) agent(caller string, stateless bool) (*agent, error) {
	a := &agent{
		bridge: b, caller: caller, stateless: stateless, gone: make(chan struct{}), stir: make(chan struct{}, 1), out: newOutbox(b.log),
		links: map[linkKey]*link{}, index: map[*upstream]*index{}, uris: map[string]*upstream{}, subs: map[string]subscription{},
		fresh: map[string]struct{}{}, missed: map[*upstream]lists{}, asked: map[string]*conn{}, used: freshet.Now(),
	}
	a.ctx, a.cancel = context.WithCancel(b.ctx)
	a.server = sdk.NewServer(b.implementation(), &sdk.ServerOptions{
		Capabilities:       everything(),
		SubscribeHandler:   a.subscribe,
		UnsubscribeHandler: a.unsubscribe,
		CompletionHandler:  func(context.Context, *sdk.CompleteRequest) (*sdk.CompleteResult, error) { return nil, errClosed },
		GetSessionID:       func() string { return cmp.Or(a.sessionID, rand.Text()) },
	})
	a.server.AddReceivingMiddleware(a.receive)
	a.server.AddSendingMiddleware(substituted)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		a.cancel()
		return nil, errClosed
	}
	b.agents[a] = struct{}{}
	b.open.Add(1)
	a.work.Go(func() { a.out.run(a.ctx) })
	a.work.Go(a.tellChanges)
	return a, nil
}

// close ends an agent's sessions, and returns when all of it is over.
func (a *agent) close() {
	a.once.Do(func() {
		a.cancel()
		a.mu.Lock()
		session, links := a.session, a.links
		a.links = nil
		a.mu.Unlock()
		var all sync.WaitGroup
		if session != nil {
			all.Go(func() { _ = session.Close() })
		}
		for _, l := range links {
			all.Go(l.close)
		}
		all.Wait()
		a.work.Wait()
		a.bridge.mu.Lock()
		delete(a.bridge.agents, a)
		a.bridge.mu.Unlock()
		a.bridge.open.Done()
		close(a.gone)
	})
	<-a.gone
}

// background runs something that close waits for; false once the agent is closed.
func (a *agent) background(f func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.links == nil {
		return false
	}
	a.work.Go(func() {
		defer func() { a.bridge.fault("in the background", recover()) }()
		f()
	})
	return true
}

func (b *Bridge) implementation() *sdk.Implementation {
	return &sdk.Implementation{Name: "freshet", Version: b.cfg.Version}
}

// link is the agent's way to an upstream by a profile.
func (a *agent) link(up *upstream, p *Profile) (*link, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.links == nil {
		return nil, errClosed
	}
	key := linkKey{up, p.Name}
	l := a.links[key]
	if l == nil {
		l = &link{agent: a, up: up, profile: p, slots: make([]slot, up.Sessions)}
		a.links[key] = l
	}
	return l, nil
}

func (a *agent) allLinks() []*link {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]*link, 0, len(a.links))
	for _, l := range a.links {
		list = append(list, l)
	}
	return list
}

// is takes what an agent says of itself, the first time that it does.
func (a *agent) is(info *sdk.Implementation, caps *sdk.ClientCapabilities) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.self.caps == nil && a.self.info == nil {
		a.self = self{info, caps}
	}
}

func (a *agent) identity() *sdk.Implementation {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.self.info == nil {
		return a.bridge.implementation()
	}
	return a.self.info
}

// capabilities are what an upstream may ask: what the agent can answer.
func (a *agent) capabilities() *sdk.ClientCapabilities {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.self.caps == nil {
		return &sdk.ClientCapabilities{}
	}
	c := *a.self.caps
	if c.RootsV2 == nil && c.Roots.ListChanged {
		c.RootsV2 = &sdk.RootCapabilities{ListChanged: true}
	}
	return &sdk.ClientCapabilities{RootsV2: c.RootsV2, Sampling: c.Sampling, Elicitation: c.Elicitation}
}

// exchange is one request of an agent.
type exchange struct {
	Event
	began freshet.Instant
}

// receive is the way of all that an agent sends.
func (a *agent) receive(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (res sdk.Result, err error) {
		defer func() {
			if f := a.bridge.fault(method, recover()); f != nil {
				res, err = nil, failure(f)
			}
		}()
		if strings.HasPrefix(method, "notifications/") {
			a.notice(ctx, method, req)
			return next(ctx, method, req)
		}
		if said, ok := req.(interface {
			ClientInfo() *sdk.Implementation
			ClientCapabilities() *sdk.ClientCapabilities
		}); ok {
			a.is(said.ClientInfo(), said.ClientCapabilities())
		}
		x := &exchange{Event: Event{Bridge: a.bridge.cfg.Name, Caller: a.caller, Method: method}, began: freshet.Now()}
		a.enter()
		defer a.leave()
		over, ok := a.admit(method)
		if !ok {
			x.failed(errTooMany)
			x.end(a.bridge, nil)
			if method == "tools/call" {
				return toolFailure(errTooMany)
			}
			return nil, failure(errTooMany)
		}
		defer over()
		res, err = a.answer(ctx, x, method, req, next)
		x.end(a.bridge, err)
		return res, err
	}
}

func (a *agent) enter() {
	a.mu.Lock()
	a.busy++
	a.mu.Unlock()
}

func (a *agent) leave() {
	a.mu.Lock()
	a.busy--
	a.used = freshet.Now()
	a.mu.Unlock()
}

// How many requests of one agent may be going on, and of those that last until it leaves.
const (
	maxWorking   = 256
	maxListening = 8
)

var errTooMany = &freshet.Error{Kind: freshet.Unavailable, Why: "too many requests at a time", Hint: "wait for some of them to end"}

// admit counts a request that begins, if there is room for one more. A ping always has some: it is how an agent finds out that
// nobody is there.
func (a *agent) admit(method string) (over func(), ok bool) {
	n, most := &a.working, maxWorking
	switch method {
	case "ping":
		return func() {}, true
	case "subscriptions/listen":
		n, most = &a.listening, maxListening
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if *n >= most {
		return nil, false
	}
	*n++
	return func() {
		a.mu.Lock()
		*n--
		a.mu.Unlock()
	}, true
}

// idle is how long nothing has been asked.
func (a *agent) idle() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy > 0 {
		return 0
	}
	return a.used.Elapsed()
}

// failed notes why a request did not come to what was asked.
func (x *exchange) failed(err error) {
	x.Outcome, x.Reason = outcome(err), clean(err.Error(), 300)
}

func (x *exchange) end(b *Bridge, err error) {
	if b.cfg.Observe == nil {
		return
	}
	if x.Outcome == "" {
		x.Outcome = outcome(err)
		if err != nil {
			x.Reason = clean(err.Error(), 300)
		}
	}
	x.Took = x.began.Elapsed()
	b.cfg.Observe(x.Event)
}

func (a *agent) answer(ctx context.Context, x *exchange, method string, req sdk.Request, next sdk.MethodHandler) (res sdk.Result, err error) {
	defer func() {
		if f := a.bridge.fault(method, recover()); f != nil {
			x.failed(f)
			if res, err = nil, failure(f); method == "tools/call" {
				res, err = toolFailure(f)
			}
		}
	}()
	switch r := req.(type) {
	case *sdk.ServerRequest[*sdk.InitializeParams]:
		return a.initialize(ctx, method, r, next)
	case *sdk.ServerRequest[*sdk.DiscoverParams]:
		return a.discover(ctx, method, r, next)
	case *sdk.CallToolRequest:
		a.is(r.ClientInfo(), r.ClientCapabilities())
		return a.callTool(ctx, x, r)
	case *sdk.ListToolsRequest:
		return a.failing(x)(a.listTools(ctx, r))
	case *sdk.ListPromptsRequest:
		return a.failing(x)(a.listPrompts(ctx, r))
	case *sdk.ListResourcesRequest:
		return a.failing(x)(a.listResources(ctx, r))
	case *sdk.ListResourceTemplatesRequest:
		return a.failing(x)(a.listTemplates(ctx, r))
	case *sdk.GetPromptRequest:
		a.is(r.ClientInfo(), r.ClientCapabilities())
		return a.failing(x)(a.getPrompt(ctx, x, r))
	case *sdk.ReadResourceRequest:
		a.is(r.ClientInfo(), r.ClientCapabilities())
		return a.failing(x)(a.readResource(ctx, x, r))
	case *sdk.CompleteRequest:
		return a.failing(x)(a.complete(ctx, x, r))
	case *sdk.ServerRequest[*sdk.SetLoggingLevelParams]:
		a.setLevel(ctx, r.Params.Level)
	}
	res, err = next(ctx, method, req)
	if e, ok := errors.AsType[*freshet.Error](err); ok { // of a subscription
		x.failed(e)
		return nil, failure(e)
	}
	return res, err
}

// failing renders an error as the agent gets it.
func (a *agent) failing(x *exchange) func(sdk.Result, error) (sdk.Result, error) {
	return func(r sdk.Result, err error) (sdk.Result, error) {
		if err == nil {
			return r, nil
		}
		x.failed(err)
		return nil, failure(err)
	}
}

// everything is what a bridge can pass on, and so what it offers while it does not know what its upstreams have.
func everything() *sdk.ServerCapabilities {
	return &sdk.ServerCapabilities{
		Tools:       &sdk.ToolCapabilities{ListChanged: true},
		Prompts:     &sdk.PromptCapabilities{ListChanged: true},
		Resources:   &sdk.ResourceCapabilities{ListChanged: true, Subscribe: true},
		Logging:     &sdk.LoggingCapabilities{},
		Completions: &sdk.CompletionCapabilities{},
	}
}

var emptySchema = json.RawMessage(`{"type":"object"}`)
