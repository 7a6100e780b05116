package freshet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// fake is a source whose every answer is another version.
type fake struct {
	varies   Fields
	takes    time.Duration // per retrieval; ends early with its context unless deaf
	deaf     bool
	lifetime time.Duration // 0: an hour
	refresh  time.Duration // the issuer's wish

	calls   atomic.Int64
	running atomic.Int64
	peak    atomic.Int64

	mu    sync.Mutex
	err   error
	times []time.Time // of calls
	reply func(n int64, req Request) (*Credential, error)
}

func (f *fake) Varies() Fields { return f.varies }

func (f *fake) Retrieve(ctx context.Context, req Request) (*Credential, error) {
	n := f.calls.Add(1)
	running := f.running.Add(1)
	defer f.running.Add(-1)
	for {
		peak := f.peak.Load()
		if running <= peak || f.peak.CompareAndSwap(peak, running) {
			break
		}
	}
	sent := Now()
	f.mu.Lock()
	f.times = append(f.times, time.Now())
	takes := f.takes
	f.mu.Unlock()
	if takes > 0 {
		if f.deaf {
			<-time.After(takes)
		} else {
			timer := time.NewTimer(takes)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	f.mu.Lock()
	err, reply := f.err, f.reply
	f.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case reply != nil:
		return reply(n, req)
	}
	return NewBearer(fmt.Sprint("token-", n), "", f.validity(sent))
}

func (f *fake) validity(sent Instant) Validity {
	lifetime := f.lifetime
	if lifetime == 0 {
		lifetime = time.Hour
	}
	return Validity{Sent: sent, Lifetime: lifetime, RefreshIn: f.refresh}
}

// fail makes the source fail from now on; nil mends it.
func (f *fake) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// slow makes the source take so long from now on.
func (f *fake) slow(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.takes = d
}

// answer makes the source answer so from now on.
func (f *fake) answer(reply func(n int64, req Request) (*Credential, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reply = reply
}

func (f *fake) called() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.times...)
}

var errDown = &Error{Kind: Unavailable, Why: "issuer is down"}

// newCache is a cache that is closed, and waited for, when the test ends.
func newCache(t testing.TB, cfg CacheConfig) *Cache {
	t.Helper()
	c := NewCache(cfg)
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// add is an identity of a cache.
func add(t testing.TB, c *Cache, cfg IdentityConfig) *Identity {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "id"
	}
	id, err := c.Add(cfg)
	if err != nil {
		t.Fatalf("Add: %v", err)
	}
	return id
}

// alone is an identity in a cache of its own.
func alone(t testing.TB, src Source) *Identity {
	t.Helper()
	return add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src})
}

func mustGet(t testing.TB, id *Identity, req Request) Answer {
	t.Helper()
	a, err := id.Get(context.Background(), req)
	if err != nil {
		t.Fatalf("Get(%v): %v", req, err)
	}
	return a
}

func mustHandle(t testing.TB, id *Identity, req Request) *Handle {
	t.Helper()
	h, err := id.Handle(req)
	if err != nil {
		t.Fatalf("Handle(%v): %v", req, err)
	}
	return h
}

func wantKind(t testing.TB, err error, want Kind) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind != want {
		t.Fatalf("got error %v, want one of kind %q", err, want)
	}
	return e
}

func wantCalls(t testing.TB, f *fake, want int64) {
	t.Helper()
	if got := f.calls.Load(); got != want {
		t.Fatalf("source was called %d times, want %d", got, want)
	}
}

// step shifts the wall clock against the monotonic one until the test ends.
func step(t testing.TB, d time.Duration) {
	t.Helper()
	t.Cleanup(clock.SetOffset(d))
}
