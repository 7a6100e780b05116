package freshet

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The outage of the founding measurement: 12 s, from a second before a refresh, at a life of 30 s.
func TestOutageOfTwelveSecondsAtALifeOfThirtyFailsNobody(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			src := newIssuer("idp", "app")
			src.lifetime = 30 * time.Second
			id := alone(t, src)
			mustGet(t, id, Request{})
			time.Sleep(11 * time.Second)
			src.fail(errServer)
			down := time.Now()
			for range 400 {
				if time.Since(down) > 12*time.Second {
					src.fail(nil)
				}
				if _, err := id.Get(t.Context(), Request{Hold: 20 * time.Second}); err != nil {
					t.Fatalf("%v after the outage began: %v", time.Since(down), err)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

func TestCallersAreHeldForTheNextAttempt(t *testing.T) {
	for name, ask := range map[string]func(context.Context) (context.Context, Request, context.CancelFunc){
		"by their deadline": func(ctx context.Context) (context.Context, Request, context.CancelFunc) {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			return ctx, Request{}, cancel
		},
		"by their hold": func(ctx context.Context) (context.Context, Request, context.CancelFunc) {
			return ctx, Request{Hold: 30 * time.Second}, func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newIssuer("idp", "app")
				id := alone(t, src)
				src.fail(after(errThrottled, 10*time.Second))
				ctx, req, cancel := ask(t.Context())
				defer cancel()
				began := time.Now()
				var got answers
				got.ask(ctx, 10_000, id, req)
				synctest.Wait()
				wantCalls(t, src.fake, 1)
				src.fail(nil)
				got.want(t, 10_000, 0)
				wantCalls(t, src.fake, 2)
				if took := time.Since(began); took != 10*time.Second {
					t.Errorf("they were held for %v, want until the issuer may be asked", took)
				}
			})
		})
	}
}

// Keys held for the same moment draw lots for the probe: the first to come may be the one that its issuer cannot serve.
func TestProbeIsDrawnAmongThoseHeld(t *testing.T) {
	probes := make(map[string]int)
	for i := range 60 {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Duration(i)) // lots are a moment's
			src := newIssuer("idp", "app")
			id := alone(t, src)
			src.fail(after(errThrottled, 10*time.Second))
			mustFail(t, id, Request{})
			src.fail(nil)
			var probe atomic.Pointer[string]
			src.answer(func(_ int64, req Request) (*Credential, error) {
				probe.CompareAndSwap(nil, &req.Scopes[0])
				return NewBearer("token", "", Validity{Lifetime: time.Hour})
			})
			var got answers
			for _, scope := range []string{"a", "b", "c"} {
				got.ask(t.Context(), 1, id, Request{Scopes: []string{scope}, Hold: time.Minute})
				synctest.Wait() // one after the other
			}
			got.want(t, 3, 0)
			probes[*probe.Load()]++
		})
	}
	if len(probes) != 3 {
		t.Errorf("the first to be asked for were %v, want each of three at times", probes)
	}
}

func TestCallerWhoCannotWaitIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		src.fail(after(errThrottled, 10*time.Second))
		began := time.Now()
		brief, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		var got answers
		got.ask(t.Context(), 10, id, Request{})
		got.ask(t.Context(), 10, id, Request{Hold: 5 * time.Second})
		got.ask(brief, 10, id, Request{})
		got.ask(brief, 10, id, Request{Hold: time.Minute}) // its deadline counts
		got.want(t, 0, 40)
		if took := time.Since(began); took != 0 {
			t.Errorf("they waited %v", took)
		}
		for _, err := range got.bad {
			if e := wantKind(t, err, Unavailable); e.RetryAfter != 10*time.Second || e.Why != errThrottled.Why {
				t.Errorf("got %v, retry after %v", e, e.RetryAfter)
			}
		}
		// One who can wait does, and those who cannot are still told.
		patient, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		got.ask(patient, 10, id, Request{Hold: 5 * time.Second}) // what it does afterwards needs the rest
		got.want(t, 0, 50)
		if took := time.Since(began); took != 0 {
			t.Errorf("they waited %v, against their hold", took)
		}
		var held answers
		held.ask(patient, 1, id, Request{})
		synctest.Wait()
		time.Sleep(time.Second)
		if e := mustFail(t, id, Request{}); e.RetryAfter != 9*time.Second || time.Since(began) != time.Second {
			t.Errorf("got %v, retry after %v, after %v", e, e.RetryAfter, time.Since(began))
		}
		src.fail(nil)
		held.want(t, 1, 0)
	})
}

func TestTerminalFailureHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		for _, kind := range []Kind{LoginNeeded, Denied, Malformed, Bug, Invalid} {
			src.fail(&Error{Kind: kind, Why: "no"})
			began := time.Now()
			_, err := id.Get(t.Context(), Request{Hold: time.Hour})
			wantKind(t, err, kind)
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: held for %v", kind, took)
			}
			id.Unblock()
		}
	})
}

func TestHeldCallersLeaveAndTheAttemptIsNotMadeForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		src.fail(after(errThrottled, 10*time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var got answers
		got.ask(ctx, 10, id, Request{})
		synctest.Wait()
		if st := id.cache.Stats(); st.Flights != 1 {
			t.Errorf("got %+v, want one for all", st)
		}
		time.Sleep(5 * time.Second)
		cancel()
		got.want(t, 0, 10)
		time.Sleep(time.Minute)
		wantCalls(t, src.fake, 1)
		if st := id.cache.Stats(); st.Flights != 0 || st.Entries != 0 {
			t.Errorf("got %+v, want nothing left", st)
		}
	})
}

func TestHeldCallersAreHeldOnWhileTheIssuerStaysDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		src.fail(errRefused)
		time.AfterFunc(70*time.Second, func() { src.fail(nil) })
		began := time.Now()
		var got answers
		got.ask(t.Context(), 100, id, Request{Hold: 4 * time.Minute})
		got.want(t, 100, 0)
		if took := time.Since(began); took < 70*time.Second || took > 145*time.Second {
			t.Errorf("held for %v of an outage of 70s", took)
		}
		if n := src.calls.Load(); n > 12 {
			t.Errorf("%d attempts meanwhile", n)
		}
	})
}

func TestChangeAndUnblockLetHeldCallersGoOn(t *testing.T) {
	for name, cure := range map[string]func(*Identity){"change": (*Identity).Changed, "unblock": (*Identity).Unblock} {
		synctest.Test(t, func(t *testing.T) {
			id := alone(t, SourceFunc(nil))
			src := newIssuer("idp", "app")
			id.source = src
			src.fail(&Error{Kind: Unavailable, Why: "file is not there yet"})
			began := time.Now()
			var got answers
			got.ask(t.Context(), 10, id, Request{Hold: time.Minute})
			synctest.Wait()
			src.fail(nil)
			cure(id)
			got.want(t, 10, 0)
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: they were held %v longer", name, took)
			}
		})
	}
}

func TestCloseEndsHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		c := NewCache(CacheConfig{})
		id := add(t, c, IdentityConfig{Source: src})
		src.fail(after(errThrottled, time.Hour))
		began := time.Now()
		var got answers
		got.ask(t.Context(), 100, id, Request{Hold: 2 * time.Hour})
		synctest.Wait()
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		got.want(t, 0, 100)
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		wantCalls(t, src.fake, 1)
	})
}

// A rejecter that can wait is held for the time when its version may be replaced.
func TestRejecterIsHeldUntilItsVersionMayBeReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		first := mustGet(t, id, Request{})
		second, err := id.Get(t.Context(), Request{Rejected: first.Credential.Fingerprint()})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if e := mustFail(t, id, Request{Rejected: second.Credential.Fingerprint()}); e.RetryAfter != 30*time.Second {
			t.Errorf("retry after %v", e.RetryAfter)
		}
		third, err := id.Get(t.Context(), Request{Rejected: second.Credential.Fingerprint(), Hold: time.Minute})
		if err != nil || third.Credential == second.Credential || time.Since(began) != 30*time.Second {
			t.Errorf("got %v, %v after %v", third, err, time.Since(began))
		}
	})
}

// A client whose try ends and that tries again at once would otherwise set its own pace.
func TestCallerWhoTriesAgainAtOnceHurriesNothing(t *testing.T) {
	for _, rejects := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			src, apart, from := &fake{}, time.Second, 1
			id := alone(t, src)
			req := Request{}
			if rejects {
				req.Rejected, apart, from = mustGet(t, id, Request{}).Credential.Fingerprint(), 30*time.Second, 2
			}
			src.fail(errDown)
			for range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				stop := time.AfterFunc(20*time.Millisecond, cancel)
				if _, err := id.Get(ctx, req); err == nil {
					t.Error("got a credential of a source that fails")
				}
				stop.Stop()
				cancel()
			}
			times := src.called()
			for i := from; i < len(times); i++ {
				if d := times[i].Sub(times[i-1]); d < apart {
					t.Fatalf("%d attempts, %v apart: want %v", len(times), d, apart)
				}
			}
		})
	}
}

// Who needs an input while a probe finds out whether that can be had again learns what it finds, and is not told the old failure.
func TestInputIsWaitedForWhileAProbeFindsOut(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			in := &fake{varies: FieldTenant | FieldScopes, takes: 300 * time.Millisecond}
			in.fail(&Error{Kind: Denied, Why: "invalid_client", Status: 401})
			out := newDerived(Need{Fresh: fresh})
			out.varies = FieldScopes
			c := newCache(t, CacheConfig{})
			from := add(t, c, IdentityConfig{Name: "in", Source: in})
			id := add(t, c, IdentityConfig{Name: "out", Source: scoped{out}, From: from})
			if _, err := id.Get(t.Context(), Request{Scopes: []string{"a"}}); err == nil {
				t.Fatal("got a credential without an input")
			}
			in.fail(nil)
			time.Sleep(deniedAgain + time.Minute)
			var all sync.WaitGroup
			for _, scope := range []string{"x", "y", "z"} {
				all.Go(func() {
					if _, err := id.Get(t.Context(), Request{Scopes: []string{scope}}); err != nil {
						t.Errorf("%s, with a new input each: %v: %v", scope, fresh, err)
					}
				})
			}
			all.Wait()
		})
	}
}

// scoped is a derived whose input has its own scopes.
type scoped struct{ *derived }

func (d scoped) Needs(req Request) Need {
	need := d.need
	need.Request.Scopes = req.Scopes
	return need
}
