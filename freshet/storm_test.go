package freshet

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Storms are run small with the other tests, and in full by
//
//	go test -run TestStorm -storm -v .
var storm = flag.Bool("storm", false, "run the storms in full")

// stormSize is n, or a twentieth of it.
func stormSize(n int) int {
	if *storm {
		return n
	}
	return n / 20
}

// masses is a source of one tenant's token after another, cheap enough to be asked a million times.
type masses struct {
	takes    time.Duration
	validity func() Validity // nil: an hour
	called   func()          // nil: nothing
	calls    atomic.Int64
}

func (*masses) Varies() Fields { return FieldTenant }

func (s *masses) Retrieve(ctx context.Context, req Request) (*Credential, error) {
	n := s.calls.Add(1)
	if s.called != nil {
		s.called()
	}
	if s.takes > 0 {
		timer := time.NewTimer(s.takes)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	v := Validity{Sent: Now(), Lifetime: time.Hour}
	if s.validity != nil {
		v = s.validity()
	}
	return NewBearer(fmt.Sprint("token-", n, "-of-", req.Tenant), "", v)
}

// load asks for n tenants, by so many callers at once.
func load(t *testing.T, id *Identity, n, callers int) {
	t.Helper()
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c; i < n; i += callers {
				if _, err := id.Get(context.Background(), Request{Tenant: tenant(i)}); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
}

// TestStormAtAnIssuerThatHangsTakesBoundedMemory has callers ask for 100,000 distinct keys of an issuer that never answers, and leave
// after a second.
func TestStormAtAnIssuerThatHangsTakesBoundedMemory(t *testing.T) {
	keys := stormSize(100_000)
	const waves = 10
	synctest.Test(t, func(t *testing.T) {
		src := &masses{takes: time.Hour}
		c := newCache(t, CacheConfig{})
		id := add(t, c, IdentityConfig{Source: src, Timeout: time.Minute})
		before, goroutines := heapBytes(), runtime.NumGoroutine()
		var left, refused atomic.Int64
		var odd atomic.Pointer[error]
		for w := range waves {
			var callers sync.WaitGroup
			for i := range keys / waves {
				callers.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					defer cancel()
					_, err := id.Get(ctx, Request{Tenant: tenant(w*keys/waves + i)})
					switch {
					case errors.Is(err, context.DeadlineExceeded):
						left.Add(1)
					case errors.Is(err, Unavailable) && AsError(err).RetryAfter > 0:
						refused.Add(1)
					default:
						odd.Store(&err)
					}
				})
			}
			callers.Wait()
		}
		if err := odd.Load(); err != nil {
			t.Fatalf("a caller got %v, want to leave at its deadline, or a time to come again", *err)
		}
		grown, flights, more := heapBytes()-before, c.Stats().Flights, runtime.NumGoroutine()-goroutines
		t.Logf("%d distinct keys of an issuer that hangs: heap grew by %.1f MiB; %d flights, %d goroutines; %d callers left at their deadline, %d were refused at once; %d calls",
			keys, float64(grown)/(1<<20), flights, more, left.Load(), refused.Load(), src.calls.Load())
		if flights > maxFlightsPerIssuer {
			t.Errorf("got %d flights, want at most %d", flights, maxFlightsPerIssuer)
		}
		if left.Load() == 0 || refused.Load() == 0 {
			t.Error("nobody left, or nobody was refused")
		}
		if grown > 64<<20 { // 16 KiB for each of 4,096 flights: goroutines, contexts, timers and what was asked
			t.Errorf("heap grew by %d bytes", grown)
		}
		if more > 3*maxFlightsPerIssuer {
			t.Errorf("got %d more goroutines, want at most 3 a flight", more)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		grown, more = heapBytes()-before, runtime.NumGoroutine()-goroutines
		s := c.Stats()
		t.Logf("once they have timed out: %.1f MiB; %d flights, %d entries, %d goroutines", float64(grown)/(1<<20), s.Flights, s.Entries, more)
		if s.Flights != 0 || more > 16 {
			t.Errorf("got %d flights and %d more goroutines, want none", s.Flights, more)
		}
		if grown > 16<<20 {
			t.Errorf("of the heap %d bytes were not given back", grown)
		}
	})
}

// TestStormOfDueKeysKeepsToTheLimit has 100,000 keys due within the same minute, at an issuer that may be asked 1,000 times a second. It is
// asked no faster, and every one of them is replaced before it ends, with nobody waiting.
func TestStormOfDueKeysKeepsToTheLimit(t *testing.T) {
	const (
		life = 10 * time.Minute
		due  = 8 * time.Minute // of all of them, less the jitter of up to a tenth of the life: a minute
	)
	keys := stormSize(100_000)
	rate := keys / 100 // less than falls due
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var times []time.Duration // of calls, since the beginning
		began := time.Now()
		src := &masses{takes: 20 * time.Millisecond}
		src.called = func() {
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Since(began))
		}
		src.validity = func() Validity {
			v := Validity{Sent: Now(), Lifetime: time.Hour}
			if since := time.Since(began); since < due-life/10 {
				v.Lifetime, v.RefreshIn = life, due-since
			}
			return v
		}
		c := newCache(t, CacheConfig{Entries: 2 * keys, Bytes: 1 << 40})
		id := add(t, c, IdentityConfig{Source: src, Rate: float64(rate)})
		load(t, id, keys, 500)
		loaded := time.Since(began)
		wantCount(t, "calls to load", src.calls.Load(), int64(keys))
		if loaded > due-life/10 {
			t.Fatalf("loading took %v, want less than %v", loaded, due-life/10)
		}
		time.Sleep(life - loaded) // the first of them end

		mu.Lock()
		defer mu.Unlock()
		refreshes := times[keys:]
		if len(refreshes) == 0 {
			t.Fatal("nothing was refreshed")
		}
		slices.Sort(refreshes)
		from, to := refreshes[0], refreshes[len(refreshes)-1]
		t.Logf("%d keys due within %v: refreshed in %v, from %v to %v; at most %d calls in a second while loading, and %d while refreshing, of %d allowed",
			keys, life/10, (to - from).Round(time.Second), from.Round(time.Second), to.Round(time.Second), mostPerSecond(times[:keys]), mostPerSecond(refreshes), rate)
		wantCount(t, "refreshes", int64(len(refreshes)), int64(keys))
		for name, list := range map[string][]time.Duration{"loading": times[:keys], "refreshing": refreshes} {
			// A bucket that has been idle may let some through at once.
			if most, want := mostPerSecond(list), rate+rate/4; most > want {
				t.Errorf("%s: got %d calls within a second, want at most %d", name, most, want)
			}
		}
		if from < due-life/10 || to > life {
			t.Errorf("refreshed from %v to %v, want from %v on and before they end, by %v", from, to, due-life/10, life)
		}
		before := src.calls.Load()
		for i := range keys {
			if a := mustGet(t, id, Request{Tenant: tenant(i)}); a.Retrieved || a.Stale || a.Credential.Remaining() < 50*time.Minute {
				t.Fatalf("key %d: got one that ends in %v (stale %v), want the refreshed one, from memory", i, a.Credential.Remaining(), a.Stale)
			}
		}
		wantCount(t, "calls to serve", src.calls.Load()-before, 0)
	})
}

func wantCount(t *testing.T, what string, got, want int64) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %d, want %d", what, got, want)
	}
}

// mostPerSecond is the most of the sorted times that lie within a second.
func mostPerSecond(times []time.Duration) int {
	most, first := 0, 0
	for i, at := range times {
		for at-times[first] >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// TestStormCostsHitsNothing compares hits on one key while others are refreshed by the thousand with hits before.
func TestStormCostsHitsNothing(t *testing.T) {
	measured(t)
	keys := stormSize(100_000)
	loading, window, watched := 30*time.Second, time.Minute, 20*time.Second
	if !*storm {
		loading, window, watched = 3*time.Second, 2*time.Second, time.Second // a key is not refreshed in its first two seconds
	}
	began := time.Now().Add(loading)
	var storming atomic.Bool
	src := &masses{takes: time.Millisecond}
	src.validity = func() Validity {
		v := Validity{Sent: Now(), Lifetime: time.Hour}
		if !storming.Load() { // due at the end of the window, less the jitter of up to a tenth of the life: the window
			v.Lifetime, v.RefreshIn = 10*window, time.Until(began)+window
		}
		return v
	}
	c := newCache(t, CacheConfig{Entries: 2 * keys, Bytes: 1 << 40})
	id := add(t, c, IdentityConfig{Source: src})
	hot := mustHandle(t, add(t, c, IdentityConfig{Name: "hot", Source: &masses{}}), Request{})
	load(t, id, keys, 100)
	calm, usual := pacedBest(t, hot, loading/8)
	early := time.Until(began)
	if early < 0 {
		t.Fatalf("loading took %v longer than thought", -early)
	}
	<-time.After(early)
	storming.Store(true)
	before := src.calls.Load()
	busy, meanwhile := pacedBest(t, hot, watched)
	during := src.calls.Load() - before
	ratio := float64(busy) / float64(calm)
	t.Logf("p99 of ten hits: %v with nothing else, %v while %d of %d keys are refreshed in %v: %.2f ×; %.2f × as many hits", calm, busy, during, keys, watched, ratio, meanwhile/usual)
	if want := int64(float64(keys) * watched.Seconds() / window.Seconds() / 2); during < want {
		t.Errorf("%d keys were refreshed meanwhile, want %d or more of a storm", during, want)
	}
	if ratio > 3 {
		t.Errorf("p99 of a hit is %.2f × that with nothing else", ratio)
	}
	if meanwhile < usual/4 {
		t.Errorf("%.2f × as many hits are made as with nothing else: some block", meanwhile/usual)
	}
}

// pacedBest is paced over the best quarter of the time for p99, since a neighbour's burst is none of ours, and over all of it for the
// number.
func pacedBest(t *testing.T, h *Handle, length time.Duration) (p99 time.Duration, perSecond float64) {
	t.Helper()
	p99 = 1 << 62
	for range 4 {
		p, n := paced(t, h, length/4)
		p99, perSecond = min(p99, p), perSecond+n/4
	}
	return p99, perSecond
}

// paced makes hits 20 µs apart, and returns how long the slowest hundredth takes at least, and how many there were a second: hits that
// block for long are few, and only that shows them. A hit is shorter than the resolution of some machines' clocks, so ten are timed
// together.
func paced(t *testing.T, h *Handle, length time.Duration) (p99 time.Duration, perSecond float64) {
	t.Helper()
	const apart = 20 * time.Microsecond
	var took []time.Duration
	next := time.Now()
	for end := next.Add(length); next.Before(end); {
		from := time.Now()
		if from.Before(next) {
			continue
		}
		for range 10 {
			if a, err := h.Get(context.Background()); err != nil || a.Retrieved && len(took) > 0 {
				t.Fatalf("got %v (retrieved %v), want a hit", err, a.Retrieved)
			}
		}
		to := time.Now()
		took = append(took, to.Sub(from))
		next = to.Add(apart)
	}
	slices.Sort(took)
	return took[len(took)*99/100], float64(len(took)) / length.Seconds()
}

// TestStormOfWaitersOnAFailingKeyMakesOneAttempt has 10,000 callers wait for one key whose source fails; 10,000 more come right after,
// and as many that can wait for the attempt after that.
func TestStormOfWaitersOnAFailingKeyMakesOneAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{takes: time.Second}
		src.fail(errDown)
		id := alone(t, src)
		failed := func(callers *answers) {
			t.Helper()
			callers.want(t, 0, crowd)
			for _, err := range callers.bad {
				if e := wantKind(t, err, Unavailable); !strings.Contains(e.Why, errDown.Why) {
					t.Fatalf("a caller got %v, want the cause, %v", err, errDown)
				}
			}
		}
		var first, after, held answers
		first.ask(context.Background(), crowd, id, Request{})
		failed(&first)
		wantCalls(t, src, 1)
		after.ask(context.Background(), crowd, id, Request{})
		failed(&after)
		wantCalls(t, src, 1)
		for _, err := range after.bad {
			if e, _ := errors.AsType[*Error](err); e.RetryAfter <= 0 {
				t.Fatalf("a caller that came right after got %v and no time to come again", err)
			}
		}
		src.fail(nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		held.ask(ctx, crowd, id, Request{})
		held.want(t, crowd, 0)
		wantCalls(t, src, 2)
		t.Logf("%d callers of a failing key: 1 attempt; %d right after: none; %d held for the next: 1, after %v", crowd, crowd, crowd, held.last.Sub(src.called()[0]))
	})
}

// TestStormOfKeysThatComeAndGoIsBounded has a million tenants pass through a cache of 100,000 entries, and looks up those that are in
// use all along.
func TestStormOfKeysThatComeAndGoIsBounded(t *testing.T) {
	keys := stormSize(1_000_000)
	if raceEnabled {
		keys /= 5
	}
	bound := keys / 10
	hot := bound / 100
	src := &masses{}
	c := newCache(t, CacheConfig{Entries: bound, Bytes: 1 << 40})
	id := add(t, c, IdentityConfig{Source: src})
	before := heapBytes()
	load(t, id, bound, 4)
	full := heapBytes() - before
	look := func(enough func() bool) (p99 time.Duration, missed int) {
		var took []time.Duration
		for n := 0; !enough(); n++ {
			req := Request{Tenant: tenant(n % hot)}
			from := time.Now()
			a, err := id.Get(context.Background(), req)
			took = append(took, time.Since(from))
			if err != nil {
				t.Error(err)
				return 0, 0
			}
			if a.Retrieved {
				missed++
			}
			if len(took) > 1<<20 {
				took = took[:1<<19]
			}
		}
		slices.Sort(took)
		return took[len(took)*99/100], missed
	}
	after := func(d time.Duration) func() bool {
		end := time.Now().Add(d)
		return func() bool { return time.Now().After(end) }
	}
	calm, _ := look(after(time.Second / 2))
	var done atomic.Bool
	var churn sync.WaitGroup
	most := 0
	churn.Go(func() {
		defer done.Store(true)
		for i := bound; i < keys; i++ {
			if _, err := id.Get(context.Background(), Request{Tenant: tenant(i)}); err != nil {
				t.Error(err)
				return
			}
			if i%1000 == 0 {
				most = max(most, c.Stats().Entries)
			}
		}
	})
	busy, missed := look(done.Load)
	churn.Wait()
	took := heapBytes() - before
	s := c.Stats()
	ratio := float64(busy) / float64(calm)
	t.Logf("%d keys through a cache of %d: %d entries at most, heap %.1f MiB (%.1f MiB when it was just full, %.1f accounted); p99 of a lookup %v, %v meanwhile: %.2f ×; %d hot lookups missed",
		keys, bound, most, float64(took)/(1<<20), float64(full)/(1<<20), float64(s.Bytes)/(1<<20), calm, busy, ratio, missed)
	if most > bound+1 || s.Entries > bound {
		t.Errorf("got %d entries, %d at most, want no more than %d", s.Entries, most, bound)
	}
	if slack := int64(4 << 20); took > full+full/2+slack {
		t.Errorf("the heap holds %d bytes, want not much more than the %d of a cache that is just full", took, full)
	}
	if missed > hot {
		t.Errorf("%d lookups of keys in use missed, of %d such keys", missed, hot)
	}
	if !raceEnabled && ratio > 20 {
		t.Errorf("p99 of a lookup is %.1f × that with nothing else", ratio)
	}
	runtime.KeepAlive(c)
}
