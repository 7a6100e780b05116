package mcp

import (
	"context"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

// maxSubscriptions is how many resources one agent may want to hear of.
const maxSubscriptions = 1000

// subscription is a resource that an agent wants to hear of.
type subscription struct {
	up *upstream
	n  int // of those who want to
}

func (a *agent) subscribe(ctx context.Context, r *sdk.SubscribeRequest) error {
	a.is(r.ClientInfo(), r.ClientCapabilities())
	uri := r.Params.URI
	a.mu.Lock()
	full := len(a.subs) >= maxSubscriptions
	a.mu.Unlock()
	if full {
		return &freshet.Error{Kind: freshet.Invalid, Why: "more than 1000 subscriptions"}
	}
	var first error
	for _, up := range a.owners(uri) {
		err := a.subscribeAt(ctx, up, uri)
		if err == nil {
			a.mu.Lock()
			s := a.subs[uri]
			if s.up = up; a.stateless || s.n == 0 { // each listener has its own; a session has one, however often it asks
				s.n++
			}
			a.subs[uri] = s
			a.mu.Unlock()
			return nil
		}
		if first == nil || !notFound(err) {
			first = err
		}
	}
	return first
}

func (a *agent) subscribeAt(ctx context.Context, up *upstream, uri string) error {
	l, err := a.link(up, &up.Profiles[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, up.Timeouts.Request, errTimeout)
	defer cancel()
	_, err = send(ctx, l, true, func(ctx context.Context, c *conn) (struct{}, error) {
		return struct{}{}, c.session.Subscribe(ctx, &sdk.SubscribeParams{URI: uri})
	})
	return explain(ctx, up.Name, up.Timeouts.Request, err)
}

func (a *agent) unsubscribe(ctx context.Context, r *sdk.UnsubscribeRequest) error {
	uri := r.Params.URI
	a.mu.Lock()
	s, ok := a.subs[uri]
	if s.n--; s.n > 0 {
		a.subs[uri] = s
	} else {
		delete(a.subs, uri)
	}
	a.mu.Unlock()
	if !ok || s.n > 0 {
		return nil
	}
	up := s.up
	l, err := a.link(up, &up.Profiles[0])
	if err != nil {
		return err
	}
	for _, c := range l.conns() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), up.Timeouts.Request)
		stop := context.AfterFunc(a.ctx, cancel)
		err = c.session.Unsubscribe(limited, &sdk.UnsubscribeParams{URI: uri})
		stop()
		cancel()
	}
	return explain(ctx, up.Name, up.Timeouts.Request, err)
}

// greet gives a new session what one before it had.
func (a *agent) greet(ctx context.Context, c *conn) {
	c.setLevel(ctx, a.level.get())
	if c.link.profile != &c.link.up.Profiles[0] {
		return
	}
	a.mu.Lock()
	var uris []string
	for uri, s := range a.subs {
		if s.up == c.link.up {
			uris = append(uris, uri)
		}
	}
	a.mu.Unlock()
	for _, uri := range uris {
		if err := c.session.Subscribe(ctx, &sdk.SubscribeParams{URI: uri}); err != nil {
			a.bridge.log.Warn("mcp: a subscription is lost", "bridge", a.bridge.cfg.Name, "upstream", c.link.up.Name, "error", clean(told(explain(ctx, c.link.up.Name, 0, err)), 300))
		}
	}
}
