package broker

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
)

// Counts are how often an identity was asked for, by all of its callers. They only grow, for as long as its name is configured.
type Counts struct {
	Memory int64 // handed out from memory
	Issuer int64 // handed out to who waited for a retrieval
	Stale  int64 // of both: a version that should have been replaced

	// Of Issuer, what no cache could have answered. Each request is in at most one of them.
	Claims int64 // it carried a claims challenge
	Forced int64 // it rejected a version, or asked for more life than what was there had left
	Short  int64 // what came lives for less than a minute

	Refused map[freshet.Kind]int64 // those that ended in an error
	Left    int64                  // those whose caller was gone, or out of time, before there was an answer
}

// HandOuts is how many credentials were handed out.
func (c Counts) HandOuts() int64 { return c.Memory + c.Issuer }

// shortLife is the life under which a credential is asked for again and again, whatever a cache does.
const shortLife = time.Minute

// counts are those of an identity. Open doors' seats have some of their own beside them.
type counts struct {
	handed
	issuer                atomic.Int64
	claims, forced, brief atomic.Int64
	refused               [6]atomic.Int64 // in the order of kinds
	left                  atomic.Int64
}

// handed are the counts that a hit adds to.
type handed struct{ memory, stale atomic.Int64 }

// kinds are those of failures. What is of none is a bug, which is the last.
var kinds = [...]freshet.Kind{freshet.Invalid, freshet.LoginNeeded, freshet.Denied, freshet.Unavailable, freshet.Malformed, freshet.Bug}

// retrieved counts a hand-out that waited for a retrieval.
func (c *counts) retrieved(req *freshet.Request, a *freshet.Answer) {
	c.issuer.Add(1)
	switch {
	case req.Claims != "":
		c.claims.Add(1)
	case req.Rejected != "" || req.MinTTL > 0:
		c.forced.Add(1)
	case !a.Credential.Static() && a.Credential.Lifetime() < shortLife:
		c.brief.Add(1)
	}
	if a.Stale {
		c.stale.Add(1)
	}
}

// hit counts a hand-out from memory.
func (h *handed) hit(stale bool) {
	h.memory.Add(1)
	if stale {
		h.stale.Add(1)
	}
}

// failed counts a request that ended in an error.
func (c *counts) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		c.left.Add(1)
		return
	}
	i := slices.Index(kinds[:], freshet.AsError(err).Kind)
	if i < 0 {
		i = len(kinds) - 1
	}
	c.refused[i].Add(1)
}

func (c *counts) read() Counts {
	n := Counts{
		Memory: c.memory.Load(), Issuer: c.issuer.Load(), Stale: c.stale.Load(),
		Claims: c.claims.Load(), Forced: c.forced.Load(), Short: c.brief.Load(),
		Refused: make(map[freshet.Kind]int64, len(kinds)), Left: c.left.Load(),
	}
	for i, k := range kinds {
		n.Refused[k] = c.refused[i].Load()
	}
	return n
}

// Counts are the counts of every identity: identity name → counts. It takes O(identities + doors).
func (b *Broker) Counts() map[string]Counts {
	b.mu.Lock() // a door that closes counts either for itself or for its identities: a counter must not go back
	defer b.mu.Unlock()
	w := b.world.Load()
	all := make(map[string]Counts, len(w.entries))
	for name, e := range w.entries {
		all[name] = e.counts.read()
	}
	for d := range b.doors {
		for name, s := range *d.seats.Load() {
			if n, ok := all[name]; ok {
				n.Memory += s.memory.Load()
				n.Stale += s.stale.Load()
				all[name] = n
			}
		}
	}
	return all
}

// HandOut is how often one caller was handed one identity's credential.
type HandOut struct {
	Caller   string // as the record names it, with sessions by their user; "other" for those past the first hundred
	Identity string
	Count    int64
}

// HandOutsByCaller lists who was handed what, in no order. It takes O(callers + doors).
func (b *Broker) HandOutsByCaller() []HandOut {
	b.mu.Lock() // as above
	defer b.mu.Unlock()
	w := b.world.Load()
	n := b.callers.read()
	for d := range b.doors {
		for name, s := range *d.seats.Load() {
			n[callerRow{s.row.caller, name}] += s.memory.Load()
		}
	}
	var all []HandOut
	for row, count := range n {
		if w.entries[row.identity] != nil {
			all = append(all, HandOut{row.caller, row.identity, count})
		}
	}
	return all
}

// callers counts hand-outs by caller. It is bounded: all callers past the first hundred are one.
type callers struct {
	rows  sync.Map // callerRow → *callerCount
	mu    sync.Mutex
	names map[string]struct{} // of callers that have rows of their own
}

type callerRow struct{ caller, identity string }

type callerCount struct {
	callerRow
	n atomic.Int64
}

const (
	// maxCallers bounds what a scrape lists; as many users as share a machine, and the endpoints of its configuration.
	maxCallers   = 100
	otherCallers = "other"
)

// row is where a caller's hand-outs of an identity are counted.
func (c *callers) row(caller, identity string) *callerCount {
	k := callerRow{caller, identity}
	if row, ok := c.rows.Load(k); ok {
		return row.(*callerCount)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.names[caller]; !ok {
		if len(c.names) >= maxCallers {
			k.caller = otherCallers
		} else {
			if c.names == nil {
				c.names = make(map[string]struct{})
			}
			c.names[caller] = struct{}{}
		}
	}
	row, _ := c.rows.LoadOrStore(k, &callerCount{callerRow: k})
	return row.(*callerCount)
}

func (c *callers) read() map[callerRow]int64 {
	n := make(map[callerRow]int64)
	for k, row := range c.rows.Range {
		n[k.(callerRow)] = row.(*callerCount).n.Load()
	}
	return n
}

// counted names a caller in the counts. Sessions are many and short: they count for the user who opened them.
func counted(c, opener Caller) string {
	if opener.Door == "" || !opener.Peer {
		return c.name()
	}
	return Caller{Door: c.Door, Peer: true, UID: opener.UID}.name()
}

// Issuers are what is held against those who are asked: see [freshet.Cache.Issuers].
func (b *Broker) Issuers() []freshet.IssuerState { return b.cache.Issuers() }
