package mcp

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

// Bridge serves agents. It is safe for use by several at once.
type Bridge struct {
	cfg       Config
	log       *slog.Logger
	upstreams []*upstream
	ctx       context.Context
	stop      context.CancelFunc
	vouch     vouch
	faults    said
	parked    parking
	web       web

	mu     sync.Mutex
	agents map[*agent]struct{}
	open   sync.WaitGroup // of agents
}

// upstream is one of a bridge's, with its defaults filled in.
type upstream struct {
	Upstream
	prefix  string // of the names that agents see
	meta    sdk.Meta
	indexed bool // what its tools are has to be known before one is called
	drift   said
	legacy  atomic.Bool // it was of the era before 2026-07-28 when last asked: it need not be asked again
}

// New makes a bridge; nothing is connected before an agent asks for something.
func New(c Config) (*Bridge, error) {
	b := &Bridge{cfg: c, log: c.Log, agents: map[*agent]struct{}{}}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.cfg.Wait = cmp.Or(c.Wait, 45*time.Second)
	if len(c.Upstreams) == 0 {
		return nil, freshet.Errorf(freshet.Invalid, "mcp %s: no upstream", c.Name)
	}
	for _, u := range c.Upstreams {
		one, err := newUpstream(u, len(c.Upstreams) > 1)
		if err != nil {
			return nil, freshet.Errorf(freshet.Invalid, "mcp %s: %w", c.Name, err)
		}
		b.upstreams = append(b.upstreams, one)
	}
	for i, one := range b.upstreams {
		for _, other := range b.upstreams[:i] {
			if one.Name == other.Name || one.prefix != "" && (strings.HasPrefix(one.prefix, other.prefix) || strings.HasPrefix(other.prefix, one.prefix)) {
				return nil, freshet.Errorf(freshet.Invalid, "mcp %s: upstreams %s and %s: a tool's name would not say whose it is", c.Name, other.Name, one.Name)
			}
		}
	}
	b.vouch.init()
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.web.init(b)
	return b, nil
}

func newUpstream(u Upstream, several bool) (*upstream, error) {
	one := &upstream{Upstream: u}
	switch {
	case u.URL == nil || u.URL.Host == "":
		return nil, fmt.Errorf("upstream %q: no address", u.Name)
	case len(u.Profiles) == 0:
		return nil, fmt.Errorf("upstream %q: no profile", u.Name)
	case several && u.Name == "":
		return nil, fmt.Errorf("an upstream of several has no name")
	}
	for i, p := range u.Profiles {
		if p.Transport == nil || slices.ContainsFunc(u.Profiles[:i], func(o Profile) bool { return o.Name == p.Name }) {
			return nil, fmt.Errorf("upstream %q: profile %q is there twice, or has no transport", u.Name, p.Name)
		}
	}
	if several {
		one.prefix = u.Name + "_"
	}
	if one.Name == "" {
		one.Name = u.URL.Host
	}
	one.Parameter = cmp.Or(u.Parameter, "profile")
	one.Sessions = max(u.Sessions, 1)
	one.Timeouts.Request = cmp.Or(u.Timeouts.Request, 180*time.Second)
	one.Timeouts.Tool = cmp.Or(u.Timeouts.Tool, 300*time.Second)
	one.meta = sdk.Meta{}
	for k, v := range u.Meta {
		one.meta[k] = v
	}
	one.indexed = u.Pin != nil || len(u.Profiles) > 1 || !u.Policy.IsZero()
	return one, nil
}

// named finds an upstream by a name that an agent has used, and what it calls the thing itself.
func (b *Bridge) named(name string) (*upstream, string) {
	for _, u := range b.upstreams {
		if own, ok := strings.CutPrefix(name, u.prefix); ok {
			return u, own
		}
	}
	return nil, ""
}

// Tools are the tools of an upstream as it lists them to its default profile: no policy, pin or prefix is applied.
func (b *Bridge) Tools(ctx context.Context, name string) ([]*sdk.Tool, error) {
	i := slices.IndexFunc(b.upstreams, func(u *upstream) bool { return u.Upstream.Name == name || u.Name == name })
	if i < 0 && name == "" && len(b.upstreams) == 1 {
		i = 0
	}
	if i < 0 {
		return nil, freshet.Errorf(freshet.Invalid, "mcp %s: no upstream %q", b.cfg.Name, name)
	}
	a, err := b.agent("", false)
	if err != nil {
		return nil, err
	}
	defer a.close()
	list, _, err := a.fetchTools(ctx, b.upstreams[i])
	if err != nil {
		if e := remote(err); e != nil {
			return nil, freshet.Errorf(freshet.Unavailable, "%s: %s", b.upstreams[i].Name, clean(e.Message, 300))
		}
		return nil, err
	}
	return list, nil
}

// Close ends all sessions. Agents are told nothing: their connections close.
func (b *Bridge) Close() {
	b.stop()
	b.web.close()
	b.mu.Lock()
	list := make([]*agent, 0, len(b.agents))
	for a := range b.agents {
		list = append(list, a)
	}
	b.mu.Unlock()
	for _, a := range list {
		go a.close()
	}
	b.open.Wait()
}
