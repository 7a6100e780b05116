package freshet

import (
	"container/heap"
	"context"

	"freshet.dev/freshet/internal/clock"
)

// queueKey is whose refreshes share a queue: an identity's in one tenant.
type queueKey struct {
	id     *Identity
	tenant string
}

// queue holds keys that are to be refreshed with nobody waiting, until a worker of their issuer is free: what expires first comes
// first. Queues take turns, so that one tenant's do not hold up another's.
type queue struct {
	key  queueKey
	host *host
	keys keys
}

// waiter is a key in a queue.
type waiter struct {
	slot   *slot
	target Target
	until  int64 // monotonic: when what it serves ends; 0: it serves nothing
}

// keys is a heap of waiters, the first to expire on top.
type keys []waiter

func (k keys) Len() int           { return len(k) }
func (k keys) Less(i, j int) bool { return k[i].until < k[j].until }
func (k keys) Swap(i, j int)      { k[i], k[j] = k[j], k[i] }
func (k *keys) Push(w any)        { *k = append(*k, w.(waiter)) }
func (k *keys) Pop() any {
	last := len(*k) - 1
	w := (*k)[last]
	(*k)[last] = waiter{}
	*k = (*k)[:last]
	return w
}

// enqueueLocked has a slot refreshed as soon as its issuer has a worker for it; slot.mu is held. Whoever calls it calls
// [Cache.dispatch] once that is not.
func (c *Cache) enqueueLocked(s *slot, now clock.Reading) {
	if s.queued {
		return
	}
	s.queued = true
	s.setBusy(true)
	w := waiter{slot: s, target: s.id.target(s.key)}
	if v := s.cur.Load(); v != nil && v.at(now) != expired {
		w.until = now.Mono + int64(now.Until(v.cred.until()))
	}
	g := &c.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.host(w.target.Host)
	k := queueKey{s.id, w.target.Tenant}
	q := h.queues[k]
	if q == nil {
		q = &queue{key: k, host: h}
		h.queues[k] = q
		g.turnLocked(q)
	}
	heap.Push(&q.keys, w)
	h.waiting++
}

// turnLocked gives a queue its place in its host's round.
func (g *governor) turnLocked(q *queue) {
	q.host.turns.push(q)
	g.readyLocked(q.host)
}

func (g *governor) readyLocked(h *host) {
	if !h.ready {
		h.ready = true
		g.ready.push(h)
	}
}

// dispatchAtOnce is how many keys a caller starts, whose hit it may have been, before it leaves the rest to a goroutine: those of an
// issuer that is blocked go by fast, and may be many.
const dispatchAtOnce = 64

// dispatch starts what there are workers for. No lock is held when it is called.
func (c *Cache) dispatch() {
	for range dispatchAtOnce {
		w, worker, slot := c.next()
		if worker == nil {
			return
		}
		c.start(w, worker, slot)
	}
	g := &c.governor
	g.mu.Lock()
	g.hands++
	g.mu.Unlock()
	go func() {
		defer g.rest()
		c.dispatch()
	}()
}

// next takes a worker for a key that waits, and a slot of its identity's limit. An identity that is made from another's
// credential takes its slot once it has that: who waits for an input holds nothing that this could need.
func (c *Cache) next() (w waiter, worker *host, slot bool) {
	g := &c.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	now := clock.Now()
	for g.ready.len() > 0 && g.workers < maxWorkers {
		h := g.ready.items[g.ready.head]
		for h.workers < maxWorkersPerIssuer && h.resume.len() > 0 {
			k := h.resume.pop()
			if k.left {
				continue
			}
			k.granted = true
			close(k.turn)
			h.workers++
			if g.workers++; g.workers == maxWorkers {
				return waiter{}, nil, false
			}
		}
		for h.workers < maxWorkersPerIssuer && h.turns.len() > 0 {
			q := h.turns.pop()
			id := q.key.id
			if id.deriver != nil {
				if id.yielded >= maxYielded {
					id.resting.push(q)
					continue
				}
				if id.resting.len() > 0 {
					g.turnLocked(id.resting.pop())
				}
			} else {
				l := &id.limit
				if !l.take(now) {
					l.parked.push(q)
					c.awaitNext(l, now)
					continue
				}
				slot = true
				g.passOnLocked(l, now) // to those parked beside it
				c.awaitNext(l, now)
			}
			w = heap.Pop(&q.keys).(waiter)
			h.waiting--
			if len(q.keys) > 0 {
				h.turns.push(q)
			} else {
				delete(h.queues, q.key)
			}
			g.workers++
			h.workers++
			return w, h, slot
		}
		g.ready.pop()
		h.ready = false
		g.tidy(h)
	}
	return waiter{}, nil, false
}

// yieldLocked gives a flight's worker to the next.
func (g *governor) yieldLocked(p *permit) {
	p.worker = false
	g.workers--
	p.host.workers--
	g.readyLocked(p.host)
}

// yield gives a flight's worker back while it waits for its input.
func (c *Cache) yield(p *permit) {
	c.governor.mu.Lock()
	c.governor.yieldLocked(p)
	p.yielded = true
	p.keys[2].id.yielded++
	c.governor.mu.Unlock()
	c.dispatch()
}

// resume takes a worker again, and waits for one up to ctx.
func (c *Cache) resume(ctx context.Context, p *permit) error {
	g := &c.governor
	g.mu.Lock()
	k := &ticket{turn: make(chan struct{})}
	p.host.resume.push(k)
	g.readyLocked(p.host)
	g.mu.Unlock()
	c.dispatch()
	select {
	case <-k.turn:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !k.granted {
		k.left = true
		return &Error{Kind: Unavailable, Why: "timed out waiting for other retrievals from its issuer", Cause: context.Cause(ctx)}
	}
	p.worker = true
	g.returnLocked(p)
	return nil
}

// returnLocked is for a flight that does not wait for its input any more.
func (g *governor) returnLocked(p *permit) {
	if p.yielded {
		p.yielded = false
		id := p.keys[2].id
		id.yielded--
		if id.resting.len() > 0 {
			g.turnLocked(id.resting.pop())
		}
	}
}
