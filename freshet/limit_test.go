package freshet

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// roll is the tenants in the order in which a source was asked for them.
type roll struct {
	mu    sync.Mutex
	names []string
	times []time.Time
}

func (r *roll) call(req Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, req.Tenant)
	r.times = append(r.times, time.Now())
}

func TestTenantsTakeTurnsAtALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r roll
		src := &fake{varies: FieldTenant | FieldScopes, takes: time.Second}
		src.reply = func(n int64, req Request) (*Credential, error) {
			r.call(req)
			return NewBearer(fmt.Sprint(n), "", Validity{Lifetime: time.Hour})
		}
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Concurrency: 1, Timeout: time.Hour})
		var big, small answers
		for i := range 1000 {
			big.ask(t.Context(), 1, id, Request{Tenant: "big", Scopes: []string{fmt.Sprint(i)}})
		}
		time.Sleep(10*time.Second + time.Second/2)
		for i := range 5 {
			small.ask(t.Context(), 1, id, Request{Tenant: fmt.Sprint("small-", i)})
			synctest.Wait()
		}
		small.want(t, 5, 0)
		if took := small.last.Sub(r.times[0]); took > 21*time.Second {
			t.Errorf("five others' single ones took until %v, want a turn each between the big tenant's", took)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if first := slices.Index(r.names, "small-0"); first > 12 {
			t.Errorf("the first other came as number %d after 10 of the big one's, want one turn of delay at most", first)
		}
		for i := 1; i < len(r.names); i++ {
			if r.names[i-1] != "big" && r.names[i] != "big" {
				t.Errorf("%s and %s came one after the other, while the big tenant waited", r.names[i-1], r.names[i])
			}
		}
		id.cache.cancel()
	})
}

func TestRateIsKeptEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r roll
		src := &fake{varies: FieldTenant}
		src.reply = func(n int64, req Request) (*Credential, error) {
			r.call(req)
			return NewBearer(fmt.Sprint(n), "", Validity{Lifetime: time.Hour, RefreshIn: 30 * time.Minute, NoneSooner: true})
		}
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Rate: 10, Timeout: 5 * time.Minute})
		var got answers
		for i := range 500 {
			got.ask(t.Context(), 1, id, Request{Tenant: fmt.Sprint(i)})
		}
		got.want(t, 500, 0)
		time.Sleep(40 * time.Minute) // and again, with nobody waiting
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.times) != 1000 {
			t.Fatalf("%d calls, want 1000", len(r.times))
		}
		for i := 1; i < len(r.times); i++ {
			if gap := r.times[i].Sub(r.times[i-1]); gap < 100*time.Millisecond {
				t.Fatalf("call %d came %v after the one before, want 100ms", i, gap)
			}
		}
		if took := r.times[499].Sub(r.times[0]); took != 499*100*time.Millisecond {
			t.Errorf("500 calls took %v: the rate is not used up", took)
		}
		if took := r.times[999].Sub(r.times[500]); took != 499*100*time.Millisecond {
			t.Errorf("500 refreshes took %v", took)
		}
	})
}

func TestLineThatIsTooLongIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, Rate: 1, Timeout: time.Minute})
		var got answers
		for i := range 100 {
			got.ask(t.Context(), 1, id, Request{Tenant: fmt.Sprint(i)})
			synctest.Wait()
		}
		got.wg.Wait()
		if n := len(got.good); n < 55 || n > 60 {
			t.Errorf("%d got through in the minute that they wait, want nearly 60", n)
		}
		for _, err := range got.bad {
			if e := wantKind(t, err, Unavailable); e.RetryAfter <= 0 || e.Hint == "" {
				t.Errorf("got %v, retry after %v", e, e.RetryAfter)
			}
		}
		if list := id.cache.Issuers(); slices.ContainsFunc(list, func(s IssuerState) bool { return s.Block != nil || s.Failures > 0 }) {
			t.Errorf("a full line is held against the issuer: %+v", list)
		}
	})
}

// Past the bound on flights towards an issuer a tenant is let in that has less than its share under way.
func TestTenantIsLetInPastAnothersFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newIssuer("idp", "")
		src.takes = 30 * time.Second
		id := alone(t, src)
		var big, small answers
		for i := range maxFlightsPerIssuer {
			big.ask(t.Context(), 1, id, Request{Tenant: "big", Scopes: []string{fmt.Sprint(i)}})
		}
		synctest.Wait()
		if e := mustFail(t, id, Request{Tenant: "big", Scopes: []string{"more"}}); e.RetryAfter != retryCrowded {
			t.Errorf("got %v", e)
		}
		small.ask(t.Context(), 1, id, Request{Tenant: "small"})
		small.want(t, 1, 0)
		big.want(t, maxFlightsPerIssuer, 0)
	})
}

func TestTurnsOfTenants(t *testing.T) {
	var l turns
	for range 3 {
		l.push("a")
	}
	b := l.push("b")
	l.push("c")
	gone := l.push("d")
	l.leave("d", gone)
	if got := l.ahead("e"); got != 4 {
		t.Errorf("a newcomer has %d turns ahead, want one for each of the four lines", got)
	}
	if got := l.ahead("a"); got != 5 {
		t.Errorf("the fourth of a has %d turns ahead, want all 5", got)
	}
	l.pop() // a
	l.pop() // a is old now, and b fresh: one of each in turn
	l.pop()
	if !b.granted {
		t.Error("b had no turn among three")
	}
	for range 2 {
		if l.pop() == nil {
			t.Error("a turn is missing")
		}
	}
	if k := l.pop(); k != nil || l.waiting != 0 || len(l.lines) != 0 || gone.granted {
		t.Errorf("got %v, %+v after everybody's turn", k, l)
	}
}
