package freshet

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// What each answer of an issuer means for the next request to it, case by case.
func TestWhatAnAnswerMeansForTheNextRequest(t *testing.T) {
	scope := func(i int) Request { return Request{Tenant: "a", Scopes: []string{fmt.Sprint(i)}} }
	for _, tt := range []struct {
		name  string
		do    func(t *testing.T, src issuer, id *Identity)
		asked bool // whether another key is asked for at once
		next  Request
	}{
		{"a success from before a Retry-After", func(t *testing.T, src issuer, id *Identity) {
			src.slow(time.Second)
			var got answers
			got.ask(t.Context(), 1, id, scope(0))
			synctest.Wait()
			src.slow(0)
			src.fail(after(errThrottled, time.Minute))
			mustFail(t, id, scope(1))
			src.fail(nil)
			got.want(t, 1, 0)
		}, false, scope(2)},
		{"429 after 429 from before", func(t *testing.T, src issuer, id *Identity) {
			src.slow(time.Second)
			src.fail(errThrottled)
			var got answers
			for i := range 10 {
				got.ask(t.Context(), 1, id, scope(i))
			}
			got.want(t, 0, 10)
			src.slow(0)
			src.fail(nil)
			time.Sleep(throttled * 6 / 5)
		}, true, scope(20)},
		{"a probe that is throttled, after the host was", func(t *testing.T, src issuer, id *Identity) {
			src.fail(after(errThrottled, 10*time.Second))
			for i := range wide {
				mustFail(t, id, Request{Tenant: fmt.Sprint("tenant-", i)})
			}
			time.Sleep(10 * time.Second)
			mustFail(t, id, Request{Tenant: "probe"})
			src.fail(nil)
		}, false, Request{Tenant: "another"}},
		{"a probe that finds no connection", func(t *testing.T, src issuer, id *Identity) {
			src.fail(after(errThrottled, 10*time.Second))
			mustFail(t, id, scope(0))
			time.Sleep(10 * time.Second)
			src.fail(errRefused)
			mustFail(t, id, scope(1))
			src.fail(nil)
		}, false, scope(2)},
		{"a probe that is denied", func(t *testing.T, src issuer, id *Identity) {
			src.fail(after(errThrottled, 10*time.Second))
			mustFail(t, id, scope(0))
			time.Sleep(10 * time.Second)
			src.fail(&Error{Kind: Denied, Why: "invalid_scope", Status: 400})
			mustFail(t, id, scope(1))
			src.fail(nil)
		}, true, scope(2)},
		{"one tenant's outage", func(t *testing.T, src issuer, id *Identity) {
			src.fail(errRefused)
			for i := range 5 * wide {
				mustFail(t, id, scope(i))
			}
			src.fail(nil)
		}, true, Request{Tenant: "another"}},
		{"three programs that hang", func(t *testing.T, src issuer, id *Identity) {
			src.fail(&Error{Kind: Unavailable, Why: "timed out", Cause: context.DeadlineExceeded})
			for i := range wide {
				mustFail(t, id, Request{Tenant: fmt.Sprint("tenant-", i)})
			}
			src.fail(nil)
		}, true, Request{Tenant: "another"}},
		{"400 that is no refusal", func(t *testing.T, src issuer, id *Identity) {
			src.fail(&Error{Kind: Unavailable, Why: "IDPCommunicationError", Status: 400})
			for i := range 5 {
				mustFail(t, id, scope(i))
			}
			src.fail(nil)
		}, true, scope(9)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newIssuer("idp", "app")
				id := alone(t, src)
				tt.do(t, src, id)
				calls := src.calls.Load()
				_, err := id.Get(t.Context(), tt.next)
				if asked := src.calls.Load() > calls; asked != tt.asked || asked != (err == nil) {
					t.Errorf("asked: %v (%v), want %v", asked, err, tt.asked)
				}
			})
		})
	}
}

func TestRememberedFailureIsAnsweredAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		src.fail(&Error{Kind: LoginNeeded, Why: "interaction_required", Status: 400})
		for range 10 {
			began := time.Now()
			_, err := id.Get(t.Context(), Request{Hold: time.Hour})
			wantKind(t, err, LoginNeeded)
			if took := time.Since(began); took != 0 {
				t.Errorf("held for %v", took)
			}
			time.Sleep(loginAgain/10 - time.Second)
		}
		wantCalls(t, src.fake, 1)
	})
}

func TestErrorTellsWhenTheIssuerMayBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		src.fail(errRefused)
		var last *Error
		for i := range enough {
			last = mustFail(t, id, Request{Scopes: []string{fmt.Sprint(i)}})
		}
		if last.RetryAfter < outage*4/5 {
			t.Errorf("the failure that blocked the issuer says %v, want the block's time", last.RetryAfter)
		}
		src.fail(nil)
		time.Sleep(last.RetryAfter)
		mustGet(t, id, Request{Scopes: []string{"another"}})
	})
}

// Who has something to fall back upon does not wait for a held flight that another waits for.
func TestFallbackIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		first := mustGet(t, id, Request{})
		second, err := id.Get(t.Context(), Request{Rejected: first.Credential.Fingerprint()})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var held answers
		held.ask(t.Context(), 1, id, Request{Rejected: second.Credential.Fingerprint(), Hold: time.Minute})
		synctest.Wait()
		a, err := id.Get(t.Context(), Request{MinTTL: 2 * time.Hour, Hold: time.Minute})
		if err != nil || !a.Short || time.Since(began) != 0 {
			t.Errorf("got %+v, %v after %v, want what there is at once", a, err, time.Since(began))
		}
		held.want(t, 1, 0)
	})
}

func TestWaitsAfterFailures(t *testing.T) {
	for range 200 {
		if d := backoff("", time.Hour, 4, 100*time.Second); d < 30*time.Second || d > 70*time.Second {
			t.Fatalf("%v with 100s left, want an attempt that leaves time for another", d)
		}
		if d := again("", 9); d < time.Second || d > 9*time.Second {
			t.Fatalf("%v with nothing to serve", d)
		}
	}
	var most time.Duration
	for range 200 {
		most = max(most, again("", 9))
	}
	if most < 6*time.Second {
		t.Errorf("%v at most of 200, want it to have grown, with jitter", most)
	}
}

func TestLineByWhatRetrievalsTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		src.takes = 10 * time.Second
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Concurrency: 1, Timeout: time.Minute})
		mustGet(t, id, Request{})
		began := time.Now()
		var got answers
		for i := range 30 {
			got.ask(t.Context(), 1, id, Request{Scopes: []string{fmt.Sprint(i)}})
			synctest.Wait()
		}
		got.mu.Lock()
		if n := len(got.bad); n < 20 || time.Since(began) != 0 {
			t.Errorf("%d were refused at once, want those who would wait for over a minute", n)
		}
		got.mu.Unlock()
		got.wg.Wait()
		synctest.Wait()
		if w := id.limit.turns.waiting; w != 0 || id.limit.running != 0 {
			t.Errorf("%d wait and %d run, long after", w, id.limit.running)
		}
	})
}

func TestEvictedSlotsLeaveTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{Entries: 10})
		id := add(t, c, IdentityConfig{Source: &fake{varies: FieldTenant}})
		for i := range 1000 {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		if n := len(c.scheduler.heap); n > 10 {
			t.Errorf("%d slots are in the schedule of a cache of 10", n)
		}
		step(t, 20*time.Minute)
		time.Sleep(longestSleep + time.Second)
		synctest.Wait()
		c.scheduler.mu.Lock()
		defer c.scheduler.mu.Unlock()
		for i, s := range c.scheduler.heap {
			if i > 0 && c.scheduler.heap[(i-1)/2].wake > s.wake {
				t.Errorf("slot %d comes before its parent after a step", i)
			}
		}
	})
}
