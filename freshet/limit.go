package freshet

import (
	"context"
	"fmt"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// limit bounds one identity's retrievals: how many run at once, and how many begin in a second, evenly spaced. Tenants take
// turns at what that leaves; every other turn is a refresh's that nobody waits for. Everything is under the governor's lock.
type limit struct {
	most     int           // at once; 0: no bound
	apart    time.Duration // of their beginnings; 0: no bound
	running  int
	next     int64         // monotonic: none begins before
	typical  time.Duration // how long they take, of late
	turns    turns
	parked   fifo[*queue] // refreshes that wait for it
	toParked bool         // whose turn is next, if both wait
	timer    *time.Timer  // for the next beginning, while somebody waits for that
	awaited  bool         // somebody waits, or did for the last beginning
}

// lateness is how late a timer may have fired for what that loses to be caught up with: without it a rate of a thousand a second
// comes to eight hundred.
const lateness = 10 * time.Millisecond

// set makes the bounds; 0 is none.
func (l *limit) set(most int, rate float64) {
	l.most, l.apart = max(0, most), 0
	if rate > 0 {
		l.apart = max(1, time.Duration(float64(time.Second)/rate))
	}
	l.next = 0
}

// SetLimit changes the identity's bounds: see [IdentityConfig].Concurrency and Rate. What runs goes on.
func (id *Identity) SetLimit(concurrency int, rate float64) {
	c := id.cache
	c.governor.mu.Lock()
	now := clock.Now()
	id.limit.set(concurrency, rate)
	c.governor.passOnLocked(&id.limit, now)
	c.awaitNext(&id.limit, now)
	c.governor.mu.Unlock()
	c.dispatch()
}

// take takes a slot if there is one.
func (l *limit) take(now clock.Reading) bool {
	if !l.free(now) {
		return false
	}
	l.running++
	from := now.Mono
	if l.awaited {
		from -= int64(lateness)
	}
	l.next = max(l.next, from) + int64(l.apart)
	l.awaited = false
	return true
}

func (l *limit) free(now clock.Reading) bool {
	return (l.most == 0 || l.running < l.most) && now.Mono >= l.next
}

// acquire waits for a slot of a flight's, up to ctx. Where the line is longer than that it says so at once.
func (c *Cache) acquire(ctx context.Context, l *limit, p *permit) error {
	if p.slot {
		return nil
	}
	g := &c.governor
	g.mu.Lock()
	now := clock.Now()
	if l.turns.waiting == 0 && l.take(now) {
		p.slot = true
		g.mu.Unlock()
		return nil
	}
	if wait := l.wait(p.target.Tenant, now); tooLong(ctx, wait) {
		g.mu.Unlock()
		return &Error{Kind: Unavailable, Why: fmt.Sprintf("the line for its limit is %v long", wait.Round(time.Second)), RetryAfter: wait,
			Hint: "limit: in the configuration bounds what its issuer is asked"}
	}
	g.unprobeLocked(p)
	k := l.turns.push(p.target.Tenant)
	c.awaitNext(l, now)
	g.mu.Unlock()
	select {
	case <-k.turn:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !k.granted {
		l.turns.leave(p.target.Tenant, k)
		return &Error{Kind: Unavailable, Why: "timed out waiting for a free slot of its limit", Cause: context.Cause(ctx)}
	}
	p.slot = true
	return nil
}

// wait is about how long a tenant's next flight will wait for its turn.
func (l *limit) wait(tenant string, now clock.Reading) time.Duration {
	ahead := time.Duration(l.turns.ahead(tenant))
	d := ahead * l.apart
	if l.apart > 0 {
		d += time.Duration(max(0, l.next-now.Mono))
	}
	if l.most > 0 {
		d = max(d, ahead*l.typical/time.Duration(l.most))
	}
	return d
}

// tooLong reports whether a wait ends after ctx does.
func tooLong(ctx context.Context, wait time.Duration) bool {
	ends, ok := ctx.Deadline()
	return ok && clock.Left(ends) < wait
}

// observe averages how long retrievals take over the last eight or so.
func (l *limit) observe(took time.Duration) {
	if l.typical == 0 {
		l.typical = took
	}
	l.typical += (took - l.typical) / 8
}

// handBack gives a slot back that was not used.
func (c *Cache) handBack(l *limit, p *permit) {
	c.governor.mu.Lock()
	c.vacateLocked(l, p)
	c.governor.mu.Unlock()
	c.dispatch()
}

// release gives a slot back.
func (c *Cache) release(l *limit, p *permit, took time.Duration) {
	if !p.slot {
		return
	}
	c.governor.mu.Lock()
	l.observe(took)
	c.vacateLocked(l, p)
	c.governor.mu.Unlock()
	c.dispatch()
}

// vacateLocked gives a flight's slot back, if it has one. Whoever calls it calls [Cache.dispatch] thereafter.
func (c *Cache) vacateLocked(l *limit, p *permit) {
	if p.slot {
		p.slot = false
		c.governor.releaseLocked(l)
		c.awaitNext(l, clock.Now())
	}
}

// releaseLocked gives a slot back and passes it on.
func (g *governor) releaseLocked(l *limit) {
	l.running--
	g.passOnLocked(l, clock.Now())
}

// passOnLocked gives what slots there are to those who wait: flights by turns, and every other one to refreshes, if their issuer
// has a worker for one. Whoever calls it calls [Cache.dispatch] thereafter.
func (g *governor) passOnLocked(l *limit, now clock.Reading) {
	for l.free(now) {
		callers, refreshes := l.turns.waiting > 0, l.parked.len() > 0
		if refreshes && callers && (!l.toParked || l.parked.items[l.parked.head].host.workers >= maxWorkersPerIssuer || g.workers >= maxWorkers) {
			refreshes = false
		}
		switch {
		case refreshes:
			l.toParked = false
			g.turnLocked(l.parked.pop())
			return // with the slot free, which its key takes
		case callers:
			l.toParked = true
			l.take(now)
			l.turns.pop()
		default:
			return
		}
	}
}

// awaitNext sets the timer for the next beginning, if somebody waits for it.
func (c *Cache) awaitNext(l *limit, now clock.Reading) {
	if l.apart == 0 || l.turns.waiting == 0 && l.parked.len() == 0 || now.Mono >= l.next {
		return
	}
	l.awaited = true
	in := time.Duration(l.next - now.Mono)
	if l.timer != nil {
		l.timer.Reset(in)
		return
	}
	l.timer = time.AfterFunc(in, func() {
		c.governor.mu.Lock()
		now := clock.Now()
		c.governor.passOnLocked(l, now)
		c.awaitNext(l, now)
		c.governor.mu.Unlock()
		c.dispatch()
	})
}
