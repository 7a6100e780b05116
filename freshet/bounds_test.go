package freshet

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// audit checks the cache's accounts against what is there.
func audit(t *testing.T, c *Cache) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var count int
	var size int64
	for _, id := range c.identities {
		var own int64
		for i, s := range id.ring.slots {
			if int(s.place) != i || s.gone || c.index.find(s.id, s.hash, []byte(s.key)) != s {
				t.Errorf("slot %d of %s: place %d, gone %v, or not in the index", i, id.name, s.place, s.gone)
			}
			own += int64(s.size)
		}
		if own != id.ring.size {
			t.Errorf("%s accounts for %d bytes, its slots for %d", id.name, id.ring.size, own)
		}
		count, size = count+len(id.ring.slots), size+own
	}
	if count != c.count || size != c.size || count != c.index.live {
		t.Errorf("%d entries of %d bytes are accounted (%d in the index), there are %d of %d", c.count, c.size, c.index.live, count, size)
	}
}

func TestCacheIsBoundedByEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{Entries: 100})
		id := add(t, c, IdentityConfig{Source: &fake{varies: FieldTenant}})
		for i := range 1000 {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
			if n := c.Stats().Entries; n > 100 {
				t.Fatalf("%d entries, want at most 100", n)
			}
		}
		audit(t, c)
		if n := c.Stats().Entries; n < 99 {
			t.Errorf("%d entries, want the bound used", n)
		}
	})
}

func TestCacheIsBoundedByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1 << 20
		src := &fake{varies: FieldTenant}
		src.reply = func(n int64, _ Request) (*Credential, error) {
			return NewBearer(fmt.Sprint(n, strings.Repeat("x", 50_000)), "", src.validity(Now()))
		}
		c := newCache(t, CacheConfig{Bytes: most})
		id := add(t, c, IdentityConfig{Source: src})
		for i := range 200 {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
			synctest.Wait()
			if s := c.Stats(); s.Bytes > most {
				t.Fatalf("%d bytes in %d entries, want at most %d", s.Bytes, s.Entries, most)
			}
		}
		audit(t, c)
		if s := c.Stats(); s.Entries < 15 {
			t.Errorf("%d entries of 50 kB in a MiB, want some 20", s.Entries)
		}
	})
}

func TestJunkRequestsOfOneIdentityEvictNoOthersEntries(t *testing.T) {
	for name, cfg := range map[string]CacheConfig{"entries": {Entries: 100}, "bytes": {Bytes: 100 * 800}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good, junk := &fake{varies: FieldTenant}, &fake{varies: FieldTenant}
				c := newCache(t, cfg)
				quiet := add(t, c, IdentityConfig{Name: "quiet", Source: good})
				flood := add(t, c, IdentityConfig{Name: "flood", Source: junk})
				for i := range 45 {
					mustGet(t, quiet, Request{Tenant: fmt.Sprint(i)})
				}
				for i := range 1500 {
					mustGet(t, flood, Request{Tenant: fmt.Sprint("junk-", i)})
				}
				for i := range 45 {
					mustGet(t, quiet, Request{Tenant: fmt.Sprint(i)})
				}
				wantCalls(t, good, 45)
				synctest.Wait()
				audit(t, c)
			})
		})
	}
}

func TestExpiredAndUnusedEntriesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		src.reply = func(n int64, req Request) (*Credential, error) {
			lifetime := time.Hour
			if strings.HasPrefix(req.Tenant, "brief") {
				lifetime = time.Minute
			}
			return NewBearer(fmt.Sprint(n), "", Validity{Lifetime: lifetime})
		}
		c := newCache(t, CacheConfig{Entries: 100})
		id := add(t, c, IdentityConfig{Source: src})
		used := func() {
			for i := range 40 {
				mustGet(t, id, Request{Tenant: fmt.Sprint("used-", i)})
			}
		}
		used()
		for i := range 60 {
			mustGet(t, id, Request{Tenant: fmt.Sprint("brief-", i)})
		}
		time.Sleep(2 * time.Minute)
		for i := range 50 { // takes the places of the expired
			mustGet(t, id, Request{Tenant: fmt.Sprint("new-", i)})
		}
		used()
		wantCalls(t, src, 210) // the brief ones were replaced once, since somebody had asked for them
		for i := range 500 {   // takes each other's, since the used ones are used again and again
			mustGet(t, id, Request{Tenant: fmt.Sprint("once-", i)})
			used()
		}
		if n := src.calls.Load() - 210; n > 550 {
			t.Errorf("%d retrievals for 500 new ones, want those in use to stay", n)
		}
	})
}

func TestEntryWithAFlightStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		src.reply = func(n int64, req Request) (*Credential, error) {
			if req.Tenant == "slow" {
				time.Sleep(30 * time.Second)
			}
			return NewBearer(fmt.Sprint(n), "", Validity{Lifetime: time.Hour})
		}
		c := newCache(t, CacheConfig{Entries: 10})
		id := add(t, c, IdentityConfig{Source: src})
		var slow answers
		slow.ask(t.Context(), 1, id, Request{Tenant: "slow"})
		synctest.Wait()
		for i := range 100 {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		slow.ask(t.Context(), 1, id, Request{Tenant: "slow"})
		slow.want(t, 2, 0)
		wantCalls(t, src, 101)
	})
}

func TestHandleOfAnEvictedEntryLooksItUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		c := newCache(t, CacheConfig{Entries: 10})
		id := add(t, c, IdentityConfig{Source: src})
		h := mustHandle(t, id, Request{Tenant: "mine"})
		if _, err := h.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		calls := src.calls.Load()
		a, err := h.Get(t.Context())
		if err != nil || !a.Retrieved {
			t.Fatalf("got %+v, %v, want it retrieved again", a, err)
		}
		if b := mustGet(t, id, Request{Tenant: "mine"}); b.Credential != a.Credential {
			t.Error("the handle and the cache hold different credentials")
		}
		if b, err := h.Get(t.Context()); err != nil || b.Retrieved {
			t.Errorf("got %+v, %v, want a hit", b, err)
		}
		wantCalls(t, src, calls+1)
	})
}

func TestEvictedEntryIsNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		id := add(t, c, IdentityConfig{Source: &fake{}})
		a := &ask{id: id, key: string(appendKey(nil, id, &Request{}))}
		a.hash = hashKey(id, []byte(a.key))
		s := c.slot(a)
		c.mu.Lock() // evicted between a caller's finding it and its joining it
		if !c.evictLocked(&id.ring, nil) {
			t.Error("the slot was not evicted")
		}
		c.mu.Unlock()
		if f, _, err := s.join(t.Context(), a, patience{}); f != nil || err != errGone {
			t.Errorf("joined %v, %v, want to be sent back", f, err)
		}
		if now := c.slot(a); now == s {
			t.Error("found the evicted slot again")
		}
		mustGet(t, id, Request{})
		audit(t, c)
	})
}

func TestLateResultForAnEvictedEntryIsServedByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		src.reply = func(n int64, req Request) (*Credential, error) {
			if n == 1 {
				time.Sleep(time.Minute)
			}
			return NewBearer(fmt.Sprint("token-", n), "", Validity{Lifetime: time.Hour})
		}
		c := newCache(t, CacheConfig{Entries: 10})
		id := add(t, c, IdentityConfig{Source: src, Timeout: 10 * time.Second})
		h := mustHandle(t, id, Request{Tenant: "mine"})
		_, err := h.Get(t.Context())
		wantKind(t, err, Unavailable)
		for i := range 100 {
			mustGet(t, id, Request{Tenant: fmt.Sprint(i)})
		}
		time.Sleep(2 * time.Minute) // the late result lands where nobody looks any more
		a, err := h.Get(t.Context())
		if err != nil || !a.Retrieved {
			t.Fatalf("got %+v, %v, want it retrieved again", a, err)
		}
		if b := mustGet(t, id, Request{Tenant: "mine"}); b.Credential != a.Credential {
			t.Error("the handle and the cache hold different credentials")
		}
		audit(t, c)
	})
}

func TestKeysThatFailLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		src.fail(errDown)
		c := newCache(t, CacheConfig{})
		id := add(t, c, IdentityConfig{Source: src})
		for i := range 1000 {
			_, err := id.Get(t.Context(), Request{Tenant: fmt.Sprint(i)})
			wantKind(t, err, Unavailable)
		}
		time.Sleep(time.Minute) // a failure is remembered for some seconds
		synctest.Wait()
		if s := c.Stats(); s != (Stats{}) {
			t.Errorf("got %+v, want nothing left", s)
		}
		if g := &c.governor; len(g.hosts)+len(g.tenants)+len(g.gates) != 0 {
			t.Errorf("the governor remembers %d hosts, %d tenants and %d gates, want none without flights", len(g.hosts), len(g.tenants), len(g.gates))
		}
		audit(t, c)
	})
}

func TestStatsCountWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, CacheConfig{})
		id := add(t, c, IdentityConfig{Source: &fake{varies: FieldTenant, takes: time.Second}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, _ = id.Get(ctx, Request{Tenant: "a"})
		if s := c.Stats(); s.Flights != 1 || s.Entries != 1 || s.Bytes == 0 {
			t.Errorf("got %+v, want one flight and its entry", s)
		}
		time.Sleep(time.Second)
		if s := c.Stats(); s.Flights != 0 || s.Entries != 1 {
			t.Errorf("got %+v, want the entry alone", s)
		}
	})
}
