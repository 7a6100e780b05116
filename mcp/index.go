package mcp

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

// index is what an upstream's tools are, as it last listed them to an agent.
type index struct {
	tools map[string]listed // nil: not known yet
	asked freshet.Instant
	opens *flight[struct{}]

	// Lists are fetched side by side, and come in any order. They are numbered as they are begun.
	begun   int // the newest
	learnt  int // that tools is of
	changed int // the newest that was begun when the upstream last told that its tools are others: neither it nor those before are to be believed
}

// listed is a tool of a list: of it, what has to be known to judge a call.
type listed struct {
	*sdk.Tool
	drift string // how it is not as it was pinned
}

func (i *index) stale() bool { return i.learnt <= i.changed }

// fetchTools lists an upstream's tools, and yields the number of that list.
func (a *agent) fetchTools(ctx context.Context, up *upstream) ([]*sdk.Tool, int, error) {
	a.mu.Lock()
	i := a.indexLocked(up)
	i.begun++
	number := i.begun
	a.mu.Unlock()
	list, err := collect(ctx, a, up, listTools, func(ctx context.Context, c *conn, cursor string) (page[*sdk.Tool], error) {
		res, err := c.session.ListTools(ctx, &sdk.ListToolsParams{Cursor: cursor, Meta: c.meta(nil, "")})
		if err != nil {
			return page[*sdk.Tool]{}, err
		}
		return page[*sdk.Tool]{res.Tools, res.NextCursor}, nil
	})
	if err != nil {
		return nil, 0, err
	}
	named := list[:0:0]
	for _, t := range list {
		if t != nil && t.Name != "" {
			named = append(named, t)
		}
	}
	return named, number, nil
}

// learn keeps what a list said, unless a newer one came before it. Of two tools with one name nothing is known.
func (a *agent) learn(up *upstream, list []*sdk.Tool, number int) map[string]listed {
	tools := make(map[string]listed, len(list))
	twice := map[string]struct{}{}
	for _, t := range list {
		if _, ok := tools[t.Name]; ok {
			twice[t.Name] = struct{}{}
		}
		tools[t.Name] = listed{up.gist(t), a.drifted(up, t.Name, t)}
	}
	for name := range twice {
		delete(tools, name)
		if up.drift.first("twice " + name) {
			a.bridge.log.Warn("mcp: an upstream lists a tool twice; it is left out", "bridge", a.bridge.cfg.Name, "upstream", up.Name, "tool", clean(name, 100))
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := a.indexLocked(up); number > i.learnt {
		i.tools, i.learnt, i.asked = tools, number, freshet.Now()
	}
	return tools
}

// gist is a tool without what is long of it: each agent has an index of its own.
func (u *upstream) gist(t *sdk.Tool) *sdk.Tool {
	mine := &sdk.Tool{Name: t.Name, Annotations: t.Annotations}
	if len(u.Profiles) < 2 {
		return mine
	}
	schema, _ := t.InputSchema.(map[string]any)
	own, _ := schema["properties"].(map[string]any)
	names := make(map[string]any, len(own))
	for name, p := range own {
		if p != nil {
			names[name] = true
		}
	}
	mine.InputSchema = map[string]any{"properties": names}
	return mine
}

func (a *agent) indexLocked(up *upstream) *index {
	i := a.index[up]
	if i == nil {
		i = &index{}
		a.index[up] = i
	}
	return i
}

// tool is what is known of a tool; nothing where the upstream does not list it. It asks the upstream if it has to, and again for one that
// it has not seen, though not all the time.
func (a *agent) tool(ctx context.Context, up *upstream, name string) (listed, error) {
	a.mu.Lock()
	i := a.indexLocked(up)
	t := i.tools[name]
	if i.tools != nil && !i.stale() && (t.Tool != nil || i.asked.Elapsed() < 5*time.Second) {
		a.mu.Unlock()
		return t, nil
	}
	f := i.opens
	if f == nil && a.links == nil {
		a.mu.Unlock()
		return listed{}, errClosed
	}
	if f == nil {
		f = &flight[struct{}]{done: make(chan struct{})}
		i.opens = f
		a.work.Go(func() {
			defer close(f.done)
			f.err = a.relearn(up)
			a.mu.Lock()
			i.opens = nil
			a.mu.Unlock()
		})
	}
	a.mu.Unlock()
	select {
	case <-f.done:
		if f.err != nil {
			return listed{}, f.err
		}
		return a.known(up, name), nil
	case <-ctx.Done():
		return listed{}, context.Cause(ctx)
	}
}

// relearn asks an upstream for its tools.
func (a *agent) relearn(up *upstream) (err error) {
	defer func() {
		if f := a.bridge.fault("tools of "+up.Name, recover()); f != nil {
			err = f
		}
	}()
	list, number, err := a.fetchTools(a.ctx, up)
	if err == nil {
		a.learn(up, list, number)
	}
	return err
}

// known is what is known of a tool without asking.
func (a *agent) known(up *upstream, name string) listed {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := a.index[up]; i != nil {
		return i.tools[name]
	}
	return listed{}
}

// listTools lists the tools that the operator allows, as agents see them.
func (a *agent) listTools(ctx context.Context, r *sdk.ListToolsRequest) (sdk.Result, error) {
	var cursor string
	if r.Params != nil {
		cursor = r.Params.Cursor
	}
	list, err := gather(ctx, a, cursor, func(ctx context.Context, up *upstream) ([]*sdk.Tool, error) {
		list, number, err := a.fetchTools(ctx, up)
		if err != nil && up.Pin != nil && remote(err) == nil {
			// What is pinned is what an agent would get. It can ask for it, and hear from the call what is to be done.
			list = pinnedTools(up)
			return a.shown(up, list, pinned(list)), nil
		}
		if err != nil {
			return nil, err
		}
		return a.shown(up, list, a.learn(up, list, number)), nil
	})
	if err != nil {
		return nil, err
	}
	return &sdk.ListToolsResult{Tools: list, Cacheable: uncached}, nil
}

// shown are those of an upstream's tools that an agent may call, by the names and with the parameters that it is to use.
func (a *agent) shown(up *upstream, list []*sdk.Tool, known map[string]listed) []*sdk.Tool {
	out := make([]*sdk.Tool, 0, len(list))
	for _, t := range list {
		if k := known[t.Name]; k.Tool == nil || k.drift != "" || up.Policy.Judge(t.Name, t).Refused != "" {
			continue
		}
		out = append(out, up.shown(t))
	}
	return out
}

// pinned are tools that are as they were pinned.
func pinned(list []*sdk.Tool) map[string]listed {
	m := make(map[string]listed, len(list))
	for _, t := range list {
		m[t.Name] = listed{Tool: t}
	}
	return m
}

// pinnedTools are the tools of a snapshot.
func pinnedTools(up *upstream) []*sdk.Tool {
	var file struct {
		Tools []*sdk.Tool `json:"tools"`
	}
	if json.Unmarshal(up.Pin.Encode(), &file) != nil {
		return nil
	}
	return file.Tools
}

// drifted says that a tool differs from the one that was pinned, and in which parts; "" where it does not. t is nil for one that is not
// listed. It quotes nothing: an agent's model reads it, and what the server has written anew is what the model must not read.
func (a *agent) drifted(up *upstream, name string, t *sdk.Tool) string {
	if up.Pin == nil {
		return ""
	}
	change := up.Pin.Check(t)
	if change == nil {
		return ""
	}
	if up.drift.first(name + "\x00" + change.Kind + "\x00" + change.Diff) {
		a.bridge.log.Warn("mcp: a tool is not as it was pinned; agents do not get it", "bridge", a.bridge.cfg.Name, "upstream", up.Name,
			"tool", clean(name, 100), "change", change.Kind, "diff", change.Diff)
	}
	switch parts := up.Pin.Parts(t); {
	case change.Kind == "removed":
		return "the server does not list it any more"
	case change.Kind == "added":
		return "it is not among those that were pinned"
	case len(parts) > 0:
		return "its " + strings.Join(parts, ", ") + " changed"
	}
	return "it cannot be compared"
}
