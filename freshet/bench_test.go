package freshet

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// floorUntil is what the floor compares the time with.
var floorUntil = func() *atomic.Pointer[time.Time] {
	t := time.Now().Add(time.Hour)
	p := new(atomic.Pointer[time.Time])
	p.Store(&t)
	return p
}()

// floorHit is the least that a cache of one credential can do: an atomic load, and a look at the clock.
//
//go:noinline
func floorHit() bool { return time.Now().Before(*floorUntil.Load()) }

// many is an identity with n warm keys, and handles to the first of them.
func many(b testing.TB, n, handles int) (*Identity, []*Handle) {
	b.Helper()
	src := &fake{varies: FieldTenant}
	c := newCache(b, CacheConfig{Entries: 2 * n, Bytes: 1 << 40})
	id := add(b, c, IdentityConfig{Source: src})
	hs := make([]*Handle, min(n, handles))
	for i := range n {
		h := mustHandle(b, id, Request{Tenant: tenant(i)})
		if _, err := h.Get(context.Background()); err != nil {
			b.Fatal(err)
		}
		if i < len(hs) {
			hs[i] = h
		}
	}
	return id, hs
}

func tenant(i int) string { return fmt.Sprintf("%08d-0000-0000-0000-000000000000", i) }

func BenchmarkFloor(b *testing.B) {
	for b.Loop() {
		if !floorHit() {
			b.Fatal("an hour has passed")
		}
	}
}

func BenchmarkFloorParallel(b *testing.B) {
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			floorHit()
		}
	})
}

func BenchmarkHandleHit(b *testing.B) {
	_, hs := many(b, 1, 1)
	for b.Loop() {
		if _, err := hs[0].Get(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHandleHitParallel(b *testing.B) {
	_, hs := many(b, 1, 1)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = hs[0].Get(context.Background())
		}
	})
}

func BenchmarkGetHit(b *testing.B) {
	id, _ := many(b, 1, 1)
	req := Request{Tenant: tenant(0)}
	for b.Loop() {
		if _, err := id.Get(context.Background(), req); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetHitParallel(b *testing.B) {
	id, _ := many(b, 1, 1)
	req := Request{Tenant: tenant(0)}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = id.Get(context.Background(), req)
		}
	})
}

// BenchmarkAmong is a hit on one of 1,024 hot keys, among as many keys as it says.
func BenchmarkAmong(b *testing.B) {
	const hot = 1024
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		id, hs := many(b, n, hot)
		reqs := make([]Request, len(hs))
		for i := range reqs {
			reqs[i] = Request{Tenant: tenant(i)}
		}
		b.Run(fmt.Sprintf("%d/handle", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				_, _ = hs[i*7%len(hs)].Get(context.Background())
			}
		})
		b.Run(fmt.Sprintf("%d/get", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				_, _ = id.Get(context.Background(), reqs[i*7%len(reqs)])
			}
		})
	}
}

// BenchmarkHitWhileAnotherRefreshes is a hit by handle while other keys of its identity are retrieved without pause.
func BenchmarkHitWhileAnotherRefreshes(b *testing.B) {
	id, hs := many(b, 1, 1)
	stop, pause := make(chan struct{}), time.NewTicker(100*time.Microsecond)
	defer pause.Stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, _ = id.Get(context.Background(), Request{Tenant: tenant(i)})
			<-pause.C // an issuer is slower; without a pause there would be no core left to hit from
		}
	})
	for b.Loop() {
		_, _ = hs[0].Get(context.Background())
	}
	close(stop)
	wg.Wait()
}

// perOp is the least time that one f took, over rounds of n, run by as many goroutines as there are processors if parallel.
func perOp(n int, parallel bool, f func()) time.Duration {
	workers := 1
	if parallel {
		workers = runtime.GOMAXPROCS(0)
	}
	var wg sync.WaitGroup
	began := time.Now()
	for range workers {
		wg.Go(func() {
			for range n {
				f()
			}
		})
	}
	wg.Wait()
	return time.Since(began) / time.Duration(n)
}

// compare interleaves rounds of a floor and of what is measured against it, and returns the least of each.
func compare(rounds, n int, parallel bool, floor, f func()) (base, got time.Duration) {
	base, got = 1<<62, 1<<62
	for range rounds {
		base = min(base, perOp(n, parallel, floor))
		got = min(got, perOp(n, parallel, f))
	}
	return base, got
}
