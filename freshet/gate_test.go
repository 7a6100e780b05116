package freshet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// issuer is a fake that says whom it asks: a host of its own for every tenant's first letters before a slash.
type issuer struct {
	*fake
	host, client string
}

func (i issuer) Target(req Request) Target {
	return Target{Host: i.host, Tenant: req.Tenant, Client: i.client}
}

func newIssuer(host, client string) issuer {
	return issuer{&fake{varies: FieldTenant | FieldScopes}, host, client}
}

var (
	errThrottled = &Error{Kind: Unavailable, Why: "too many requests", Status: http.StatusTooManyRequests}
	errServer    = &Error{Kind: Unavailable, Why: "answered 500", Status: http.StatusInternalServerError}
	errRefused   = &Error{Kind: Unavailable, Why: "connection refused", Cause: &url.Error{Op: "Post", Err: io.EOF}}
)

// after is an error with a Retry-After.
func after(e *Error, d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

func mustFail(t testing.TB, id *Identity, req Request) *Error {
	t.Helper()
	_, err := id.Get(context.Background(), req)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}

func TestRetryAfterStopsCallsOfItsTargetAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		src := newIssuer("idp", "app")
		one := add(t, c, IdentityConfig{Name: "one", Source: src})
		two := add(t, c, IdentityConfig{Name: "two", Source: src})
		app := newIssuer("idp", "other app")
		other := add(t, c, IdentityConfig{Name: "other", Source: app})
		src.fail(after(errThrottled, 10*time.Second))
		mustFail(t, one, Request{Tenant: "a"})
		src.fail(nil)
		wantCalls(t, src.fake, 1)
		for i := range 9 {
			time.Sleep(time.Second)
			for _, id := range []*Identity{one, two} { // whoever asks for it, and whatever it is
				e := mustFail(t, id, Request{Tenant: "a", Scopes: []string{fmt.Sprint(i)}})
				if left := 9*time.Second - time.Duration(i)*time.Second; e.Kind != Unavailable || e.RetryAfter != left || e.Why != errThrottled.Why || e.Status != 429 {
					t.Fatalf("after %d s: got %v (retry after %v), want the original cause and %v", i+1, e, e.RetryAfter, left)
				}
			}
		}
		wantCalls(t, src.fake, 1) // and being told has made it no longer
		mustGet(t, other, Request{Tenant: "a"})
		mustGet(t, one, Request{Tenant: "b"})
		time.Sleep(time.Second + 1)
		mustGet(t, two, Request{Tenant: "a"})
	})
}

func TestRetryAfterIsBelievedForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "")
		id := alone(t, src)
		src.fail(after(errThrottled, 24*time.Hour))
		mustFail(t, id, Request{})
		src.fail(nil)
		time.Sleep(time.Hour - time.Second)
		mustFail(t, id, Request{})
		wantCalls(t, src.fake, 1)
		time.Sleep(time.Second)
		mustGet(t, id, Request{})
	})
}

func TestThrottlingWithoutATimeBlocksForAboutAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "")
		id := alone(t, src)
		src.fail(errThrottled)
		var at []time.Duration
		began := time.Now()
		for range 20 * 60 {
			if n := src.calls.Load(); int64(len(at)) < n {
				at = append(at, time.Since(began))
			}
			mustFail(t, id, Request{})
			time.Sleep(time.Second)
		}
		if len(at) < 4 || len(at) > 6 {
			t.Fatalf("%d calls in 20 minutes, at %v", len(at), at)
		}
		for i, want := range []time.Duration{60, 120, 240} {
			if gap := (at[i+1] - at[i]) / time.Second; gap < want*8/10 || gap > want*12/10+2 {
				t.Errorf("%d: %d s, want about %d", i, gap, want)
			}
		}
	})
}

func TestServerErrorIsRetriedOnceWithinItsFlight(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   *Error
		calls int64
	}{
		{"500", errServer, 2},
		{"503", &Error{Kind: Unavailable, Why: "503", Status: 503}, 2},
		{"503 with Retry-After", &Error{Kind: Unavailable, Why: "503", Status: 503, RetryAfter: 5 * time.Second}, 1},
		{"429", errThrottled, 1},
		{"no connection", errRefused, 1},
		{"denied with a 500", &Error{Kind: Denied, Why: "invalid_client", Status: 500}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var events []Event
				src := newIssuer("idp", "")
				id := add(t, newCache(t, CacheConfig{Observe: func(e Event) { events = append(events, e) }}), IdentityConfig{Source: src})
				src.fail(tt.err)
				began := time.Now()
				mustFail(t, id, Request{})
				synctest.Wait()
				wantCalls(t, src.fake, tt.calls)
				if took := time.Since(began); took != time.Duration(tt.calls-1)*retryIn {
					t.Errorf("it took %v", took)
				}
				if len(events) != 1 || events[0].Retried != (tt.calls == 2) {
					t.Errorf("got %+v, want one retrieval", events)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "")
		id := alone(t, src)
		src.answer(func(n int64, _ Request) (*Credential, error) {
			if n == 1 {
				return nil, errServer
			}
			return NewBearer("second", "", Validity{Lifetime: time.Hour})
		})
		if a := mustGet(t, id, Request{}); a.Credential.Token() != "second" {
			t.Errorf("got %v", a)
		}
		synctest.Wait()
		if list := id.cache.Issuers(); len(list) != 0 {
			t.Errorf("got %+v held against an issuer that recovered", list)
		}
	})
}

// An issuer that is down for an hour is asked by one probe a minute, however many keys are wanted of it, and works for all as soon
// as one has found it well.
func TestOutageIsProbedAndNotHammered(t *testing.T) {
	for _, down := range []*Error{errServer, errRefused, {Kind: Unavailable, Why: "timed out", Cause: context.DeadlineExceeded}} {
		synctest.Test(t, func(t *testing.T) {
			src := newIssuer("idp", "")
			id := alone(t, src)
			src.fail(down)
			for range 60 * 60 {
				mustFail(t, id, Request{Scopes: []string{"a"}})
				mustFail(t, id, Request{Scopes: []string{"b"}})
				time.Sleep(time.Second)
			}
			if n := src.calls.Load(); n < 55 || n > 90 {
				t.Errorf("%v: asked %d times in an hour, want about once a minute", down, n)
			}
			list := id.cache.Issuers()
			if !slices.ContainsFunc(list, func(s IssuerState) bool { return s.Block != nil && s.Block.Why == down.Why && s.Failures >= enough }) {
				t.Errorf("got %+v, want the block with its cause", list)
			}
			src.fail(nil)
			time.Sleep(outageMost * 6 / 5)
			mustGet(t, id, Request{Scopes: []string{"a"}})
			mustGet(t, id, Request{Scopes: []string{"b"}})
		})
	}
}

func TestHalfOpenGateLetsOneProbeThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "")
		id := alone(t, src)
		src.fail(after(errThrottled, 10*time.Second))
		mustFail(t, id, Request{})
		src.fail(errServer)
		src.slow(3 * time.Second)
		time.Sleep(10 * time.Second)
		var got answers
		for i := range 100 {
			got.ask(t.Context(), 1, id, Request{Scopes: []string{fmt.Sprint(i)}})
		}
		got.want(t, 0, 100)
		wantCalls(t, src.fake, 2) // no second try of a 5xx either
		for _, err := range got.bad {
			if e := wantKind(t, err, Unavailable); e.RetryAfter <= 0 {
				t.Errorf("got %v without a time", e)
			}
		}
	})
}

func TestThreeTenantsBlocksWidenToTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		src := newIssuer("idp", "app")
		id := add(t, c, IdentityConfig{Name: "id", Source: src})
		elsewhere := add(t, c, IdentityConfig{Name: "elsewhere", Source: newIssuer("another", "app")})
		src.fail(after(errThrottled, 30*time.Second))
		for i := range 2 {
			mustFail(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		src.fail(nil)
		mustGet(t, id, Request{Tenant: "well"})
		src.fail(after(errThrottled, 30*time.Second))
		mustFail(t, id, Request{Tenant: "third"})
		src.fail(nil)
		calls := src.calls.Load()
		if e := mustFail(t, id, Request{Tenant: "fourth"}); e.RetryAfter != 30*time.Second || e.Status != 429 {
			t.Errorf("got %v, retry after %v, want the host's block", e, e.RetryAfter)
		}
		wantCalls(t, src.fake, calls)
		mustGet(t, elsewhere, Request{})
		whole := 0
		for _, s := range c.Issuers() {
			if s.Whole && s.Target == (Target{Host: "idp"}) && s.Block != nil {
				whole++
			}
		}
		if whole != 1 {
			t.Errorf("got %+v, want the host shown as blocked", c.Issuers())
		}
		time.Sleep(30*time.Second + 1)
		mustGet(t, id, Request{Tenant: "fourth"})
	})
}

// Tenants that all fail once, with none that succeeds, are their host's outage; failures among successes are not.
func TestFailuresOfManyTenantsAreTheHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		for i := range 20 {
			src.fail(errRefused)
			mustFail(t, id, Request{Tenant: fmt.Sprint("bad-", i)})
			src.fail(nil)
			mustGet(t, id, Request{Tenant: fmt.Sprint("good-", i)})
		}
		src.fail(errRefused)
		calls := src.calls.Load()
		for i := range 20 {
			mustFail(t, id, Request{Tenant: fmt.Sprint("down-", i)})
		}
		wantCalls(t, src.fake, calls+wide)
	})
}

// A host is blocked for all once it throttles or fails three tenants. One tenant is one, however many clients ask in it; where there
// are no tenants, clients are told apart.
func TestThreeClientsOfOneTenantDoNotBlockItsHost(t *testing.T) {
	for _, failure := range []*Error{after(errThrottled, 30*time.Second), errThrottled, errServer, errRefused} {
		for _, tt := range []struct {
			name    string
			bad     [3]Target // tenant and client
			beside  Target
			blocked bool
		}{
			{"three clients of one tenant", [3]Target{{Tenant: "a", Client: "1"}, {Tenant: "a", Client: "2"}, {Tenant: "a", Client: "3"}}, Target{Tenant: "b", Client: "4"}, false},
			{"one of them in two tenants", [3]Target{{Tenant: "a", Client: "1"}, {Tenant: "a", Client: "2"}, {Tenant: "b", Client: "2"}}, Target{Tenant: "c", Client: "2"}, false},
			{"a client in three tenants", [3]Target{{Tenant: "a", Client: "1"}, {Tenant: "b", Client: "1"}, {Tenant: "c", Client: "1"}}, Target{Tenant: "d", Client: "1"}, true},
			{"a client each of three tenants", [3]Target{{Tenant: "a", Client: "1"}, {Tenant: "b", Client: "2"}, {Tenant: "c", Client: "3"}}, Target{Tenant: "d", Client: "4"}, true},
			{"three clients without tenants", [3]Target{{Client: "1"}, {Client: "2"}, {Client: "3"}}, Target{Client: "4"}, true},
		} {
			t.Run(fmt.Sprintf("%s (%v), retry after %v", tt.name, failure, failure.RetryAfter), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCache(t, CacheConfig{})
					of := make(map[string]*Identity) // client → its identity
					src := newIssuer("idp", "")
					ask := func(at Target) (Answer, error) {
						id := of[at.Client]
						if id == nil {
							id = add(t, c, IdentityConfig{Name: "client-" + at.Client, Source: issuer{src.fake, src.host, at.Client}})
							of[at.Client] = id
						}
						return id.Get(t.Context(), Request{Tenant: at.Tenant})
					}
					src.fail(failure)
					for _, at := range tt.bad {
						before := src.calls.Load()
						_, err := ask(at)
						if wantKind(t, err, Unavailable); src.calls.Load() == before {
							t.Fatalf("%+v was refused, want the issuer to have been asked", at)
						}
					}
					src.fail(nil)
					calls := src.calls.Load()
					_, err := ask(tt.beside)
					if !tt.blocked {
						if err != nil {
							t.Errorf("another tenant got %v, want a credential", err)
						}
						return
					}
					if e := wantKind(t, err, Unavailable); e.Why != failure.Why || e.RetryAfter <= 0 {
						t.Errorf("got %v, retry after %v; want the host's block", e, e.RetryAfter)
					}
					wantCalls(t, src.fake, calls)
				})
			})
		}
	}
}

func TestFailureOfAProgramIsItsKeysAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("helper", "")
		id := alone(t, src)
		src.fail(&Error{Kind: Unavailable, Why: "helper exited with 1"})
		for i := range 10 {
			mustFail(t, id, Request{Scopes: []string{fmt.Sprint(i)}})
		}
		wantCalls(t, src.fake, 10)
		src.fail(nil)
		mustGet(t, id, Request{Scopes: []string{"good"}})
	})
}

func TestTerminalFailuresAreRemembered(t *testing.T) {
	login := &Error{Kind: LoginNeeded, Why: "not logged in", Hint: "run az login"}
	client := &Error{Kind: Denied, Why: "invalid_client", Status: http.StatusUnauthorized}
	scope := &Error{Kind: Denied, Why: "invalid_scope", Status: http.StatusBadRequest}
	for _, tt := range []struct {
		name   string
		err    *Error
		lasts  time.Duration
		others bool // of the identity's keys are spared the attempt as well
	}{
		{"login needed", login, loginAgain, true},
		{"a bad client secret", client, deniedAgain, true},
		{"a scope that is refused", scope, deniedAgain, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, cure := range map[string]func(*Identity){"time": nil, "a change": (*Identity).Changed, "an operator": (*Identity).Unblock} {
				synctest.Test(t, func(t *testing.T) {
					c := newCache(t, CacheConfig{})
					src := newIssuer("idp", "app")
					id := add(t, c, IdentityConfig{Name: "id", Source: src})
					beside := add(t, c, IdentityConfig{Name: "beside", Source: src})
					src.fail(tt.err)
					mustFail(t, id, Request{Scopes: []string{"a"}})
					src.fail(nil)
					calls := src.calls.Load()
					time.Sleep(tt.lasts - time.Second)
					if e := mustFail(t, id, Request{Scopes: []string{"a"}}); e.Kind != tt.err.Kind || e.Why != tt.err.Why || e.Hint != tt.err.Hint || e.RetryAfter != time.Second {
						t.Errorf("got %v (%s), retry after %v", e, e.Hint, e.RetryAfter)
					}
					wantCalls(t, src.fake, calls)
					if tt.others {
						mustFail(t, id, Request{Scopes: []string{"b"}})
						wantCalls(t, src.fake, calls)
					} else {
						mustGet(t, id, Request{Scopes: []string{"b"}})
					}
					mustGet(t, beside, Request{Scopes: []string{"a"}})
					if cure == nil {
						time.Sleep(time.Second)
					} else {
						cure(id)
					}
					if a := mustGet(t, id, Request{Scopes: []string{"a"}}); a.Stale {
						t.Errorf("%s: got %v", name, a)
					}
					mustGet(t, id, Request{Scopes: []string{"b"}})
				})
			}
		})
	}
}

// What an issuer wants to see for one scope, or in answer to a challenge, keeps nobody else from asking.
func TestLoginForOneRequestIsOfThatRequestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		src.varies |= FieldClaims
		id := alone(t, src)
		src.fail(&Error{Kind: LoginNeeded, Why: "interaction_required", Status: http.StatusBadRequest})
		mustFail(t, id, Request{Scopes: []string{"guarded"}})
		src.fail(&Error{Kind: LoginNeeded, Why: "az cannot answer claims"})
		mustFail(t, id, Request{Claims: challenge})
		src.fail(nil)
		mustGet(t, id, Request{})
		calls := src.calls.Load()
		mustFail(t, id, Request{Scopes: []string{"guarded"}})
		mustFail(t, id, Request{Claims: challenge})
		wantCalls(t, src.fake, calls)
	})
}

func TestUnblockOpensTheIssuersGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		first := mustGet(t, id, Request{Tenant: "0"})
		src.fail(after(errThrottled, time.Hour))
		for i := range 3 {
			mustFail(t, id, Request{Tenant: fmt.Sprint(i + 1)})
		}
		src.fail(nil)
		time.Sleep(50 * time.Minute) // what is served is due, and its issuer blocked
		if a := mustGet(t, id, Request{Tenant: "0"}); a.Credential != first.Credential || !a.Stale {
			t.Errorf("got %+v, want the old one, stale", a)
		}
		mustFail(t, id, Request{Tenant: "4"})
		id.Unblock()
		synctest.Wait()
		if a := mustGet(t, id, Request{Tenant: "0"}); a.Credential == first.Credential || a.Stale {
			t.Errorf("got %+v, want what is due replaced at once", a)
		}
		mustGet(t, id, Request{Tenant: "4"})
		if e := id.Entries()[0]; e.RetryIn != 0 || e.Err != nil {
			t.Errorf("got %+v", e)
		}
	})
}

// What a retrieval that began before a block brings does not end the block.
func TestSuccessFromBeforeABlockDoesNotEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		src.slow(5 * time.Second)
		var got answers
		got.ask(t.Context(), 1, id, Request{Scopes: []string{"early"}})
		synctest.Wait()
		src.slow(0)
		src.fail(after(errThrottled, time.Minute))
		mustFail(t, id, Request{})
		src.fail(nil)
		got.want(t, 1, 0)
		mustFail(t, id, Request{})
		wantCalls(t, src.fake, 2)
	})
}

func TestTenantsThatAreMadeUpLeaveNoGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		g := &c.governor
		for i := range 20 * minSweep {
			g.mu.Lock()
			g.gate(gateKey{Target: Target{Host: "idp", Tenant: fmt.Sprint(i)}}).failures++
			g.mu.Unlock()
		}
		if n := len(g.gates); n > 2*minSweep {
			t.Errorf("%d gates are kept", n)
		}
	})
}
