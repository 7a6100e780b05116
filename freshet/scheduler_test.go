package freshet

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet/internal/clock"
)

func TestCredentialIsReplacedAheadOfTimeAndLapsesWhenNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		first := mustGet(t, id, Request{})
		time.Sleep(50 * time.Minute)
		wantCalls(t, src, 2) // the call that made it counts as asking
		if a := mustGet(t, id, Request{}); a.Credential == first.Credential || a.Retrieved {
			t.Errorf("got %+v, want the new credential from memory", a)
		}
		time.Sleep(45 * time.Minute)
		wantCalls(t, src, 3) // it was asked for since
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		wantCalls(t, src, 3) // and not any more
		if n := id.cache.Stats().Entries; n != 0 {
			t.Errorf("%d entries, want none: what has expired and nobody wants goes", n)
		}
		mustGet(t, id, Request{})
	})
}

// What nobody asked for any more, and so was let lapse, is replaced as soon as somebody does ask, in whichever way.
func TestWhoeverAsksForWhatWasLetLapseHasItReplaced(t *testing.T) {
	for name, get := range map[string]func(ctx context.Context, id *Identity, old *Handle) (Answer, error){
		"identity":   func(ctx context.Context, id *Identity, _ *Handle) (Answer, error) { return id.Get(ctx, Request{}) },
		"old handle": func(ctx context.Context, _ *Identity, old *Handle) (Answer, error) { return old.Get(ctx) },
		"new handle": func(ctx context.Context, id *Identity, _ *Handle) (Answer, error) {
			return mustHandle(t, id, Request{}).Get(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &fake{takes: time.Second}
				id := alone(t, src)
				old := mustHandle(t, id, Request{})
				first, err := old.Get(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(85 * time.Minute) // replaced once, after 34 to 40, and due again after at most 80
				wantCalls(t, src, 2)
				lapsing, err := get(t.Context(), id, old)
				if err != nil || lapsing.Credential == first.Credential || !lapsing.Due || lapsing.Retrieved {
					t.Fatalf("got %+v, %v; want the second credential, due, from memory", lapsing, err)
				}
				time.Sleep(2 * time.Second)
				wantCalls(t, src, 3)
				if a := mustGet(t, id, Request{}); a.Credential == lapsing.Credential || a.Due || a.Retrieved {
					t.Errorf("got %+v, want the third credential, from memory", a)
				}
			})
		})
	}
}

// A caller that asks once in a lifetime, less what jitter may take, never waits.
func TestWhatIsAskedForOnceInALifetimeStaysFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{takes: time.Second}
		id := alone(t, src)
		mustGet(t, id, Request{})
		for range 100 {
			time.Sleep(35 * time.Minute)
			if a := mustGet(t, id, Request{}); a.Retrieved || a.Stale {
				t.Fatalf("got %+v, want it from memory", a)
			}
		}
	})
}

func TestPinnedCredentialIsLoadedAndStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		src.fail(errDown)
		c := newCache(t, CacheConfig{Entries: 10})
		id := add(t, c, IdentityConfig{Source: src, Pin: true})
		synctest.Wait()
		wantCalls(t, src, 1) // nobody asked
		if id.Loaded() {
			t.Error("loaded, though its source fails")
		}
		time.Sleep(time.Minute)
		if n := src.calls.Load(); n < 5 || n > 60 {
			t.Errorf("%d attempts in a minute, want it tried again every few seconds", n)
		}
		src.fail(nil)
		time.Sleep(10 * time.Second)
		if !id.Loaded() {
			t.Error("not loaded after its source recovered")
		}
		for range 50 {
			for i := range 30 {
				mustGet(t, id, Request{Tenant: fmt.Sprint(i)}) // more than the cache holds
			}
			time.Sleep(time.Hour)
			if a := mustGet(t, id, Request{}); a.Retrieved {
				t.Fatal("a pinned credential was not in memory")
			}
		}
		if e := id.Entries(); len(e) == 0 || !e[0].Wanted {
			t.Errorf("got %+v", e)
		}
		if err := id.Pin(false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		if n := c.Stats().Entries; n != 0 {
			t.Errorf("%d entries, want none once nothing is pinned", n)
		}
	})
}

func TestPinOfWhatCannotBeAskedIsRefused(t *testing.T) {
	c := newCache(t, CacheConfig{})
	id := add(t, c, IdentityConfig{Source: &fake{}})
	c.Remove(id)
	if err := id.Pin(true); err == nil {
		t.Error("a removed identity was pinned")
	}
	if err := id.Pin(false); err != nil {
		t.Errorf("unpinning what is not pinned: %v", err)
	}
}

// Ten thousand keys that are due at once: each is replaced once, by no more workers than one issuer has, with no goroutine for those
// that wait.
func TestRefreshesOfOneIssuerShareItsWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 10_000
		src := &fake{varies: FieldTenant, refresh: 30 * time.Minute}
		src.reply = func(n int64, _ Request) (*Credential, error) {
			return NewBearer(fmt.Sprint(n), "", Validity{Lifetime: time.Hour, RefreshIn: 30 * time.Minute, NoneSooner: true}) // all due at one moment
		}
		c := newCache(t, CacheConfig{})
		id := add(t, c, IdentityConfig{Source: src})
		for i := range keys {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		src.peak.Store(0)
		src.slow(time.Second)
		time.Sleep(30*time.Minute + time.Second/2)
		synctest.Wait()
		if st := c.Stats(); st.Workers != maxWorkersPerIssuer || st.Waiting != keys-maxWorkersPerIssuer || st.Flights != maxWorkersPerIssuer {
			t.Errorf("got %+v, want %d workers and everything else waiting", st, maxWorkersPerIssuer)
		}
		if n := runtime.NumGoroutine(); n > 4*maxWorkersPerIssuer {
			t.Errorf("%d goroutines for %d keys that wait", n, keys)
		}
		time.Sleep(keys / maxWorkersPerIssuer * time.Second * 11 / 10)
		wantCalls(t, src, 2*keys)
		if peak := src.peak.Load(); peak != maxWorkersPerIssuer {
			t.Errorf("%d refreshes at once, want %d", peak, maxWorkersPerIssuer)
		}
		if st := c.Stats(); st.Workers != 0 || st.Waiting != 0 {
			t.Errorf("got %+v, want nothing left", st)
		}
	})
}

func TestWhatExpiresFirstIsRefreshedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []int
		src := &fake{varies: FieldScopes}
		src.reply = func(n int64, req Request) (*Credential, error) {
			i, _ := strconv.Atoi(req.Scopes[0])
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			return NewBearer(fmt.Sprint(n), "", Validity{Lifetime: time.Hour + time.Duration(i)*time.Minute, RefreshIn: 30 * time.Minute, NoneSooner: true})
		}
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Concurrency: 1})
		for _, i := range rand.Perm(50) {
			mustGet(t, id, Request{Scopes: []string{fmt.Sprint(i)}})
		}
		mu.Lock()
		order = nil
		mu.Unlock()
		src.slow(time.Second)
		time.Sleep(32 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if len(order) != 50 || !slices.IsSorted(order) {
			t.Errorf("refreshed in the order %v, want all 50 by their expiry", order)
		}
	})
}

func TestIssuerThatHangsHoldsItsShareOfWorkersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		hung := &fake{varies: FieldTenant, lifetime: 10 * time.Minute}
		well := &fake{varies: FieldTenant, lifetime: 10 * time.Minute}
		var ids []*Identity
		for i := range 20 { // of as many issuers: all of theirs would be more than there are
			ids = append(ids, add(t, c, IdentityConfig{Name: fmt.Sprint("hung-", i), Source: hung}))
		}
		other := add(t, c, IdentityConfig{Name: "well", Source: well})
		for i := range 40 {
			mustGet(t, other, Request{Tenant: fmt.Sprint(i)})
		}
		for _, id := range ids[:5] {
			for i := range 100 {
				mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
			}
		}
		hung.slow(time.Hour)
		hung.running.Store(0)
		hung.peak.Store(0)
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		if peak := hung.peak.Load(); peak != 5*maxWorkersPerIssuer {
			t.Errorf("%d refreshes at once towards 5 issuers that hang, want %d", peak, 5*maxWorkersPerIssuer)
		}
		wantCalls(t, well, 80)
		for i := range 40 {
			if a := mustGet(t, other, Request{Tenant: fmt.Sprint(i)}); a.Stale || a.Retrieved {
				t.Errorf("got %+v of the issuer that is well", a)
			}
		}
	})
}

// An identity made from one whose issuer hangs keeps its other keys' refreshes from nothing: who waits for an input has no worker.
func TestRefreshThatWaitsForItsInputHoldsNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		src := &fake{varies: FieldTenant, lifetime: 10 * time.Minute}
		in := add(t, c, IdentityConfig{Name: "in", Source: src})
		out := &derivedPerTenant{}
		id := add(t, c, IdentityConfig{Name: "out", Source: out, From: in, Issuer: "sts"})
		plain := &fake{lifetime: 10 * time.Minute}
		beside := add(t, c, IdentityConfig{Name: "beside", Source: plain, Issuer: "sts"})
		for i := range 2 * maxWorkersPerIssuer {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		time.Sleep(time.Minute)
		mustGet(t, beside, Request{})
		src.slow(time.Hour)
		time.Sleep(8 * time.Minute)
		wantCalls(t, plain, 2)
		if st := c.Stats(); st.Workers > maxWorkersPerIssuer {
			t.Errorf("%d workers", st.Workers)
		}
	})
}

// derivedPerTenant is made from its input's credential of the same tenant, with a minute less to live.
type derivedPerTenant struct{}

func (*derivedPerTenant) Varies() Fields         { return FieldTenant }
func (*derivedPerTenant) Needs(req Request) Need { return Need{Request: Request{Tenant: req.Tenant}} }
func (*derivedPerTenant) Retrieve(_ context.Context, req Request) (*Credential, error) {
	return NewBearer(crand.Text(), "", Validity{Lifetime: 10 * time.Minute})
}

// The wall clock is stepped forward over the time when a thousand credentials are due: they are replaced, spread and by few at a
// time, and nobody waits.
func TestWallStepForwardCausesNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 1000
		src := &fake{varies: FieldTenant, lifetime: 30 * time.Minute}
		id := alone(t, src)
		for i := range keys {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		time.Sleep(10 * time.Minute)
		src.peak.Store(0)
		src.slow(100 * time.Millisecond)
		step(t, 14*time.Minute) // 24 of 30 minutes have passed by the wall clock
		time.Sleep(longestSleep / 2)
		synctest.Wait()
		early := src.calls.Load() - keys
		time.Sleep(2 * longestSleep)
		synctest.Wait()
		if got := src.calls.Load() - keys; got != keys || early > keys*3/4 {
			t.Errorf("%d were replaced, %d of them within %v, want all %d, spread", got, early, longestSleep/2, keys)
		}
		if peak := src.peak.Load(); peak > maxWorkersPerIssuer {
			t.Errorf("%d at once", peak)
		}
		for i := range keys {
			if a := mustGet(t, id, Request{Tenant: fmt.Sprint(i)}); a.Retrieved {
				t.Fatal("a caller waited")
			}
		}
	})
}

// While a machine is suspended its monotonic clock stands still: what became due meanwhile is replaced soon after it wakes up,
// though nobody asks.
func TestSuspendReplans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		mustGet(t, id, Request{})
		time.Sleep(time.Minute)
		step(t, 50*time.Minute)
		time.Sleep(2 * longestSleep)
		synctest.Wait()
		wantCalls(t, src, 2)
	})
}

// Clocks that a time daemon slews apart, or a change of daylight saving time, which no clock here knows of, replan nothing.
func TestSlewReplansNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		id := alone(t, src)
		mustGet(t, id, Request{})
		was := id.cache.scheduler.gap
		undo := clock.SetOffset(4 * time.Second)
		t.Cleanup(undo)
		time.Sleep(2 * longestSleep)
		synctest.Wait()
		if id.cache.scheduler.gap != was {
			t.Error("4 s count as a step")
		}
	})
}

func TestScheduleIsAHeap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		id := add(t, c, IdentityConfig{Source: &fake{}})
		slots := make([]*slot, 500)
		for i := range slots {
			slots[i] = &slot{id: id, key: fmt.Sprint(i), gone: true}
		}
		check := func() {
			t.Helper()
			for i, p := range c.scheduler.heap {
				if int(p.slot.heaped) != i+1 {
					t.Fatalf("slot at %d believes to be at %d", i, p.slot.heaped-1)
				}
				if i > 0 && c.scheduler.before(p, c.scheduler.heap[(i-1)/2]) {
					t.Fatalf("slot at %d comes before its parent", i)
				}
			}
		}
		far := clock.Now().Mono + int64(time.Hour)
		for range 5000 {
			s := slots[rand.IntN(len(slots))]
			if rand.IntN(3) == 0 {
				c.forget(s)
			} else {
				c.at(s, far+rand.Int64N(100)) // many at one time
			}
			check()
		}
		for _, s := range slots {
			c.forget(s)
			check()
		}
		if n := len(c.scheduler.heap); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// A refresh waits for a worker; meanwhile a caller, who needs none, has tried and failed.
func TestRefreshInLineHeedsAFailureMeanwhile(t *testing.T) {
	for _, pinned := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			crowd, src := &fake{varies: FieldTenant}, &fake{}
			c := newCache(t, CacheConfig{})
			other := add(t, c, IdentityConfig{Name: "crowd", Source: crowd, Issuer: "issuer"})
			id := add(t, c, IdentityConfig{Name: "one", Source: src, Issuer: "issuer", Pin: pinned})
			for i := range maxWorkersPerIssuer + 6 {
				mustGet(t, other, Request{Tenant: fmt.Sprint(i)})
			}
			first := mustGet(t, id, Request{}).Credential.Fingerprint()
			crowd.slow(10 * time.Minute)
			src.fail(errDown)
			other.Changed() // which keeps every worker for a minute
			id.Changed()
			time.Sleep(45 * time.Second)
			if _, err := id.Get(t.Context(), Request{Rejected: first}); err == nil {
				t.Fatal("got a credential of a source that fails")
			}
			time.Sleep(5 * time.Minute)
			times := src.called()
			if len(times) < 3 {
				t.Fatalf("%d attempts, want another", len(times))
			}
			for i := 2; i < len(times); i++ {
				if d := times[i].Sub(times[i-1]); d < 30*time.Second {
					t.Errorf("pinned: %v: an attempt came %v after the last one failed", pinned, d)
				}
			}
		})
	}
}
