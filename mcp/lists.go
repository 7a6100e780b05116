package mcp

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

// What one upstream may list. A server that pages for ever is refused, and so is one whose pages have no end of bytes.
const (
	maxPages     = 1000
	maxListed    = 10_000
	maxListBytes = 64 << 20
)

// page is a page of a list.
type page[T any] struct {
	items []T
	next  string
}

// collect fetches all pages of an upstream's list, with the first profile.
func collect[T any](ctx context.Context, a *agent, up *upstream, what lists, get func(context.Context, *conn, string) (page[T], error)) ([]T, error) {
	l, err := a.link(up, &up.Profiles[0])
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, up.Timeouts.Request, errTimeout)
	defer cancel()
	a.heard(up, what)
	list, err := send(ctx, l, true, func(ctx context.Context, c *conn) ([]T, error) {
		b := &budget{}
		b.left.Store(maxListBytes)
		ctx = context.WithValue(ctx, budgetKey{}, b)
		var all []T
		seen := map[string]struct{}{}
		for cursor := ""; ; {
			p, err := get(ctx, c, cursor)
			if err != nil {
				return nil, err
			}
			all = append(all, p.items...)
			if p.next == "" {
				return all, nil
			}
			if _, again := seen[p.next]; again || len(seen) >= maxPages || len(all) > maxListed {
				return nil, &freshet.Error{Kind: freshet.Malformed, Why: up.Name + ": it lists without an end"}
			}
			seen[p.next] = struct{}{}
			cursor = p.next
		}
	})
	if err != nil {
		err = explain(ctx, up.Name, up.Timeouts.Request, err)
		if e := remote(err); e == nil || e.Code != jsonrpc.CodeMethodNotFound {
			a.miss(up, what)
		}
		return nil, err
	}
	return list, nil
}

// gather lists what all upstreams have. One that fails is left out, and told of in the log, while another does not; the agent hears
// when it is back. If all fail, so does the list: an empty one would be taken for the truth.
func gather[T any](ctx context.Context, a *agent, cursor string, one func(context.Context, *upstream) ([]T, error)) ([]T, error) {
	if cursor != "" {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "no list of this bridge has a second page"}
	}
	type part struct {
		items []T
		err   error
	}
	parts := make([]chan part, len(a.bridge.upstreams))
	for i, up := range a.bridge.upstreams {
		parts[i] = make(chan part, 1)
		go func() {
			var p part
			defer func() {
				if f := a.bridge.fault("a list of "+up.Name, recover()); f != nil {
					p = part{err: f}
				}
				parts[i] <- p
			}()
			p.items, p.err = one(ctx, up)
		}()
	}
	all := []T{}
	var first error
	good := 0
	for i, up := range a.bridge.upstreams {
		p := <-parts[i]
		e := remote(p.err)
		switch {
		case p.err == nil:
			good++
			all = append(all, p.items...)
		case e != nil && e.Code == jsonrpc.CodeMethodNotFound: // it has none
			if first == nil && len(parts) == 1 {
				first = p.err
			}
			if len(parts) > 1 {
				good++
			}
		default:
			if first == nil {
				first = p.err
			}
			if len(parts) > 1 && !errors.Is(p.err, context.Canceled) {
				a.bridge.log.Warn("mcp: an upstream's list failed", "bridge", a.bridge.cfg.Name, "upstream", up.Name, "error", clean(told(p.err), 300))
			}
		}
	}
	if good == 0 && first != nil {
		return nil, first
	}
	return all, nil
}

// miss notes that a list failed, and looks after a while whether the upstream is back.
func (a *agent) miss(up *upstream, what lists) {
	if a.ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	before := a.missed[up]
	a.missed[up] = before | what
	a.mu.Unlock()
	if before == 0 {
		a.background(func() { a.watch(up) })
	}
}

// heard notes that a list is being fetched: it needs no telling.
func (a *agent) heard(up *upstream, what lists) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if left := a.missed[up] &^ what; left != 0 {
		a.missed[up] = left
	} else {
		delete(a.missed, up)
	}
}

// returned notes that an upstream has answered.
func (a *agent) returned(up *upstream) {
	a.mu.Lock()
	what := a.missed[up]
	delete(a.missed, up)
	l := a.links[linkKey{up, up.Profiles[0].Name}]
	a.mu.Unlock()
	if what != 0 && l != nil {
		a.changed(l, what)
	}
}

// watch tries an upstream whose lists failed until it answers, nobody misses anything, or the agent is gone.
func (a *agent) watch(up *upstream) {
	for wait := 5 * time.Second; ; wait = min(2*wait, time.Minute) {
		t := time.NewTimer(wait + rand.N(wait/2)) // agents that lost it together do not come back together
		select {
		case <-a.ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		a.mu.Lock()
		what := a.missed[up]
		a.mu.Unlock()
		if what == 0 {
			return
		}
		l, err := a.link(up, &up.Profiles[0])
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(a.ctx, up.Timeouts.Request)
		_, give, err := l.take(ctx)
		cancel()
		if err == nil {
			give()
			a.returned(up)
			return
		}
	}
}

func (a *agent) listPrompts(ctx context.Context, r *sdk.ListPromptsRequest) (sdk.Result, error) {
	var cursor string
	if r.Params != nil {
		cursor = r.Params.Cursor
	}
	list, err := gather(ctx, a, cursor, func(ctx context.Context, up *upstream) ([]*sdk.Prompt, error) {
		list, err := collect(ctx, a, up, listPrompts, func(ctx context.Context, c *conn, cursor string) (page[*sdk.Prompt], error) {
			res, err := c.session.ListPrompts(ctx, &sdk.ListPromptsParams{Cursor: cursor, Meta: c.meta(metaOf(r.Params), "")})
			if err != nil {
				return page[*sdk.Prompt]{}, err
			}
			return page[*sdk.Prompt]{res.Prompts, res.NextCursor}, nil
		})
		out := make([]*sdk.Prompt, 0, len(list))
		for _, p := range list {
			if p != nil {
				mine := *p
				mine.Name = up.prefix + p.Name
				out = append(out, &mine)
			}
		}
		return out, err
	})
	if err != nil {
		return nil, err
	}
	return &sdk.ListPromptsResult{Prompts: list, Cacheable: uncached}, nil
}

func (a *agent) listResources(ctx context.Context, r *sdk.ListResourcesRequest) (sdk.Result, error) {
	var cursor string
	if r.Params != nil {
		cursor = r.Params.Cursor
	}
	list, err := gather(ctx, a, cursor, func(ctx context.Context, up *upstream) ([]*sdk.Resource, error) {
		list, err := collect(ctx, a, up, listResources, func(ctx context.Context, c *conn, cursor string) (page[*sdk.Resource], error) {
			res, err := c.session.ListResources(ctx, &sdk.ListResourcesParams{Cursor: cursor, Meta: c.meta(metaOf(r.Params), "")})
			if err != nil {
				return page[*sdk.Resource]{}, err
			}
			return page[*sdk.Resource]{res.Resources, res.NextCursor}, nil
		})
		out := make([]*sdk.Resource, 0, len(list))
		for _, one := range list {
			if one != nil {
				a.owns(up, one.URI)
				out = append(out, one)
			}
		}
		return out, err
	})
	if err != nil {
		return nil, err
	}
	return &sdk.ListResourcesResult{Resources: list, Cacheable: uncached}, nil
}

func (a *agent) listTemplates(ctx context.Context, r *sdk.ListResourceTemplatesRequest) (sdk.Result, error) {
	var cursor string
	if r.Params != nil {
		cursor = r.Params.Cursor
	}
	list, err := gather(ctx, a, cursor, func(ctx context.Context, up *upstream) ([]*sdk.ResourceTemplate, error) {
		list, err := collect(ctx, a, up, listResources, func(ctx context.Context, c *conn, cursor string) (page[*sdk.ResourceTemplate], error) {
			res, err := c.session.ListResourceTemplates(ctx, &sdk.ListResourceTemplatesParams{Cursor: cursor, Meta: c.meta(metaOf(r.Params), "")})
			if err != nil {
				return page[*sdk.ResourceTemplate]{}, err
			}
			return page[*sdk.ResourceTemplate]{res.ResourceTemplates, res.NextCursor}, nil
		})
		out := make([]*sdk.ResourceTemplate, 0, len(list))
		for _, one := range list {
			if one != nil {
				a.owns(up, one.URITemplate)
				out = append(out, one)
			}
		}
		return out, err
	})
	if err != nil {
		return nil, err
	}
	return &sdk.ListResourceTemplatesResult{ResourceTemplates: list, Cacheable: uncached}, nil
}

// uncached says that a list is its caller's alone, and is not to be kept: what an operator allows may change.
var uncached = sdk.Cacheable{CacheScope: "private"}

// metaOf is the _meta of params that may be nil.
func metaOf[P any, T interface {
	*P
	GetMeta() map[string]any
}](p T) map[string]any {
	if p == nil {
		return nil
	}
	return p.GetMeta()
}

// owns notes whose a resource is. One that several have is the first's, in the configuration's order: else a server could take
// another's resources over by listing them.
func (a *agent) owns(up *upstream, uri string) {
	all := a.bridge.upstreams
	if len(all) == 1 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	other := a.uris[uri]
	if other != nil && other != up {
		if slices.Index(all, other) > slices.Index(all, up) {
			up, other = other, up
		}
		if up.drift.first("claims " + uri) {
			a.bridge.log.Warn("mcp: upstreams have a resource of the same address; the first's is read", "bridge", a.bridge.cfg.Name,
				"first", other.Name, "other", up.Name, "uri", clean(uri, 200))
		}
		a.uris[uri] = other
		return
	}
	if len(a.uris) >= maxListed*2 {
		clear(a.uris)
	}
	a.uris[uri] = up
}

// owner are the upstreams to ask for a resource, the likeliest first.
func (a *agent) owners(uri string) []*upstream {
	a.mu.Lock()
	first := a.uris[uri]
	a.mu.Unlock()
	if first == nil {
		return a.bridge.upstreams
	}
	list := []*upstream{first}
	for _, up := range a.bridge.upstreams {
		if up != first {
			list = append(list, up)
		}
	}
	return list
}
