package freshet

import (
	"context"
	"sync"
	"time"
)

// Bounds on flights, running and queued. A caller past them is refused at once rather than queued without end.
const (
	maxFlights          = 16384
	maxFlightsPerIssuer = 4096
)

// retryCrowded is when a caller refused for the number of flights may come again.
const retryCrowded = time.Second

// governor bounds what is asked of issuers: how many flights there are in all and towards one issuer, and, by an identity's
// limit, how many of its retrievals run at once.
type governor struct {
	mu      sync.Mutex
	total   int
	flights map[string]int // issuer → flights
	drained chan struct{}  // set by close; closed when the last flight has left
}

// admit counts a flight towards an issuer, or refuses it. It never waits. An input is for a flight that was admitted already,
// and has at most one under way: to refuse it would fail what the bound let in, and with a chain over one issuer all of it.
func (g *governor) admit(issuer string, input bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.drained != nil {
		return &Error{Kind: Unavailable, Why: "shutting down"}
	}
	if !input && (g.total >= maxFlights || g.flights[issuer] >= maxFlightsPerIssuer) {
		return &Error{
			Kind: Unavailable, Why: "too many retrievals are under way", RetryAfter: retryCrowded,
			Hint: "the issuer answers more slowly than callers ask for new credentials; ask again later",
		}
	}
	g.total++
	g.flights[issuer]++
	return nil
}

// leave ends what admit began.
func (g *governor) leave(issuer string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.flights[issuer]--; g.flights[issuer] == 0 {
		delete(g.flights, issuer)
	}
	if g.total == 0 && g.drained != nil {
		close(g.drained)
	}
}

// close refuses flights from now on, and returns what is closed once those under way have left.
func (g *governor) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.drained == nil {
		g.drained = make(chan struct{})
		if g.total == 0 {
			close(g.drained)
		}
	}
	return g.drained
}

func (g *governor) underWay() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

// limit bounds concurrent retrievals of one identity; nil bounds nothing.
type limit chan struct{}

func newLimit(n int) limit {
	if n <= 0 {
		return nil
	}
	return make(limit, n)
}

// acquire waits for a slot, up to ctx.
func (l limit) acquire(ctx context.Context) error {
	if l == nil {
		return nil
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &Error{Kind: Unavailable, Why: "timed out waiting for a free slot of its limit", Cause: context.Cause(ctx)}
	}
}

func (l limit) release() {
	if l != nil {
		<-l
	}
}
