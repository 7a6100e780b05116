package broker

import (
	"strings"
	"sync"
)

// Call is a tool's call that went through a bridge, and what became of it.
type Call struct {
	Caller                 string // of the bridge: "uid:1000", "secret", "cert:NAME"
	Bridge, Upstream, Tool string
	Identity               string // whose credential went with it
	Outcome                string // in a word
}

// Called records a call. The first of each is a line, the others are counted.
func (b *Broker) Called(c Call) {
	a := b.audit
	if a == nil {
		return
	}
	k := tallyKey{
		event: "call", caller: "mcp:" + c.Caller, identity: c.Identity, outcome: c.Outcome,
		place: placeOf(c.Bridge, c.Upstream, a.tools.name(c.Bridge, c.Caller, c.Tool)),
	}
	_, _ = a.tally(k, 0) // what has happened is not undone
}

// Approval is an operator's word on a call, or that it is asked for, used, or too late.
type Approval struct {
	Call
	ID string
	By string // who gave it
}

// Approval records what became of one. Each is a line of its own: a person is asked.
func (b *Broker) Approval(p Approval) {
	if b.audit == nil {
		return
	}
	_ = b.audit.put(record{
		Event: "approval", Caller: "mcp:" + p.Caller, Bridge: p.Bridge, Upstream: p.Upstream, Tool: named(p.Tool),
		ID: p.ID, By: p.By, Outcome: p.Outcome,
	})
}

// placeOf is where a call went, as a part of a key.
func placeOf(bridge, upstream, tool string) string { return bridge + "\x00" + upstream + "\x00" + tool }

// where is the inverse of placeOf.
func (k *tallyKey) where() (bridge, upstream, tool string) {
	bridge, rest, _ := strings.Cut(k.place, "\x00")
	upstream, tool, _ = strings.Cut(rest, "\x00")
	return bridge, upstream, tool
}

// names are those of tools, which agents may make up: so many of each caller's at a bridge are told apart, of so many bytes. What one
// caller makes up takes no room from the others.
type names struct {
	mu    sync.Mutex
	known map[user]map[string]struct{}
}

// user is a caller at a bridge.
type user struct{ bridge, caller string }

const (
	maxNames     = 1024 // of a user's
	maxToolUsers = 1024 // and of these: a daemon has fewer
	maxName      = 128
	others       = "(other)"
)

// name is a tool's in the record.
func (n *names) name(bridge, caller, tool string) string {
	tool = named(tool)
	n.mu.Lock()
	defer n.mu.Unlock()
	u := user{bridge, caller}
	known := n.known[u]
	if _, ok := known[tool]; ok || tool == "" {
		return tool
	}
	if len(known) >= maxNames || known == nil && len(n.known) >= maxToolUsers {
		return others
	}
	if known == nil {
		if n.known == nil {
			n.known = make(map[user]map[string]struct{})
		}
		known = make(map[string]struct{})
		n.known[u] = known
	}
	known[tool] = struct{}{}
	return tool
}

// named is a tool's name, so much of it that it can be recorded.
func named(tool string) string {
	if len(tool) > maxName {
		tool = tool[:maxName] + "…"
	}
	return strings.ToValidUTF8(tool, "?")
}
