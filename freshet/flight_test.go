package freshet

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// answers collects what callers got.
type answers struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	good []Answer
	bad  []error
	last time.Time
}

// ask has n callers ask at once.
func (a *answers) ask(ctx context.Context, n int, id *Identity, req Request) {
	for range n {
		a.wg.Go(func() {
			ans, err := id.Get(ctx, req)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.last = time.Now()
			if err != nil {
				a.bad = append(a.bad, err)
				return
			}
			a.good = append(a.good, ans)
		})
	}
}

func (a *answers) want(t *testing.T, good, bad int) {
	t.Helper()
	a.wg.Wait()
	if len(a.good) != good || len(a.bad) != bad {
		t.Fatalf("got %d answers and %d errors %v…, want %d and %d", len(a.good), len(a.bad), a.bad[:min(3, len(a.bad))], good, bad)
	}
}

func TestConcurrentCallersShareOneRetrieval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{takes: time.Second}
		var got answers
		got.ask(t.Context(), 50, alone(t, src), Request{})
		got.want(t, 50, 0)
		wantCalls(t, src, 1)
		for _, a := range got.good {
			if a.Credential != got.good[0].Credential || !a.Retrieved {
				t.Fatalf("got %v (retrieved %v), want the one credential %v", a.Credential, a.Retrieved, got.good[0].Credential)
			}
		}
	})
}

func TestCancelOfTheFirstCallerHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{takes: time.Second}
		id := alone(t, src)
		ctx, cancel := context.WithCancel(t.Context())
		var first, others answers
		first.ask(ctx, 1, id, Request{})
		synctest.Wait()
		others.ask(t.Context(), 10, id, Request{})
		synctest.Wait()
		cancel()
		first.want(t, 0, 1)
		others.want(t, 10, 0)
		wantCalls(t, src, 1)
	})
}

func TestResultIsKeptThoughEveryCallerLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{takes: time.Second}
		id := alone(t, src)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var got answers
		got.ask(ctx, 5, id, Request{})
		got.want(t, 0, 5)
		time.Sleep(time.Second)
		if a := mustGet(t, id, Request{}); a.Retrieved {
			t.Error("the answer was waited for, want the one that the callers left behind")
		}
		wantCalls(t, src, 1)
	})
}

func TestCallerLeavesAtItsOwnEnd(t *testing.T) {
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 30*time.Millisecond)
		},
		"cancel": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(30*time.Millisecond, cancel)
			return ctx, cancel
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &fake{takes: 10 * time.Second, deaf: true}
				id := alone(t, src)
				ctx, cancel := end(t.Context())
				defer cancel()
				began := time.Now()
				_, err := id.Get(ctx, Request{})
				if took := time.Since(began); took != 30*time.Millisecond {
					t.Errorf("caller got away after %v, want its own 30ms", took)
				}
				wantKind(t, err, Unavailable)
				if !errors.Is(err, ctx.Err()) {
					t.Errorf("got error %v, want one that is %v", err, ctx.Err())
				}
			})
		})
	}
}

type contextKey struct{}

func TestFlightCarriesNothingOfItsCallersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var value any
		var deadline time.Time
		src := SourceFunc(func(ctx context.Context, _ Request) (*Credential, error) {
			value = ctx.Value(contextKey{})
			deadline, _ = ctx.Deadline()
			return NewBearer("t", "", Validity{Lifetime: time.Hour})
		})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), contextKey{}, "private"), time.Second)
		defer cancel()
		if _, err := alone(t, src).Get(ctx, Request{}); err != nil {
			t.Fatal(err)
		}
		if value != nil {
			t.Errorf("the source saw its caller's context value %v", value)
		}
		if left := time.Until(deadline); left < 50*time.Second || left > time.Minute {
			t.Errorf("the source had %v, want the flight's own minute", left)
		}
	})
}

func TestEndedCallerStartsNoRetrieval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := alone(t, src).Get(ctx, Request{})
		wantKind(t, err, Unavailable)
		synctest.Wait()
		wantCalls(t, src, 0)
	})
}

// Less life than was asked for is more than none, for a caller that cannot wait any longer, or never could. What it rejected is none.
func TestCallerWhoseContextEndsGetsAValidCredentialThatIsShort(t *testing.T) {
	for name, get := range map[string]func(context.Context, *Identity, Request) (Answer, error){
		"identity": func(ctx context.Context, id *Identity, req Request) (Answer, error) { return id.Get(ctx, req) },
		"new handle": func(ctx context.Context, id *Identity, req Request) (Answer, error) {
			return mustHandle(t, id, req).Get(ctx)
		},
	} {
		for _, left := range []time.Duration{time.Second, 0} { // of its context's time
			t.Run(fmt.Sprint(name, ", ", left), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					src := &fake{}
					id := alone(t, src)
					first := mustGet(t, id, Request{}).Credential
					time.Sleep(30 * time.Minute)
					src.slow(10 * time.Second)
					ask := func(req Request) (Answer, error) {
						ctx, cancel := context.WithTimeout(t.Context(), left)
						defer cancel()
						began := time.Now()
						a, err := get(ctx, id, req)
						if took := time.Since(began); took != left {
							t.Errorf("%+v: it took %v, want all of the caller's %v", req, took, left)
						}
						return a, err
					}
					for _, req := range []Request{
						{MinTTL: 45 * time.Minute},
						{MinTTL: 45 * time.Minute, Rejected: "another"},
					} {
						if a, err := ask(req); err != nil || a.Credential != first || !a.Short || a.Retrieved || a.Stale {
							t.Errorf("%+v: got %+v, %v; want the valid credential, short", req, a, err)
						}
					}
					for _, req := range []Request{
						{Rejected: first.Fingerprint()},
						{MinTTL: 45 * time.Minute, Rejected: first.Fingerprint()},
					} {
						if a, err := ask(req); !errors.Is(err, context.DeadlineExceeded) || a.Credential != nil {
							t.Errorf("%+v: got %+v, %v; want the context's error, and nothing that was rejected", req, a, err)
						}
					}
					flights := int64(1) // which all who waited shared
					if left == 0 {
						flights = 0
					}
					time.Sleep(10 * time.Second)
					synctest.Wait()
					wantCalls(t, src, 1+flights)
				})
			})
		}
	}
}

func TestCallerWhoseContextEndsGetsNothingThatHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Timeout: 2 * time.Hour})
		mustGet(t, id, Request{})
		time.Sleep(30 * time.Minute)
		src.slow(time.Hour)
		for _, left := range []time.Duration{40 * time.Minute, 0} { // it expires while the first waits
			ctx, cancel := context.WithTimeout(t.Context(), left)
			defer cancel()
			if a, err := id.Get(ctx, Request{MinTTL: 45 * time.Minute}); !errors.Is(err, context.DeadlineExceeded) || a.Credential != nil {
				t.Errorf("after %v: got %+v, %v; want the context's error", left, a, err)
			}
		}
		if e := id.Entries(); len(e) != 1 || e[0].Credential != nil || !e[0].Refreshing {
			t.Errorf("got %+v, want the retrieval to go on, with nothing to serve", e)
		}
	})
}

func TestFailuresAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		src.fail(errDown)
		_, err := id.Get(t.Context(), Request{})
		wantKind(t, err, Unavailable)
		if list := id.Entries(); len(list) != 1 || list[0].Credential != nil || list[0].Err == nil {
			t.Errorf("got %+v, want the failure remembered, and nothing to serve", list)
		}
		src.fail(nil)
		time.Sleep(2 * time.Second)
		mustGet(t, id, Request{})
		wantCalls(t, src, 2)
	})
}

func TestWaitersOnAFailingSourceShareOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{lifetime: time.Minute}
		id := alone(t, src)
		mustGet(t, id, Request{})
		time.Sleep(2 * time.Minute) // expired
		synctest.Wait()
		src.takes = 50 * time.Millisecond
		src.fail(errDown)
		before := src.calls.Load()
		began := time.Now()
		var got answers
		got.ask(t.Context(), 100, id, Request{})
		got.want(t, 0, 100)
		wantCalls(t, src, before+1)
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("the last waiter got its error after %v, want one retrieval's 50ms", took)
		}
		for _, err := range got.bad {
			if e := wantKind(t, err, Unavailable); e.Identity != "id" || !strings.Contains(e.Why, "issuer is down") {
				t.Fatalf("got %v, want the source's own error with the identity's name", err)
			}
		}
	})
}

func TestColdTenantsAreRetrievedInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant, takes: 50 * time.Millisecond}
		id := alone(t, src)
		began := time.Now()
		var got answers
		for i := range 1000 {
			got.ask(t.Context(), 3, id, Request{Tenant: fmt.Sprint(i)})
		}
		got.want(t, 3000, 0)
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("1,000 cold tenants took %v, want one retrieval's 50ms", took)
		}
		wantCalls(t, src, 1000)
	})
}

func TestOneKeysRetrievalDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		id := alone(t, src)
		src.reply = func(_ int64, req Request) (*Credential, error) {
			if req.Tenant == "slow" {
				time.Sleep(20 * time.Second)
			}
			return NewBearer("t-"+req.Tenant, "", Validity{Lifetime: time.Hour})
		}
		mustGet(t, id, Request{Tenant: "warm"})
		var slow answers
		slow.ask(t.Context(), 1, id, Request{Tenant: "slow"})
		synctest.Wait()
		began := time.Now()
		mustGet(t, id, Request{Tenant: "warm"})
		mustGet(t, id, Request{Tenant: "cold"})
		if took := time.Since(began); took != 0 {
			t.Errorf("other keys waited %v for the slow one", took)
		}
		slow.want(t, 1, 0)
	})
}

func TestDeafSourceReleasesItsWaitersAndItsLateResultIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []Event
		src := &fake{takes: time.Minute, deaf: true}
		c := newCache(t, CacheConfig{Observe: func(e Event) { events = append(events, e) }})
		id := add(t, c, IdentityConfig{Source: src, Timeout: 10 * time.Second})
		began := time.Now()
		var got answers
		got.ask(t.Context(), 20, id, Request{})
		got.want(t, 0, 20)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("waiters were released after %v, want at the deadline of 10s", took)
		}
		wantKind(t, got.bad[0], Unavailable)
		if s := c.Stats(); s.Flights != 1 || s.Entries != 1 {
			t.Errorf("got %+v, want the straggler counted and its place kept", s)
		}
		time.Sleep(51 * time.Second)
		if a := mustGet(t, id, Request{}); a.Retrieved {
			t.Error("the late result was not kept")
		}
		wantCalls(t, src, 1)
		if s := c.Stats(); s.Flights != 0 {
			t.Errorf("%d flights are counted, want none once the straggler has ended", s.Flights)
		}
		if len(events) != 1 || !events[0].Late || events[0].Fingerprint == "" {
			t.Errorf("got events %+v, want one, late, with what came", events)
		}
	})
}

func TestLateFailureLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{takes: time.Minute, deaf: true}
		src.fail(errDown)
		c := newCache(t, CacheConfig{})
		id := add(t, c, IdentityConfig{Source: src, Timeout: 10 * time.Second})
		_, err := id.Get(t.Context(), Request{})
		wantKind(t, err, Unavailable)
		time.Sleep(time.Minute)
		if s := c.Stats(); s.Flights != 0 || s.Entries != 0 {
			t.Errorf("got %+v, want nothing left of a failure", s)
		}
	})
}

func TestLateResultDoesNotReplaceANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		src.reply = func(n int64, _ Request) (*Credential, error) {
			v := Validity{Sent: Now(), Lifetime: time.Hour}
			if n == 1 {
				time.Sleep(time.Minute)
			}
			return NewBearer(fmt.Sprint("token-", n), "", v)
		}
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Timeout: 10 * time.Second})
		_, err := id.Get(t.Context(), Request{})
		wantKind(t, err, Unavailable)
		time.Sleep(2 * time.Second)
		if a := mustGet(t, id, Request{}); a.Credential.Token() != "token-2" {
			t.Fatalf("got %s, want token-2", a.Credential.Token())
		}
		time.Sleep(time.Minute)
		if a := mustGet(t, id, Request{}); a.Credential.Token() != "token-2" {
			t.Errorf("got %s, want the newer token-2", a.Credential.Token())
		}
	})
}

// whoCalls sends a stack through runtime.Goexit, as a test's FailNow does.
func whoCalls(context.Context, Request) (*Credential, error) {
	runtime.Goexit()
	return nil, nil
}

const planted = "s3cr3t-planted-value"

type plantedPanic struct{ Token string }

func TestSourceThatPanicsOrExitsFailsItsWaitersAlone(t *testing.T) {
	for name, f := range map[string]SourceFunc{
		"panic with a string": func(context.Context, Request) (*Credential, error) { panic(planted) },
		"panic with a value":  func(context.Context, Request) (*Credential, error) { panic(plantedPanic{planted}) },
		"nil dereference": func(context.Context, Request) (*Credential, error) {
			var c *Credential
			return nil, Errorf(Bug, "%s", c.Token())
		},
		"goexit":            whoCalls,
		"zero credential":   func(context.Context, Request) (*Credential, error) { return new(Credential), nil },
		"neither":           func(context.Context, Request) (*Credential, error) { return nil, nil },
		"goexit, half done": func(ctx context.Context, r Request) (*Credential, error) { defer runtime.Goexit(); return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, CacheConfig{})
				bad := add(t, c, IdentityConfig{Name: "bad", Source: f, Concurrency: 1})
				good := add(t, c, IdentityConfig{Name: "good", Source: &fake{}})
				began := time.Now()
				var got answers
				got.ask(t.Context(), 10, bad, Request{})
				got.want(t, 0, 10)
				for _, err := range got.bad {
					wantKind(t, err, Bug)
					if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), planted) {
						t.Fatalf("the panic's value is shown: %v", err)
					}
				}
				if strings.HasPrefix(name, "panic") && !strings.Contains(got.bad[0].Error(), "flight_test.go:") {
					t.Errorf("%v does not say where the source panicked", got.bad[0])
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("waiters were released after %v, want at once", took)
				}
				mustGet(t, good, Request{})
				var again answers // its slot of the limit was given back
				again.ask(t.Context(), 1, bad, Request{})
				again.want(t, 0, 1)
				synctest.Wait()
				if s := c.Stats(); s.Flights != 0 {
					t.Errorf("%d flights are counted, want none", s.Flights)
				}
			})
		})
	}
}

// oddDeriver panics when asked what it needs.
type oddDeriver struct{ fake }

func (*oddDeriver) Needs(Request) Need { panic(planted) }

func TestPanicInNeedsFailsItsWaitersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		in := add(t, c, IdentityConfig{Name: "in", Source: &fake{}})
		id := add(t, c, IdentityConfig{Name: "out", Source: &oddDeriver{}, From: in})
		_, err := id.Get(t.Context(), Request{})
		wantKind(t, err, Bug)
	})
}

func TestForeignErrorsAreNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		src.fail(fmt.Errorf("POST https://issuer/?code=%s: EOF", planted))
		_, err := id.Get(t.Context(), Request{})
		if wantKind(t, err, Unavailable); strings.Contains(err.Error(), planted) {
			t.Errorf("got %v, which shows a foreign error's text", err)
		}
		src.fail(LoginNeeded)
		time.Sleep(2 * time.Second)
		_, err = id.Get(t.Context(), Request{})
		wantKind(t, err, LoginNeeded)
	})
}

func TestFlightsPastTheBoundAreRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant, takes: 30 * time.Second}
		c := newCache(t, CacheConfig{})
		id := add(t, c, IdentityConfig{Name: "busy", Source: src, Issuer: "sts"})
		other := add(t, c, IdentityConfig{Name: "other", Source: &fake{}, Issuer: "idp"})
		var got answers
		for i := range maxFlightsPerIssuer {
			got.ask(t.Context(), 1, id, Request{Tenant: fmt.Sprint(i)})
		}
		synctest.Wait()
		began := time.Now()
		var refused answers
		refused.ask(t.Context(), 1, id, Request{Tenant: "one too many"})
		refused.want(t, 0, 1)
		if e := wantKind(t, refused.bad[0], Unavailable); e.RetryAfter <= 0 || e.Identity != "busy" {
			t.Errorf("got %+v, want a time to retry after", e)
		}
		mustGet(t, other, Request{})
		if took := time.Since(began); took != 0 {
			t.Errorf("refusal and another issuer's retrieval took %v, want no time", took)
		}
		var joins answers // to join what is under way is no flight of its own
		joins.ask(t.Context(), 1, id, Request{Tenant: "0"})
		got.want(t, maxFlightsPerIssuer, 0)
		joins.want(t, 1, 0)
		wantCalls(t, src, maxFlightsPerIssuer)
		if n := c.Stats().Entries; n != maxFlightsPerIssuer+1 {
			t.Errorf("%d entries, want none for the one refused", n)
		}
		mustGet(t, id, Request{Tenant: "one too many"})
	})
}

// crowded makes a cache count n flights more towards an issuer, as if they were under way, until undone.
func crowded(c *Cache, issuer string, n int) (undo func()) {
	count := func(n int) {
		c.governor.mu.Lock()
		defer c.governor.mu.Unlock()
		c.governor.countLocked(&permit{target: Target{Host: issuer}, host: c.governor.host(issuer)}, n)
	}
	count(n)
	return func() { count(-n) }
}

func TestFlightsOfAllIssuersTogetherAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		t.Cleanup(crowded(c, "elsewhere", maxFlights-20))
		src := &fake{varies: FieldTenant, takes: time.Second}
		var got answers
		for n := range 3 {
			id := add(t, c, IdentityConfig{Name: fmt.Sprint("id-", n), Source: src})
			for i := range 10 {
				got.ask(t.Context(), 1, id, Request{Tenant: fmt.Sprint(i)})
			}
		}
		got.want(t, 20, 10)
	})
}

func TestCrowdedRefreshLeavesTheCredentialServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		mustGet(t, id, Request{})
		undo := sync.OnceFunc(crowded(id.cache, id.issuer, maxFlightsPerIssuer))
		t.Cleanup(undo)
		time.Sleep(50 * time.Minute) // due
		mustGet(t, id, Request{})
		if a := mustGet(t, id, Request{MinTTL: time.Hour}); !a.Short {
			t.Error("want the answer marked short when no retrieval can be made for it")
		}
		synctest.Wait()
		wantCalls(t, src, 1)
		undo()
		time.Sleep(time.Minute)
		mustGet(t, id, Request{})
		synctest.Wait()
		wantCalls(t, src, 2)
	})
}

func TestConcurrencyOfAnIdentityIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant, takes: time.Second}
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Concurrency: 3})
		var got answers
		for i := range 12 {
			got.ask(t.Context(), 1, id, Request{Tenant: fmt.Sprint(i)})
		}
		got.want(t, 12, 0)
		if peak := src.peak.Load(); peak != 3 {
			t.Errorf("%d retrievals ran at once, want 3", peak)
		}
	})
}

func TestQueuedRetrievalGivesUpAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant, takes: time.Hour, deaf: true}
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Concurrency: 1, Timeout: 10 * time.Second})
		began := time.Now()
		var got answers
		got.ask(t.Context(), 1, id, Request{Tenant: "a"})
		got.ask(t.Context(), 1, id, Request{Tenant: "b"})
		got.want(t, 0, 2)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("waiters were held for %v, want no longer than the deadline", took)
		}
		if n := id.cache.Stats().Flights; n != 1 {
			t.Errorf("%d flights are under way, want the one whose source is deaf: to queue is to listen", n)
		}
	})
}

func TestCloseEndsRetrievalsAndServesWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		c := NewCache(CacheConfig{})
		id := add(t, c, IdentityConfig{Source: src})
		mustGet(t, id, Request{Tenant: "warm"})
		src.takes = 30 * time.Second
		var got answers
		got.ask(t.Context(), 3, id, Request{Tenant: "cold"})
		synctest.Wait()
		began := time.Now()
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("Close took %v, though the source ends with its context", took)
		}
		got.want(t, 0, 3)
		calls := src.calls.Load()
		mustGet(t, id, Request{Tenant: "warm"})
		time.Sleep(50 * time.Minute)
		mustGet(t, id, Request{Tenant: "warm"}) // due
		_, err := id.Get(t.Context(), Request{Tenant: "new"})
		wantKind(t, err, Unavailable)
		wantCalls(t, src, calls)
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// TestCloseWaitsForWhatFlightsSetGoing writes what any goroutine of a cache's reads, for the race detector to see one that is left:
// without it, the test proves nothing.
func TestCloseWaitsForWhatFlightsSetGoing(t *testing.T) {
	was := time.Local
	t.Cleanup(func() { time.Local = was })
	for range 300 {
		c := NewCache(CacheConfig{})
		mustGet(t, add(t, c, IdentityConfig{Source: &fake{}}), Request{})
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Local = was
	}
}

func TestCloseCountsStragglers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant, takes: time.Hour, deaf: true}
		c := NewCache(CacheConfig{})
		id := add(t, c, IdentityConfig{Source: src})
		var got answers
		for i := range 3 {
			got.ask(t.Context(), 1, id, Request{Tenant: fmt.Sprint(i)})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		err := c.Close(ctx)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("Close returned after %v, want its context's 5s", took)
		}
		if e := wantKind(t, err, Unavailable); !strings.Contains(e.Why, "3 retrievals") {
			t.Errorf("got %v, want the number of stragglers", e)
		}
		got.want(t, 0, 3)
		if err := c.Close(t.Context()); err != nil { // waits for them this time
			t.Error(err)
		}
	})
}

func TestObserverHearsOfEveryRetrieval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var events []Event
		src := &fake{takes: time.Second}
		c := newCache(t, CacheConfig{})
		c.observe = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		}
		id := add(t, c, IdentityConfig{Name: "n", Kind: "k", Issuer: "i", Source: src})
		a := mustGet(t, id, Request{})
		src.fail(errDown)
		_, _ = id.Get(t.Context(), Request{Rejected: a.Credential.Fingerprint()})
		synctest.Wait()
		if len(events) != 2 {
			t.Fatalf("got %d events, want 2", len(events))
		}
		e := events[0]
		if e.Identity != "n" || e.Kind != "k" || e.Target.Host != "i" || e.Reason != ReasonMiss || !e.Asked || e.Took != time.Second ||
			e.Fingerprint != a.Credential.Fingerprint() || !e.Expires.Equal(a.Credential.Expires()) || e.Err != nil {
			t.Errorf("got event %+v", e)
		}
		if e := events[1]; e.Reason != ReasonRejected || e.Err == nil || e.Fingerprint != "" {
			t.Errorf("got event %+v", e)
		}
		if len(e.KeyHash()) != 16 {
			t.Errorf("got key hash %q", e.KeyHash())
		}
	})
}

// TestRetrievalsOfOneKeyNeverOverlap hammers handles, evictions, rejections and expiries at once; the race detector watches.
func TestRetrievalsOfOneKeyNeverOverlap(t *testing.T) {
	const keys, workers, rounds = 16, 8, 400
	var flying [keys]atomic.Int32
	src := &fake{varies: FieldTenant}
	src.reply = func(n int64, req Request) (*Credential, error) {
		var k int
		_, _ = fmt.Sscan(req.Tenant, &k)
		if flying[k].Add(1) != 1 {
			t.Errorf("two retrievals of key %d at once", k)
		}
		runtime.Gosched()
		flying[k].Add(-1)
		return NewBearer(fmt.Sprintf("%d.%s", n, req.Tenant), "", Validity{Lifetime: time.Duration(1+n%40) * time.Millisecond})
	}
	c := newCache(t, CacheConfig{Entries: keys / 4})
	id := add(t, c, IdentityConfig{Source: src})
	var handles [keys]*Handle
	for k := range handles {
		handles[k] = mustHandle(t, id, Request{Tenant: fmt.Sprint(k)})
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			var rejected string
			for i := range rounds {
				k := (i*7 + w) % keys
				req := Request{Tenant: fmt.Sprint(k)}
				if i%5 == 0 {
					req.Rejected = rejected
				}
				a, err := id.Get(t.Context(), req)
				if i%2 == 0 {
					a, err = handles[k].Get(t.Context())
				}
				if err != nil {
					if e := AsError(err); e.Kind != Unavailable && e.Kind != Malformed {
						t.Errorf("got error %v", err)
					}
					continue
				}
				if got := strings.SplitN(a.Credential.Token(), ".", 2)[1]; got != fmt.Sprint(k) {
					t.Errorf("key %d was answered with key %s's credential", k, got)
				}
				rejected = a.Credential.Fingerprint()
			}
		})
	}
	wg.Wait()
}
