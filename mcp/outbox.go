package mcp

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	maxNotices     = 512         // that wait for an agent
	maxNoticeBytes = 1 << 20     // of them
	changeEvery    = time.Second // a list is said to be another, at most
)

// outbox holds what upstreams tell an agent, in order, until the agent has taken it. What a flood brings, beyond what it holds, is
// dropped.
type outbox struct {
	log   *slog.Logger
	mu    sync.Mutex
	queue []notice
	bytes int
	wake  chan struct{}
	loud  seldom
}

type notice struct {
	send func()
	size int
}

func newOutbox(log *slog.Logger) *outbox { return &outbox{log: log, wake: make(chan struct{}, 1)} }

func (o *outbox) put(size int, send func()) {
	o.mu.Lock()
	full := len(o.queue) >= maxNotices || o.bytes+size > maxNoticeBytes
	if !full {
		o.queue, o.bytes = append(o.queue, notice{send, size}), o.bytes+size
	}
	o.mu.Unlock()
	if full {
		if o.loud.now(time.Minute) {
			o.log.Warn("mcp: an upstream notifies faster than the agent reads; some of it is dropped")
		}
		return
	}
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// flush waits until all that is in the outbox now has been sent.
func (o *outbox) flush(ctx context.Context, limit time.Duration) {
	o.mu.Lock()
	if len(o.queue) == 0 && o.bytes == 0 {
		o.mu.Unlock()
		return
	}
	sent := make(chan struct{})
	o.queue = append(o.queue, notice{send: func() { close(sent) }})
	o.mu.Unlock()
	o.signal()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-sent:
	case <-t.C:
	case <-ctx.Done():
	}
}

// run sends until ctx ends.
func (o *outbox) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
		}
		for ctx.Err() == nil {
			o.mu.Lock()
			if len(o.queue) == 0 {
				o.queue = nil
				o.mu.Unlock()
				break
			}
			n := o.queue[0]
			o.queue = o.queue[1:]
			o.mu.Unlock()
			n.send()
			o.mu.Lock()
			o.bytes -= n.size
			o.mu.Unlock()
		}
	}
}
