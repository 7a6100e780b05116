package freshet

import (
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// Bounds on flights, running, held and queued. A caller past them is refused at once rather than queued without end.
const (
	maxFlights          = 16384
	maxFlightsPerIssuer = 4096
)

// Bounds on refreshes that nobody waits for, running: those in all, and those towards one issuer, so that one that hangs holds
// no more than its share.
const (
	maxWorkers          = 512
	maxWorkersPerIssuer = 64
	maxYielded          = 4 * maxWorkersPerIssuer // of one identity, that wait for its input and for a worker again
)

// retryCrowded is when a caller refused for the number of flights may come again.
const retryCrowded = time.Second

// governor decides what issuers are asked, and when: how many flights there are, whose turn it is to be refreshed, and who is to
// be left alone. Nothing is waited for under its lock. Its steps are O(log keys waiting) at most, but for a block's beginning,
// which is O(targets blocked).
type governor struct {
	mu      sync.Mutex
	total   int
	hosts   map[string]*host  // issuer host → its figures
	tenants map[Target]int    // flights under way; no zero is kept
	gates   map[gateKey]*gate // those that are shut, or may be soon
	sweepAt int               // gates, before the old ones are looked for
	workers int               // refreshes running, in all
	hands   int               // goroutines that see to what waits, where a flight's end has them do it
	ready   fifo[*host]       // hosts that may have a worker for a key that waits
	drained chan struct{}     // set by close; closed when the last flight and its goroutine have ended
}

// host is what is known of an issuer.
type host struct {
	name    string
	flights int           // running, held and queued
	targets int           // of those flights
	workers int           // refreshes running
	resume  fifo[*ticket] // of flights that wait for a worker again, their input in hand
	queues  map[queueKey]*queue
	turns   fifo[*queue] // those of queues that have keys and are not parked
	waiting int          // keys
	ready   bool         // it is in governor.ready
}

// permit is a flight's leave to go ahead.
type permit struct {
	target  Target
	keys    [3]gateKey
	probes  []*gate
	host    *host
	worker  bool          // it holds one of its host's workers
	yielded bool          // it gave that back while it waits for its input
	slot    bool          // it holds a slot of its identity's limit
	ended   bool          // its outcome was reported
	within  time.Duration // how long its flight may take
	asked   atomic.Bool   // its source was called
	claims  atomic.Bool   // to answer a challenge
}

func (g *governor) init() {
	g.hosts = make(map[string]*host)
	g.tenants = make(map[Target]int)
	g.gates = make(map[gateKey]*gate)
	g.sweepAt = minSweep
}

// giveBack returns what a slot's turn had come with.
func (c *Cache) giveBack(id *Identity, h *host, slot bool) {
	g := &c.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	g.workers--
	h.workers--
	g.readyLocked(h)
	if slot {
		id.limit.next -= int64(id.limit.apart) // nothing was asked
		g.releaseLocked(&id.limit)
		c.awaitNext(&id.limit, clock.Now())
	}
}

// errClosed refuses for good.
func errClosed() *refusal {
	return &refusal{err: &Error{Kind: Unavailable, Why: "shutting down"}, until: clock.Never.Mono}
}

// errCrowded refuses for the number of flights.
func errCrowded() *Error {
	return &Error{
		Kind: Unavailable, Why: "too many retrievals are under way", RetryAfter: retryCrowded,
		Hint: "the issuer answers more slowly than callers ask for new credentials; ask again later",
	}
}

// admit counts a flight towards an issuer, or refuses it: for good measure, or because the issuer is to be left alone. It never
// waits.
//
// An input is for a flight that was admitted already, and has at most one under way: to refuse it for the number of flights
// would fail what the bound let in, and with a chain over one issuer all of it. Past the bound a tenant is let in that has less
// than its share under way.
func (g *governor) admit(id *Identity, t Target, input bool) (*permit, *refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := clock.Now()
	h, no := g.roomLocked(t, input, now)
	if no != nil {
		return nil, no
	}
	p := &permit{target: t, keys: gateKeys(id, t), host: h}
	if p.probes, no = g.passLocked(&p.keys, now); no != nil {
		g.tidy(h)
		return nil, no
	}
	g.countLocked(p, 1)
	return p, nil
}

// roomLocked finds the host of a flight's target, if there is room for one more.
func (g *governor) roomLocked(t Target, input bool, now clock.Reading) (*host, *refusal) {
	if g.drained != nil {
		return nil, errClosed()
	}
	h := g.host(t.Host)
	if own := g.tenants[t]; !input && (g.total >= maxFlights ||
		h.flights >= maxFlightsPerIssuer && own >= maxFlightsPerIssuer/(h.targets+1)) {
		g.tidy(h)
		return nil, &refusal{err: errCrowded(), until: now.Mono + int64(retryCrowded)}
	}
	return h, nil
}

// reserve counts a flight that is to begin later: callers are held for it.
func (g *governor) reserve(t Target) (*permit, *refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h, no := g.roomLocked(t, false, clock.Now())
	if no != nil {
		return nil, no
	}
	p := &permit{target: t, host: h}
	g.countLocked(p, 1)
	return p, nil
}

// begin lets a reserved flight go ahead, or says why not.
func (g *governor) begin(id *Identity, p *permit) *refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.keys = gateKeys(id, p.target)
	var no *refusal
	p.probes, no = g.passLocked(&p.keys, clock.Now())
	return no
}

// unprobe lets another flight be the probe, while this one waits.
func (g *governor) unprobe(p *permit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unprobeLocked(p)
}

func (g *governor) unprobeLocked(p *permit) {
	for _, b := range p.probes {
		b.probing = false
	}
	p.probes = nil
}

// ask is the last look at the gates before a source is called.
func (g *governor) ask(p *permit) *refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.ended { // its time was over before: what it found out would be told to nobody
		return &refusal{err: errOverdue, until: clock.Now().Mono}
	}
	if len(p.probes) == 0 {
		var no *refusal
		if p.probes, no = g.passLocked(&p.keys, clock.Now()); no != nil {
			return no
		}
	}
	p.asked.Store(true)
	return nil
}

var errOverdue = &Error{Kind: Unavailable, Why: "timed out before its issuer was asked"}

// barred says why an issuer is to be left alone; nil if it may be asked.
func (g *governor) barred(id *Identity, t Target) *refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	keys, now := gateKeys(id, t), clock.Now()
	var no *refusal
	for _, k := range keys {
		if b := g.gates[k]; b != nil && b.until > now.Mono {
			no = longer(no, &refusal{err: b.err, until: b.until})
		} else if b != nil && b.until != 0 && b.probing {
			no = longer(no, &refusal{b.err, now.Mono + int64(proving), true})
		}
	}
	return no
}

// report takes account of how a retrieval ended, once.
func (g *governor) report(p *permit, err *Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.ended {
		return
	}
	p.ended = true
	g.reportLocked(p, err, clock.Now())
}

// leave ends what admit or reserve began.
func (c *Cache) leave(id *Identity, p *permit) {
	g := &c.governor
	g.mu.Lock()
	if p.worker {
		g.yieldLocked(p)
	}
	g.returnLocked(p)
	c.vacateLocked(&id.limit, p)
	g.countLocked(p, -1)
	g.hands++
	g.mu.Unlock()
	c.dispatch()
	g.rest()
}

// rest ends what a raised count of hands began.
func (g *governor) rest() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hands--
	g.drainLocked()
}

// drainLocked says that all is done once the cache is closed and neither a flight nor what its end set going is left.
func (g *governor) drainLocked() {
	if g.drained == nil || g.total > 0 || g.hands > 0 {
		return
	}
	select {
	case <-g.drained: // said before: keys that wait were gone through once more, and none started
	default:
		close(g.drained)
	}
}

func (g *governor) countLocked(p *permit, n int) {
	g.total += n
	p.host.flights += n
	before := g.tenants[p.target]
	switch after := before + n; {
	case after == 0:
		delete(g.tenants, p.target)
		p.host.targets--
	default:
		g.tenants[p.target] = after
		if before == 0 {
			p.host.targets++
		}
	}
	g.tidy(p.host)
}

func (g *governor) host(name string) *host {
	h := g.hosts[name]
	if h == nil {
		h = &host{name: name, queues: make(map[queueKey]*queue)}
		g.hosts[name] = h
	}
	return h
}

// tidy forgets a host that nothing is known of.
func (g *governor) tidy(h *host) {
	if h.flights == 0 && h.workers == 0 && h.waiting == 0 && !h.ready && len(h.queues) == 0 {
		delete(g.hosts, h.name)
	}
}

// close refuses flights from now on, and returns what is closed once those under way have left.
func (g *governor) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.drained == nil {
		g.drained = make(chan struct{})
		g.drainLocked()
	}
	return g.drained
}
