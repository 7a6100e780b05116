package freshet

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// derived is a source that is made from another's credential, and says which in its token.
type derived struct {
	fake
	need  Need
	pause time.Duration // before it says what it needs
}

func (d *derived) Needs(req Request) Need {
	if d.pause > 0 {
		<-time.After(d.pause)
	}
	need := d.need
	if need.Request.Tenant == "*" {
		need.Request.Tenant = req.Tenant
	}
	return need
}

func newDerived(need Need) *derived {
	d := &derived{need: need}
	d.reply = func(n int64, req Request) (*Credential, error) {
		return NewBearer(fmt.Sprintf("%s/%d", req.Input.Token(), n), "", d.validity(Now()))
	}
	return d
}

func TestInputThatIsDueIsRefreshedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, out := &fake{takes: time.Second}, newDerived(Need{})
		out.varies = FieldTenant
		c := newCache(t, CacheConfig{})
		in := add(t, c, IdentityConfig{Name: "in", Source: src})
		id := add(t, c, IdentityConfig{Name: "out", Source: out, From: in})
		if got := mustGet(t, id, Request{Tenant: "a"}).Credential.Token(); got != "token-1/1" {
			t.Errorf("got %s", got)
		}
		time.Sleep(20 * time.Minute)
		if got := mustGet(t, id, Request{Tenant: "b"}).Credential.Token(); got != "token-1/2" {
			t.Errorf("got %s, want one made from the cached input", got)
		}
		time.Sleep(20 * time.Minute)
		if got := mustGet(t, id, Request{Tenant: "c"}).Credential.Token(); !strings.HasPrefix(got, "token-2/") {
			t.Errorf("got %s, want one made from a new input, since the old one is due", got)
		}
		wantCalls(t, src, 2)
	})
}

func TestOldInputIsUsedIfItsRefreshFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, out := &fake{}, newDerived(Need{})
		out.varies = FieldTenant
		c := newCache(t, CacheConfig{})
		in := add(t, c, IdentityConfig{Name: "in", Source: src})
		id := add(t, c, IdentityConfig{Name: "out", Source: out, From: in})
		mustGet(t, id, Request{Tenant: "a"})
		src.fail(errDown)
		time.Sleep(45 * time.Minute)
		before := src.calls.Load()
		for i := range 20 {
			if got := mustGet(t, id, Request{Tenant: fmt.Sprint(i)}).Credential.Token(); !strings.HasPrefix(got, "token-1/") {
				t.Errorf("got %s, want one made from the old input", got)
			}
		}
		if n := src.calls.Load() - before; n > 1 {
			t.Errorf("20 exchanges caused %d attempts at the input, want one at most", n)
		}
		time.Sleep(15 * time.Minute)
		_, err := id.Get(t.Context(), Request{Tenant: "b"})
		e := wantKind(t, err, Unavailable)
		if e.Identity != "out" || !strings.Contains(e.Error(), "in") || !strings.Contains(e.Error(), "issuer is down") {
			t.Errorf("got %v, want both identities and the cause named", e)
		}
	})
}

func TestInputWithLifeEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, out := &fake{}, newDerived(Need{Request: Request{MinTTL: 50 * time.Minute}})
		out.varies = FieldTenant
		c := newCache(t, CacheConfig{})
		in := add(t, c, IdentityConfig{Name: "in", Source: src})
		id := add(t, c, IdentityConfig{Name: "out", Source: out, From: in})
		mustGet(t, id, Request{Tenant: "a"})
		time.Sleep(15 * time.Minute)
		mustGet(t, id, Request{Tenant: "b"})
		wantCalls(t, src, 2)
	})
}

func TestFreshInputIsRetrievedPerExchangeAndKeptByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []Event
		src, out := &fake{varies: FieldAudience}, newDerived(Need{Request: Request{Audience: "sts"}, Fresh: true})
		out.varies = FieldTenant
		c := newCache(t, CacheConfig{Observe: func(e Event) { events = append(events, e) }})
		in := add(t, c, IdentityConfig{Name: "in", Source: src})
		id := add(t, c, IdentityConfig{Name: "out", Source: out, From: in})
		for i := range 5 {
			if got, want := mustGet(t, id, Request{Tenant: fmt.Sprint(i)}).Credential.Token(), fmt.Sprintf("token-%d/%d", i+1, i+1); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			synctest.Wait()
		}
		if n := c.Stats().Entries; n != 5 {
			t.Errorf("%d entries, want those of the derived alone", n)
		}
		if len(events) != 10 || events[0].Identity != "in" || events[0].Reason != ReasonInput || events[1].Input != "in" ||
			events[1].InputFingerprint != events[0].Fingerprint {
			t.Errorf("got events %+v", events)
		}
		mustGet(t, in, Request{Audience: "sts"})
		wantCalls(t, src, 6)
	})
}

func TestNestedChainsOverOneIssuerDoNotDeadlock(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, CacheConfig{})
			first := &fake{varies: FieldTenant, takes: 10 * time.Millisecond}
			id := add(t, c, IdentityConfig{Name: "link-0", Source: first, Issuer: "sts", Concurrency: 1})
			for i := range 4 {
				link := newDerived(Need{Request: Request{Tenant: "*"}, Fresh: fresh})
				link.varies, link.takes = FieldTenant, 10*time.Millisecond
				id = add(t, c, IdentityConfig{Name: fmt.Sprint("link-", i+1), Source: link, From: id, Issuer: "sts", Concurrency: 1})
			}
			began := time.Now()
			var got answers
			for i := range 100 {
				got.ask(t.Context(), 2, id, Request{Tenant: fmt.Sprint(i)})
			}
			got.want(t, 200, 0)
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("100 chains of five took %v, want the issuer's pace of about a second", took)
			}
		})
	}
}

func TestChainsThatFillTheBoundOfFlightsStillGetTheirInputs(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, CacheConfig{})
			in := add(t, c, IdentityConfig{Name: "in", Source: &fake{varies: FieldTenant, takes: time.Second}, Issuer: "sts"})
			out := newDerived(Need{Request: Request{Tenant: "*"}, Fresh: fresh})
			out.varies, out.takes, out.pause = FieldTenant, time.Second, time.Second
			id := add(t, c, IdentityConfig{Name: "out", Source: out, From: in, Issuer: "sts"})
			t.Cleanup(crowded(c, "sts", maxFlightsPerIssuer-100))
			var got answers
			for i := range 100 {
				got.ask(t.Context(), 1, id, Request{Tenant: fmt.Sprint(i)})
			}
			got.want(t, 100, 0)
		})
	}
}

// calling is a source that runs a program which asks freshet again, with the flight's ancestry in its environment.
type calling struct {
	fake
	ask func(ctx context.Context) error
}

func (c *calling) Retrieve(ctx context.Context, req Request) (*Credential, error) {
	if c.ask != nil {
		child := WithAncestry(context.WithoutCancel(context.Background()), Ancestry(ctx)...)
		if err := c.ask(child); err != nil {
			return nil, err
		}
	}
	return c.fake.Retrieve(ctx, req)
}

func TestReentryFailsAtOnceAndPrintsTheCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		az := &calling{}
		a := add(t, c, IdentityConfig{Name: "azure", Kind: "azure-cli", Source: az})
		b := add(t, c, IdentityConfig{Name: "out", Source: newDerived(Need{}), From: a})
		outer := add(t, c, IdentityConfig{Name: "outer", Source: newDerived(Need{}), From: b})
		az.ask = func(ctx context.Context) error {
			_, err := a.Get(ctx, Request{})
			return err
		}
		began := time.Now()
		_, err := a.Get(t.Context(), Request{})
		if e := wantKind(t, err, Invalid); !strings.Contains(e.Why, "azure → azure") || e.Hint == "" {
			t.Errorf("got %v (%s), want the cycle and a hint", e, e.Hint)
		}
		az.ask = func(ctx context.Context) error {
			_, err := outer.Get(ctx, Request{})
			return err
		}
		for _, id := range []*Identity{a, b, outer} {
			_, err := id.Get(t.Context(), Request{})
			if e := wantKind(t, err, Invalid); !strings.Contains(e.Error(), "azure → outer → out → azure") &&
				!strings.Contains(e.Error(), "out → azure → outer → out") && !strings.Contains(e.Error(), "outer → out → azure → outer") {
				t.Errorf("%s: got %v, want the whole cycle", id.Name(), e)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v, want no time", took)
		}
		az.ask = nil
		mustGet(t, outer, Request{})
	})
}

// The chain's flight is under way when the program of its first link asks for it, so nothing but the chain's own links tells
// that the two would wait for each other.
func TestReentryIntoAChainUnderWayFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		az := &calling{}
		a := add(t, c, IdentityConfig{Name: "azure", Source: az})
		b := add(t, c, IdentityConfig{Name: "out", Source: newDerived(Need{}), From: a})
		outer := add(t, c, IdentityConfig{Name: "outer", Source: newDerived(Need{}), From: b})
		az.ask = func(ctx context.Context) error {
			<-time.After(time.Second)
			_, err := outer.Get(ctx, Request{})
			return err
		}
		began := time.Now()
		var got answers
		got.ask(t.Context(), 1, a, Request{})
		synctest.Wait()
		got.ask(t.Context(), 1, outer, Request{})
		got.want(t, 0, 2)
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v, want the program's second", took)
		}
		for _, err := range got.bad {
			wantKind(t, err, Invalid)
		}
	})
}

func TestReentryThroughAFreshInputFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		az := &calling{}
		a := add(t, c, IdentityConfig{Name: "a", Source: az})
		b := add(t, c, IdentityConfig{Name: "b", Source: newDerived(Need{Fresh: true}), From: a})
		az.ask = func(ctx context.Context) error {
			_, err := b.Get(ctx, Request{})
			return err
		}
		began := time.Now()
		_, err := b.Get(t.Context(), Request{})
		if e := wantKind(t, err, Invalid); !strings.Contains(e.Error(), "b → a → b") {
			t.Errorf("got %v, want the cycle", e)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v, want no time", took)
		}
	})
}

func TestCallsOfOtherIdentitiesFromWithinARetrievalAreNoReentry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		other := add(t, c, IdentityConfig{Name: "other", Source: &fake{}})
		az := &calling{ask: func(ctx context.Context) error {
			_, err := other.Get(ctx, Request{})
			return err
		}}
		mustGet(t, add(t, c, IdentityConfig{Name: "a", Source: az}), Request{})
	})
}

func TestIdentityMadeFromItselfIsRefused(t *testing.T) {
	c := newCache(t, CacheConfig{})
	a := add(t, c, IdentityConfig{Name: "a", Source: &fake{}})
	b := add(t, c, IdentityConfig{Name: "b", Source: newDerived(Need{}), From: a})
	for what, cfg := range map[string]IdentityConfig{
		"cycle":              {Name: "a", Version: "2", Source: newDerived(Need{}), From: b},
		"no input":           {Name: "c", Source: newDerived(Need{})},
		"input of no use":    {Name: "c", Source: &fake{}, From: a},
		"no name":            {Source: &fake{}},
		"no source":          {Name: "c"},
		"of another's cache": {Name: "c", Source: newDerived(Need{}), From: alone(t, &fake{})},
	} {
		if _, err := c.Add(cfg); err == nil {
			t.Errorf("%s: want an error", what)
		} else {
			wantKind(t, err, Invalid)
		}
	}
}

func TestRejectedInputIsNotUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, out := &fake{}, newDerived(Need{})
		out.varies = FieldTenant
		c := newCache(t, CacheConfig{})
		in := add(t, c, IdentityConfig{Name: "in", Source: src})
		id := add(t, c, IdentityConfig{Name: "out", Source: out, From: in})
		mustGet(t, id, Request{Tenant: "a"})
		v1 := mustGet(t, in, Request{}).Credential
		out.need.Request.Rejected = v1.Fingerprint()
		if got := mustGet(t, id, Request{Tenant: "b"}).Credential.Token(); got != "token-2/2" {
			t.Errorf("got %s, want one made from a new input", got)
		}
		if a := mustGet(t, in, Request{}); a.Credential == v1 {
			t.Error("the rejected input is still served")
		}
	})
}

func TestInputThatEndsInTheLineForALimitIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := &fake{lifetime: 100 * time.Second}, newDerived(Need{})
		out.varies, out.takes = FieldTenant, 30*time.Second
		c := newCache(t, CacheConfig{})
		id := add(t, c, IdentityConfig{Name: "out", Source: out, Concurrency: 1, From: add(t, c, IdentityConfig{Name: "in", Source: in})})
		mustGet(t, id, Request{Tenant: "a"})
		in.fail(errDown)
		time.Sleep(55 * time.Second)
		var all sync.WaitGroup
		for i, tenant := range []string{"b", "c"} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				want := []string{"token-1/2", "/3"}[i] // b has the slot until the 115th second, and the input lives until the 98th
				if got := mustGet(t, id, Request{Tenant: tenant}).Credential.Token(); !strings.Contains(got, want) || i == 1 && strings.HasPrefix(got, "token-1/") {
					t.Errorf("%s got %s", tenant, got)
				}
			})
		}
		time.Sleep(15 * time.Second)
		in.fail(nil)
		all.Wait()
	})
}
