// Package crowd has many callers ask at once for what nobody has yet. The work that cannot be saved is one call to the issuer, or one
// run of its command, for each token; the time that cannot be saved is how long that takes.
package crowd

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

// Cases are the family's.
func Cases() []measure.Case {
	return []measure.Case{oneKey(), tenants(), azEach(), azFew(), azShared(), azDeadline()}
}

// latency is how long the issuer takes.
func latency(s *measure.Setup) time.Duration {
	if s.Smoke {
		return time.Millisecond
	}
	return 50 * time.Millisecond
}

// together has n callers call f at once, and returns how long it took until the last had its answer.
func together(n int, f func(caller int)) time.Duration {
	var wg sync.WaitGroup
	began := time.Now()
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
	return time.Since(began)
}

func tenant(i int) string { return fmt.Sprintf("%08d-0000-0000-0000-000000000000", i) }

// cold is a round of callers who ask a client that was just made, each for a token of a tenant: callers take turns at them.
func cold(p peers.Peer, s *measure.Setup, callers, tenants int) measure.Round {
	return func() ([]float64, error) {
		i := issuer.New()
		defer i.Close()
		i.SetTakes(latency(s))
		get, err := p.New(i)
		if err != nil {
			return nil, err
		}
		wanted := make([]issuer.Wanted, tenants)
		for n := range wanted {
			wanted[n] = peers.Only
			if tenants > 1 {
				wanted[n].Tenant = tenant(n)
			}
		}
		secrets, errs := make([]string, callers), make([]error, callers)
		before := allocated()
		took := together(callers, func(n int) {
			secrets[n], _, errs[n] = get(s.Context, wanted[n%tenants])
		})
		bytes := allocated() - before
		failed := 0
		for n, secret := range secrets {
			if errs[n] != nil {
				failed++
				continue
			}
			if got, _, err := issuer.Read(secret); err != nil || got != wanted[n%tenants] {
				return nil, fmt.Errorf("a caller who asked for %v has a token for %v: %w", wanted[n%tenants], got, measure.ErrWrong)
			}
		}
		if failed == callers {
			return nil, fmt.Errorf("nobody got a token: %w", errs[0])
		}
		return []float64{float64(took), float64(i.Calls()), float64(failed), float64(bytes)}, nil
	}
}

// coldColumns are those of a round that [cold] makes.
func coldColumns() []measure.Column {
	return []measure.Column{
		{Name: "time", Unit: measure.Nanoseconds, Compare: true},
		{Name: "issuer calls"},
		{Name: "failed callers"},
		{Name: "allocated", Unit: measure.Bytes},
	}
}

// allocated is how much memory this process was ever given.
func allocated() uint64 {
	runtime.GC() // what was left behind before is not to be cleaned up in somebody's round
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// barrier is the floor of [cold]: callers wait for a timer, one for each tenant.
func barrier(s *measure.Setup, callers, tenants int) measure.Round {
	return func() ([]float64, error) {
		var mu sync.Mutex
		var timers int
		done := make(map[string]chan struct{}, tenants)
		before := allocated()
		took := together(callers, func(n int) {
			key := tenant(n % tenants)
			mu.Lock()
			ch := done[key]
			if ch == nil {
				ch = make(chan struct{})
				done[key] = ch
				timers++
				time.AfterFunc(latency(s), func() { close(ch) })
			}
			mu.Unlock()
			<-ch
		})
		return []float64{float64(took), float64(timers), 0, float64(allocated() - before)}, nil
	}
}
