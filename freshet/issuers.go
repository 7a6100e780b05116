package freshet

import (
	"time"

	"freshet.dev/freshet/internal/clock"
)

// IssuerState is what is known of a target, for status; see [Cache.Issuers].
type IssuerState struct {
	Target   Target        // Tenant and Client are empty where all of its host is meant
	Whole    bool          // all of its host is meant
	Block    *Error        // what it answered; nil if it may be asked
	RetryIn  time.Duration // how long the block lasts; 0 while one retrieval, the probe, finds out whether it is over
	Failures int           // retrievals in a row that speak against it
	Flights  int           // under way towards it
	Waiting  int           // keys that wait for their turn to be refreshed; counted for a whole host
}

// Issuers lists the hosts and targets that are asked, waited for, blocked or under suspicion now, in no order. It takes O(those).
func (c *Cache) Issuers() []IssuerState {
	g := &c.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	now := clock.Now()
	states := make(map[gateKey]*IssuerState)
	of := func(k gateKey) *IssuerState {
		s := states[k]
		if s == nil {
			s = &IssuerState{Target: k.Target, Whole: k.whole}
			states[k] = s
		}
		return s
	}
	for _, h := range g.hosts {
		s := of(gateKey{Target: Target{Host: h.name}, whole: true})
		s.Flights, s.Waiting = h.flights, h.waiting
	}
	for t, n := range g.tenants {
		of(gateKey{Target: t}).Flights = n
	}
	for k, b := range g.gates {
		if k.id != nil {
			continue // its keys say so
		}
		s := of(k)
		s.Failures = b.failures
		if b.until != 0 && !b.forgotten(now) {
			s.Block, s.RetryIn = b.err, max(0, time.Duration(b.until-now.Mono))
		}
	}
	list := make([]IssuerState, 0, len(states))
	for _, s := range states {
		list = append(list, *s)
	}
	return list
}

// Unblock forgets every failure that keeps the identity from being retrieved: of its keys, of whom they ask, and of those hosts.
// Callers who are held go on at once, and so does what is due. It takes O(keys of the identity).
func (id *Identity) Unblock() {
	c := id.cache
	slots := id.slots()
	targets := []Target{id.usual()}
	for _, s := range slots {
		targets = append(targets, id.target(s.key))
	}
	c.governor.unblock(id, targets)
	now := clock.Now()
	for _, s := range slots {
		s.mu.Lock()
		s.pardonLocked()
		if f := s.flight; f != nil && f.held {
			s.hastenLocked(now)
		} else {
			c.lookLocked(s, now)
		}
		s.mu.Unlock()
	}
	c.dispatch()
}

// usual is whom a retrieval of the identity's defaults asks.
func (id *Identity) usual() Target {
	var req Request
	if id.normalise(&req) != nil {
		return Target{Host: id.issuer}
	}
	return id.target(string(appendKey(nil, id, &req)))
}

// unblock opens an identity's own gates, those that it shut, and those of some targets and of their hosts.
func (g *governor) unblock(id *Identity, targets []Target) {
	g.forgive(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, b := range g.gates {
		if b.by == id {
			delete(g.gates, k)
			targets = append(targets, k.Target)
		}
	}
	for _, t := range targets {
		delete(g.gates, gateKey{Target: t})
		delete(g.gates, gateKey{Target: Target{Host: t.Host}, whole: true})
	}
}

// forgive opens the gates that an identity has of its own: who logged in meanwhile, or changed the secret, may ask again.
func (g *governor) forgive(id *Identity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for k := range g.gates {
		if k.id == id {
			delete(g.gates, k)
		}
	}
}

// Pin says whether the credential of the identity's defaults is kept loaded: see [IdentityConfig].Pin. Errors are of kind
// [Invalid].
func (id *Identity) Pin(on bool) error {
	var req Request
	if err := id.normalise(&req); err != nil {
		return err
	}
	key := appendKey(nil, id, &req)
	c := id.cache
	s := c.index.find(id, hashKey(id, key), key)
	if s == nil && !on {
		return nil
	}
	for { // what is found may be on its way out
		if s = c.slot(&ask{id: id, key: string(key), hash: hashKey(id, key)}); s == nil {
			return id.errRemoved()
		}
		s.mu.Lock()
		if !s.gone {
			break
		}
		s.mu.Unlock()
	}
	s.pinned = on
	idle := c.lookLocked(s, clock.Now())
	s.mu.Unlock()
	if idle {
		c.drop(s)
	}
	c.dispatch()
	return nil
}

// Loaded reports whether the identity's pinned credential can be served; true if nothing of it is pinned. It takes O(keys of the
// identity).
func (id *Identity) Loaded() bool {
	now := clock.Now()
	for _, s := range id.slots() {
		s.mu.Lock()
		pinned := s.pinned
		s.mu.Unlock()
		if v := s.cur.Load(); pinned && (v == nil || v.at(now) == expired) {
			return false
		}
	}
	return true
}
