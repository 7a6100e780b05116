package freshet

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRemoveReleasesHeldCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(CacheConfig{})
		src := newIssuer("idp", "app")
		id := add(t, c, IdentityConfig{Source: src})
		src.fail(after(errThrottled, time.Minute))
		mustFail(t, id, Request{})
		ctx, cancel := context.WithCancel(context.Background())
		var ended atomic.Bool
		go func() { _, _ = id.Get(ctx, Request{Hold: 5 * time.Minute}); ended.Store(true) }()
		synctest.Wait()
		c.Remove(id)
		time.Sleep(time.Hour)
		if !ended.Load() {
			t.Errorf("a caller with a hold of 5 minutes still waits an hour after its identity was removed")
		}
		cancel()
		synctest.Wait()
		if n := c.Stats().Flights; n != 0 {
			t.Errorf("%d flights left", n)
		}
		end, stop := context.WithTimeout(context.Background(), time.Hour)
		defer stop()
		if err := c.Close(end); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// The cache is closed between a held flight's reservation and its place in the schedule.
func TestHoldThatRacesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(CacheConfig{})
		src := newIssuer("idp", "app")
		id := add(t, c, IdentityConfig{Source: src})
		src.fail(after(errThrottled, time.Minute))
		mustFail(t, id, Request{})
		for _, s := range c.scheduler.close() { // as Close does, once the reservation was made
			s.turnAway()
		}
		ctx, cancel := context.WithCancel(context.Background())
		var ended atomic.Bool
		go func() { _, _ = id.Get(ctx, Request{Hold: 5 * time.Minute}); ended.Store(true) }()
		synctest.Wait()
		time.Sleep(time.Hour)
		if !ended.Load() {
			t.Errorf("a caller with a hold of 5 minutes still waits an hour later")
		}
		cancel()
		end, stop := context.WithTimeout(context.Background(), time.Hour)
		defer stop()
		if err := c.Close(end); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// Who waits in the line for a limit asks no issuer that has said Retry-After meanwhile.
func TestLineObeysABlockThatBeganMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		src.slow(100 * time.Millisecond)
		src.fail(after(errThrottled, 10*time.Second))
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Concurrency: 1})
		for i := range 20 {
			go func() { _, _ = id.Get(context.Background(), Request{Scopes: []string{fmt.Sprint(i)}}) }()
		}
		time.Sleep(9 * time.Second)
		wantCalls(t, src.fake, 1)
	})
}

// A second attempt that its identity's own line refuses is nothing against the issuer.
func TestOwnLimitIsNotTheIssuersRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		src := newIssuer("idp", "app")
		n := 0
		src.answer(func(k int64, _ Request) (*Credential, error) {
			if n++; n == 1 {
				return nil, errServer
			}
			return NewBearer(fmt.Sprint(k), "", src.validity(Now()))
		})
		id := add(t, c, IdentityConfig{Name: "slow", Source: src, Rate: 1.0 / 300})
		other := add(t, c, IdentityConfig{Name: "other", Source: src})
		_, _ = id.Get(context.Background(), Request{})
		for _, s := range c.Issuers() {
			if s.Block != nil {
				t.Errorf("%+v is blocked for %v: %v", s.Target, s.RetryIn, s.Block)
			}
		}
		if _, err := other.Get(context.Background(), Request{}); err != nil {
			t.Errorf("another identity of the target, without a limit: %v", err)
		}
	})
}

// A rate is used up by many tenants' refreshes, however long each takes.
func TestRateIsUsedByQueuesOfManyTenants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		src := newIssuer("idp", "app")
		src.lifetime = time.Hour
		id := add(t, c, IdentityConfig{Source: src, Rate: 10})
		for i := range 50 {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		src.slow(10 * time.Second)
		before := src.calls.Load()
		id.Changed() // all 50 are to be replaced: 5 s to begin at 10 a second
		time.Sleep(6 * time.Second)
		if got := src.calls.Load() - before; got < 50 {
			t.Errorf("%d retrievals began in 6 s, want 50 at a rate of 10 a second", got)
		}
		time.Sleep(30 * time.Second)
	})
}

// While a probe waits for its input, another may find out.
func TestProbeThatWaitsForItsInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		in := newIssuer("oidc", "")
		in.slow(time.Hour)
		input := add(t, c, IdentityConfig{Name: "in", Source: in})
		sts := newIssuer("sts", "app")
		plain := add(t, c, IdentityConfig{Name: "plain", Source: sts})
		out := &derivedAt{newDerived(Need{}), "sts", "app"}
		chain := add(t, c, IdentityConfig{Name: "chain", Source: out, From: input})
		sts.fail(after(errThrottled, 10*time.Second))
		mustFail(t, plain, Request{})
		sts.fail(nil)
		time.Sleep(11 * time.Second)
		go func() { _, _ = chain.Get(context.Background(), Request{}) }() // becomes the probe
		synctest.Wait()
		if _, err := plain.Get(context.Background(), Request{}); err != nil {
			t.Errorf("its issuer is well, and it is refused since another's input hangs: %v", err)
		}
		time.Sleep(2 * time.Minute)
	})
}

type derivedAt struct {
	*derived
	host, client string
}

func (d *derivedAt) Varies() Fields { return FieldTenant }
func (d *derivedAt) Target(req Request) Target {
	return Target{Host: d.host, Tenant: req.Tenant, Client: d.client}
}

// A hold without end holds.
func TestHoldWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		src.fail(after(errThrottled, 10*time.Second))
		mustFail(t, id, Request{})
		src.fail(nil)
		if _, err := id.Get(context.Background(), Request{Hold: math.MaxInt64}); err != nil {
			t.Errorf("held for ever: %v", err)
		}
		src.fail(after(errThrottled, 10*time.Second))
		mustFail(t, id, Request{Tenant: "b"})
		src.fail(nil)
		ctx, cancel := context.WithTimeout(context.Background(), math.MaxInt64)
		defer cancel()
		if _, err := id.Get(ctx, Request{Tenant: "b"}); err != nil {
			t.Errorf("deadline in 292 years: %v", err)
		}
	})
}

// An operator opens the gate of an issuer though the key that shut it is forgotten.
func TestUnblockWithoutEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		src.fail(errThrottled)
		mustFail(t, id, Request{})
		time.Sleep(5 * time.Second)
		if n := len(id.Entries()); n != 0 {
		}
		src.fail(nil)
		id.Unblock()
		if _, err := id.Get(context.Background(), Request{}); err != nil {
			t.Errorf("after Unblock: %v", err)
		}
	})
}

// A fresh input's 5xx is tried again by its own retrieval, and not by the derived one's as well.
func TestFreshInputsServerErrorIsRetriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		in := newIssuer("oidc", "")
		in.fail(errServer)
		input := add(t, c, IdentityConfig{Name: "in", Source: in})
		id := add(t, c, IdentityConfig{Name: "chain", Source: newDerived(Need{Fresh: true}), From: input})
		_, _ = id.Get(context.Background(), Request{})
		wantCalls(t, in.fake, 2)
	})
}

// An input's failure in a second attempt is nothing against the derived issuer.
func TestInputsRetryAfterInASecondAttemptSparesTheDerivedIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		in := newIssuer("oidc", "")
		in.answer(func(n int64, _ Request) (*Credential, error) {
			if n > 1 {
				return nil, after(errThrottled, 10*time.Minute)
			}
			return NewBearer("t", "", in.validity(Now()))
		})
		input := add(t, c, IdentityConfig{Name: "in", Source: in})
		out := &derivedAt{newDerived(Need{Fresh: true}), "sts", "app"}
		out.fail(errServer)
		id := add(t, c, IdentityConfig{Name: "chain", Source: out, From: input})
		_, _ = id.Get(context.Background(), Request{})
		for _, s := range c.Issuers() {
			if s.Target.Host == "sts" && s.Block != nil {
				t.Errorf("%+v is blocked for %v: %v", s.Target, s.RetryIn, s.Block)
			}
		}
	})
}

// A probe whose source ends its goroutine has found out, too.
func TestGoexitInAFreshInputThatIsAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		in := newIssuer("oidc", "")
		in.fail(after(errThrottled, 10*time.Second))
		input := add(t, c, IdentityConfig{Name: "in", Source: in})
		id := add(t, c, IdentityConfig{Name: "chain", Source: newDerived(Need{Fresh: true}), From: input})
		_, _ = id.Get(context.Background(), Request{})
		in.fail(nil)
		in.answer(func(n int64, _ Request) (*Credential, error) { runtime.Goexit(); return nil, nil })
		time.Sleep(time.Minute)
		_, _ = id.Get(context.Background(), Request{})
		in.answer(nil)
		time.Sleep(time.Hour)
		if _, err := id.Get(context.Background(), Request{}); err != nil {
			t.Errorf("an hour later: %v", err)
		}
		synctest.Wait() // a flight leaves once it has answered
		if n := c.Stats().Flights; n != 0 {
			t.Errorf("%d flights", n)
		}
	})
}

// A probe whose source is deaf has found out at its deadline.
func TestDeafFreshInputThatIsAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		in := newIssuer("oidc", "")
		in.fail(after(errThrottled, 10*time.Second))
		input := add(t, c, IdentityConfig{Name: "in", Source: in})
		id := add(t, c, IdentityConfig{Name: "chain", Source: newDerived(Need{Fresh: true}), From: input})
		_, _ = id.Get(context.Background(), Request{})
		in.fail(nil)
		in.deaf = true
		in.slow(24 * time.Hour)
		time.Sleep(time.Minute)
		_, _ = id.Get(context.Background(), Request{})
		in.slow(0)
		time.Sleep(time.Hour)
		if _, err := id.Get(context.Background(), Request{}); err != nil {
			t.Errorf("an hour after the input's time ended: %v", err)
		}
		time.Sleep(24 * time.Hour)
	})
}

// Refreshes that wait for an input that hangs leave room for the callers of the derived issuer.
func TestRefreshesThatWaitForAnInputLeaveRoomForCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		in := newIssuer("oidc", "")
		in.lifetime = 3 * time.Hour
		input := add(t, c, IdentityConfig{Name: "in", Source: in})
		out := &derivedAt{newDerived(Need{Request: Request{Tenant: ""}}), "sts", "app"}
		id := add(t, c, IdentityConfig{Name: "chain", Source: out, From: input})
		plainSrc := newIssuer("sts", "other")
		plain := add(t, c, IdentityConfig{Name: "plain", Source: plainSrc})
		for i := range 5000 {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		in.slow(time.Hour)
		input.Reject(mustGet(t, input, Request{}).Credential.Fingerprint())
		synctest.Wait()
		id.Changed()
		synctest.Wait()
		st := c.Stats()
		if st.Flights > 1000 {
			t.Errorf("%d flights of refreshes that nobody waits for, want a bounded share", st.Flights)
		}
		if _, err := plain.Get(context.Background(), Request{}); err != nil {
			t.Errorf("a caller at the same issuer: %v", err)
		}
		time.Sleep(3 * time.Minute)
	})
}

// A host whose flight is refused for crowding is forgotten.
func TestHostsOfRefusedFlightsAreForgotten(t *testing.T) {
	c := newCache(t, CacheConfig{})
	c.governor.mu.Lock()
	c.governor.total = maxFlights
	c.governor.mu.Unlock()
	for i := range 1000 {
		c.governor.admit(nil, Target{Host: fmt.Sprint(i)}, false)
	}
	c.governor.mu.Lock()
	c.governor.total = 0
	n := len(c.governor.hosts)
	c.governor.mu.Unlock()
	if n != 0 {
		t.Errorf("%d hosts are kept", n)
	}
}

// However many callers come, refreshes have their turns at a limit.
func TestCallersDoNotStarveRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		src := newIssuer("idp", "app")
		src.lifetime = 10 * time.Minute
		id := add(t, c, IdentityConfig{Source: src, Concurrency: 1})
		mustGet(t, id, Request{Tenant: "good"})
		src.slow(time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		for w := range 5 { // junk: always some in line
			go func() {
				for i := 0; ctx.Err() == nil; i++ {
					_, _ = id.Get(ctx, Request{Tenant: "junk", Scopes: []string{fmt.Sprint(w, "/", i)}})
				}
			}()
		}
		h := mustHandle(t, id, Request{Tenant: "good"})
		waited := 0
		for range 3600 {
			time.Sleep(time.Second)
			if a, err := h.Get(context.Background()); err != nil || a.Retrieved {
				waited++
			}
		}
		cancel()
		if waited > 0 {
			t.Errorf("a caller with a credential in use waited %d times in an hour since its refresh had no turn; waiting %d", waited, c.Stats().Waiting)
		}
	})
}

// A refresh that a block put off keeps no caller out once the block is over.
func TestRefusedRefreshDoesNotKeepCallersOut(t *testing.T) {
	failed := 0
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, CacheConfig{})
			src := newIssuer("idp", "app")
			src.lifetime = 100 * time.Second
			id := add(t, c, IdentityConfig{Source: src})
			mustGet(t, id, Request{})
			h := mustHandle(t, id, Request{})
			b := newIssuer("idp", "app")
			b.fail(after(errThrottled, 97500*time.Millisecond)) // ends just before 98 s, where nothing is served
			other := add(t, c, IdentityConfig{Name: "other", Source: b})
			mustFail(t, other, Request{})
			time.Sleep(60 * time.Second)
			_, _ = h.Get(context.Background())
			synctest.Wait()
			time.Sleep(38500 * time.Millisecond) // 98.5: the block is over for a second
			calls := src.calls.Load()
			if _, err := h.Get(context.Background()); err != nil {
				failed++
				_ = calls
			}
		})
	}
	if failed > 0 {
		t.Errorf("%d of 20 callers were refused a second after the block had ended, with nothing served and the issuer well", failed)
	}
}

// Keys that turn out to need no refresh take no turn of a rate.
func TestKeysThatNeedNoRefreshTakeNoTurnOfARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		src := newIssuer("idp", "app")
		id := add(t, c, IdentityConfig{Source: src, Rate: 1})
		for i := range 50 {
			mustGet(t, id, Request{Tenant: "a", Scopes: []string{fmt.Sprint(i)}})
		}
		id.Changed()
		synctest.Wait()
		// 49 of them end meanwhile (evicted)
		c.mu.Lock()
		var last *slot
		for _, s := range id.ring.slots {
			if v := s.cur.Load(); last == nil || v.cred.until().Mono > last.cur.Load().cred.until().Mono {
				last = s
			}
		}
		for len(id.ring.slots) > 1 {
			s := id.ring.slots[0]
			if s == last {
				s = id.ring.slots[1]
			}
			s.mu.Lock()
			s.gone = true
			s.cur.Store(nil)
			s.mu.Unlock()
			c.removeLocked(s)
		}
		c.mu.Unlock()
		before := src.calls.Load()
		time.Sleep(5 * time.Second)
		if got := src.calls.Load() - before; got == 0 {
			t.Errorf("the one key left had no turn within 5 s at a rate of 1/s, behind keys that are gone; waiting %d", c.Stats().Waiting)
		}
	})
}

// A line that does not move keeps no ticket of those who left.
func TestTicketsOfThoseWhoLeftAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		src := newIssuer("idp", "app")
		src.deaf = true
		src.slow(1000 * time.Hour)
		id := add(t, c, IdentityConfig{Source: src, Concurrency: 1, Timeout: time.Second})
		for i := range 200 {
			_, _ = id.Get(context.Background(), Request{Scopes: []string{fmt.Sprint(i)}, Tenant: "a"})
		}
		c.governor.mu.Lock()
		n := 0
		for _, l := range id.limit.turns.lines {
			n += l.tickets.len()
		}
		c.governor.mu.Unlock()
		if n > 20 {
			t.Errorf("%d tickets kept of callers who left", n)
		}
		time.Sleep(1000 * time.Hour)
	})
}

// A held flight that everybody left gives its place back at once.
func TestHeldFlightThatEverybodyLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		src := newIssuer("idp", "app")
		src.fail(after(errThrottled, time.Hour))
		id := add(t, c, IdentityConfig{Source: src})
		mustFail(t, id, Request{})
		ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
		for i := range 5000 {
			go func() { _, _ = id.Get(ctx, Request{Scopes: []string{fmt.Sprint(i)}}) }()
		}
		synctest.Wait()
		cancel()
		time.Sleep(time.Minute)
		if st := c.Stats(); st.Flights > 0 {
			t.Errorf("everybody has left, and %d flights are reserved: %+v", st.Flights, st)
		}
		time.Sleep(time.Hour)
	})
}

// A credential that comes after its deadline answers those who are held meanwhile.
func TestLateCredentialAnswersHeldCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		src := newIssuer("idp", "app")
		src.deaf = true
		src.slow(12 * time.Second)
		id := add(t, c, IdentityConfig{Source: src, Timeout: 10 * time.Second})
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		// its first flight times out at 10 s; the issuer is throttling others meanwhile
		b := newIssuer("idp", "app")
		b.fail(after(errThrottled, 30*time.Second))
		other := add(t, c, IdentityConfig{Name: "other", Source: b})
		go func() { time.Sleep(9 * time.Second); _, _ = other.Get(ctx, Request{}) }()
		began := time.Now()
		if _, err := id.Get(ctx, Request{}); err != nil {
			t.Fatal(err)
		}
		if time.Since(began) > 13*time.Second {
			t.Errorf("the credential came at 12 s; the held caller got it at %v", time.Since(began))
		}
	})
}

// A flight that comes to ask after its deadline leaves no probe behind.
func TestFlightPastItsDeadlineIsNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		sts := newIssuer("sts", "app")
		plain := add(t, c, IdentityConfig{Name: "plain", Source: sts})
		sts.fail(after(errThrottled, 10*time.Second))
		mustFail(t, plain, Request{})
		sts.fail(nil)
		input := add(t, c, IdentityConfig{Name: "in", Source: &fake{}})
		mustGet(t, input, Request{})
		out := &derivedAt{newDerived(Need{}), "sts", "app"}
		out.pause = 20 * time.Second
		chain := add(t, c, IdentityConfig{Name: "chain", Source: out, From: input, Timeout: 10 * time.Second})
		time.Sleep(11 * time.Second)
		out.fail(context.DeadlineExceeded)
		_, _ = chain.Get(context.Background(), Request{})
		time.Sleep(time.Hour)
		if _, err := plain.Get(context.Background(), Request{}); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// A chain whose input hangs leaves other identities of its issuer their refreshes.
func TestHungInputLeavesOthersTheirRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		in := newIssuer("oidc", "")
		in.lifetime = 3 * time.Hour
		input := add(t, c, IdentityConfig{Name: "in", Source: in})
		id := add(t, c, IdentityConfig{Name: "chain", Source: &derivedAt{newDerived(Need{}), "sts", "app"}, From: input})
		src := newIssuer("sts", "other")
		plain := add(t, c, IdentityConfig{Name: "plain", Source: src})
		first := mustGet(t, plain, Request{})
		for i := range 1000 {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		in.slow(time.Hour)
		input.Reject(mustGet(t, input, Request{}).Credential.Fingerprint())
		synctest.Wait()
		id.Changed()
		synctest.Wait()
		plain.Changed()
		synctest.Wait()
		time.Sleep(time.Second)
		if a := mustGet(t, plain, Request{}); a.Credential == first.Credential {
			t.Errorf("not replaced while another identity's input hangs: %+v", c.Stats())
		}
		time.Sleep(3 * time.Minute)
	})
}

// A limit that is widened is used.
func TestWidenedLimitIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "app")
		id := alone(t, src)
		for i := range 100 {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		id.SetLimit(1, 0)
		src.slow(10 * time.Second)
		id.Changed()
		time.Sleep(5 * time.Second)
		id.SetLimit(10, 0)
		time.Sleep(26 * time.Second)
		if n := src.running.Load(); n != 10 {
			t.Errorf("%d run, want 10", n)
		}
		time.Sleep(time.Hour)
	})
}
