package freshet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet/internal/chance"
	"freshet.dev/freshet/internal/clock"
)

func TestScheduleWithoutAnIssuersWord(t *testing.T) {
	for _, c := range []struct{ lifetime, due time.Duration }{
		{24 * time.Hour, 12 * time.Hour},
		{3 * time.Hour, 90 * time.Minute},
		{2*time.Hour + 1, time.Hour},
		{2 * time.Hour, 90 * time.Minute},
		{time.Hour, 40 * time.Minute},
		{80 * time.Minute, 60 * time.Minute},
		{90 * time.Minute, 67*time.Minute + 30*time.Second},
		{40 * time.Minute, 20 * time.Minute},
		{40*time.Minute - 4, 30*time.Minute - 3},
		{10 * time.Minute, 7*time.Minute + 30*time.Second},
		{5 * time.Minute, 3*time.Minute + 45*time.Second},
		{5*time.Minute - 2, 2*time.Minute + 30*time.Second - 1},
		{30 * time.Second, 15 * time.Second},
	} {
		if got := dueAfter(c.lifetime); got != c.due {
			t.Errorf("a credential of %v is due after %v, want %v", c.lifetime, got, c.due)
		}
	}
}

func TestJitterOnlyMakesARefreshEarlierByAtMostATenth(t *testing.T) {
	for range 20_000 {
		l := life{sent: clock.Now(), lifetime: time.Second + time.Duration(rand.Int64N(int64(48*time.Hour)))}
		if rand.IntN(10) == 0 { // brief ones too
			l.lifetime = 100*time.Millisecond + time.Duration(rand.Int64N(int64(30*time.Second)))
		}
		after, at := dueAfter(l.lifetime), 0.0
		switch rand.IntN(3) {
		case 0:
			l.refreshIn = time.Duration(1 + rand.Int64N(int64(l.lifetime)))
			after = l.refreshIn
		case 1:
			at = 0.01 + 0.98*rand.Float64()
			after = time.Duration(float64(l.lifetime) * at)
		}
		due, early := dueAt("", l, at), earliest(l, at)
		apart := spacing(l.lifetime)
		for _, age := range []time.Duration{time.Duration(due.Wall - l.sent.Wall), time.Duration(due.Mono - l.sent.Mono)} {
			if age > max(after, apart) || age < max(after-l.lifetime/10, apart) {
				t.Fatalf("lifetime %v, wish %v, at %v: due after %v, want at most %v and earlier by at most a tenth", l.lifetime, l.refreshIn, at, age, after)
			}
		}
		if due.Wall < early.Wall || due.Mono < early.Mono {
			t.Fatalf("due at %+v, before %+v, the earliest that jitter can make it", due, early)
		}
		c := credential{sent: l.sent, lifetime: l.lifetime}
		want := l.lifetime / 50
		switch {
		case l.lifetime > 500*time.Second:
			want = 10 * time.Second
		case l.lifetime < 1500*time.Millisecond:
			want = l.lifetime / 3
		case l.lifetime < 25*time.Second:
			want = 500 * time.Millisecond
		}
		if floor := time.Duration(c.expires().Wall - c.until().Wall); floor != want {
			t.Fatalf("lifetime %v: served until %v before its end", l.lifetime, floor)
		}
	}
}

func TestJitterIsDrawnOncePerCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{varies: FieldTenant}
		id := alone(t, src)
		ages := make(map[time.Duration]bool) // at which they are due
		for i := range 50 {
			req := Request{Tenant: fmt.Sprint(i)}
			a := mustGet(t, id, req)
			first := a.RefreshAt()
			ages[first.Sub(a.Credential.Issued().Wall())] = true
			time.Sleep(time.Second)
			if again := mustGet(t, id, req).RefreshAt(); !again.Equal(first) {
				t.Fatalf("due at %v, and a second later at %v", first, again)
			}
		}
		if len(ages) < 45 {
			t.Errorf("50 credentials are due at only %d ages, want them spread", len(ages))
		}
	})
}

func TestDueCredentialIsServedAtOnceAndRefreshedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		first := mustGet(t, id, Request{})
		time.Sleep(30 * time.Minute)
		mustGet(t, id, Request{})
		synctest.Wait()
		wantCalls(t, src, 1) // not due yet

		time.Sleep(20 * time.Minute) // it was due meanwhile
		synctest.Wait()
		wantCalls(t, src, 2)
		time.Sleep(32 * time.Minute) // and is due again, which nobody has asked for since
		synctest.Wait()
		wantCalls(t, src, 2)
		first.Credential = id.Entries()[0].Credential
		src.takes = time.Second
		began := time.Now()
		var got answers
		got.ask(t.Context(), 200, id, Request{})
		got.want(t, 200, 0)
		if took := time.Since(began); took != 0 {
			t.Errorf("callers waited %v for a refresh, though what there is is valid", took)
		}
		for _, a := range got.good {
			if a.Credential != first.Credential || a.Stale || a.Retrieved {
				t.Fatalf("got %+v, want the valid credential, not stale", a)
			}
		}
		time.Sleep(2 * time.Second)
		wantCalls(t, src, 3)
		if a := mustGet(t, id, Request{}); a.Credential == first.Credential {
			t.Error("the refreshed credential is not served")
		}
	})
}

// Hits that find a version due at the same moment queue for the slot's lock; only the first of them starts a flight.
func TestHitsThatRaceForADueCredentialStartOneRefresh(t *testing.T) {
	release := make(chan struct{})
	src := &fake{reply: func(n int64, _ Request) (*Credential, error) {
		if n > 1 {
			<-release
		}
		return old(fmt.Sprint(n), 50*time.Minute)
	}}
	id := alone(t, src)
	h := mustHandle(t, id, Request{})
	if _, err := h.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := h.slot.Load()
	s.pardon()
	s.mu.Lock()
	var got answers
	got.ask(t.Context(), 20, id, Request{})
	<-time.After(50 * time.Millisecond) // for them to come to the lock; if some come later, they find the flight
	s.mu.Unlock()
	got.want(t, 20, 0)
	<-time.After(50 * time.Millisecond) // for the flights to come to the source
	calls := src.calls.Load()
	close(release)
	if calls != 2 {
		t.Errorf("%d retrievals, want one for all that found it due", calls-1)
	}
}

func TestIssuersRefreshTimeIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{lifetime: 24 * time.Hour, refresh: 22 * time.Hour}
		id := alone(t, src)
		mustGet(t, id, Request{})
		time.Sleep(19 * time.Hour)
		mustGet(t, id, Request{})
		synctest.Wait()
		wantCalls(t, src, 1)
		time.Sleep(3*time.Hour + time.Second)
		mustGet(t, id, Request{})
		synctest.Wait()
		wantCalls(t, src, 2)
	})
}

func TestConfiguredRefreshOverridesTheIssuers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{refresh: 50 * time.Minute}
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{Source: src, RefreshAt: 0.25})
		mustGet(t, id, Request{})
		time.Sleep(15*time.Minute + time.Second)
		mustGet(t, id, Request{})
		synctest.Wait()
		wantCalls(t, src, 2)
		for _, at := range []float64{-0.1, 1, 7} {
			if _, err := id.cache.Add(IdentityConfig{Name: "x", Source: src, RefreshAt: at}); err == nil {
				t.Errorf("want an error for a refresh at %v of a lifetime", at)
			}
		}
	})
}

func TestStaleCredentialIsServedUntilTheFloorWhileItsSourceIsDown(t *testing.T) {
	for _, lifetime := range []time.Duration{time.Hour, 30 * time.Second, 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			src := &fake{lifetime: lifetime}
			id := alone(t, src)
			first := mustGet(t, id, Request{})
			end := time.Now().Add(lifetime - floor(lifetime))
			src.fail(errDown)
			time.Sleep(dueAfter(lifetime))
			if a := mustGet(t, id, Request{}); a.Stale && src.calls.Load() == 1 {
				t.Error("marked stale before any attempt failed")
			}
			synctest.Wait()
			for time.Until(end) > lifetime/100 {
				a := mustGet(t, id, Request{})
				if a.Credential != first.Credential || !a.Stale || a.Rejected {
					t.Fatalf("got %+v, want the valid credential, stale", a)
				}
				time.Sleep(lifetime / 100)
				synctest.Wait()
			}
			time.Sleep(time.Until(end) - 1)
			mustGet(t, id, Request{})
			synctest.Wait()
			time.Sleep(time.Nanosecond)
			_, err := id.Get(t.Context(), Request{})
			wantKind(t, err, Unavailable)
			src.fail(nil)
			time.Sleep(9 * time.Second)
			if a := mustGet(t, id, Request{}); a.Stale || a.Credential == first.Credential {
				t.Errorf("got %+v after recovery, want a new one, not stale", a)
			}
		})
	}
}

func TestNothingIsServedFromTheFloorOn(t *testing.T) {
	for _, lifetime := range []time.Duration{time.Second, 2 * time.Second, 30 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			src := &fake{lifetime: lifetime}
			id := alone(t, src)
			h := mustHandle(t, id, Request{})
			first, err := h.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			src.fail(errDown)
			time.Sleep(lifetime - floor(lifetime) - 1)
			if a, err := h.Get(t.Context()); err != nil || a.Credential != first.Credential {
				t.Errorf("lifetime %v: got %v, %v just before the floor, want the credential", lifetime, a.Credential, err)
			}
			synctest.Wait()
			time.Sleep(time.Nanosecond)
			for range 3 {
				_, err = h.Get(t.Context())
				wantKind(t, err, Unavailable)
				_, err = id.Get(t.Context(), Request{MinTTL: 1})
				wantKind(t, err, Unavailable)
			}
		})
	}
}

func TestStaleMarkGoesWithTheNextSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		mustGet(t, id, Request{})
		src.fail(errDown)
		time.Sleep(45 * time.Minute)
		mustGet(t, id, Request{})
		synctest.Wait()
		if a := mustGet(t, id, Request{}); !a.Stale {
			t.Error("want stale")
		}
		src.fail(nil)
		time.Sleep(5 * time.Minute)
		mustGet(t, id, Request{})
		synctest.Wait()
		if a := mustGet(t, id, Request{}); a.Stale {
			t.Error("want the new credential, unmarked")
		}
	})
}

// As an input, a credential is replaced from when jitter could make it due. An attempt that fails then is told to those who get the
// credential once it is due.
func TestFailureShortlyBeforeACredentialIsDueMarksItStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(chance.Simulate(func(string, int64) int64 { return 0 })) // due as late as can be, and tried again as soon
		c := newCache(t, CacheConfig{})
		src, out := &fake{}, newDerived(Need{})
		out.varies = FieldTenant
		in := add(t, c, IdentityConfig{Name: "in", Source: src})
		id := add(t, c, IdentityConfig{Name: "out", Source: out, From: in})
		mustGet(t, id, Request{Tenant: "a"})
		first := mustGet(t, in, Request{})
		src.fail(errDown)
		time.Sleep(time.Until(first.RefreshAt()) - 10*time.Second)
		mustGet(t, id, Request{Tenant: "b"})
		wantCalls(t, src, 2)
		time.Sleep(20 * time.Second)
		if a := mustGet(t, in, Request{}); a.Credential != first.Credential || !a.Due || !a.Stale {
			t.Errorf("got %+v, want the old credential, due and stale", a)
		}
		synctest.Wait()
		wantCalls(t, src, 2) // so nothing but that one failure has marked it
		src.fail(nil)
		time.Sleep(30 * time.Second)
		if a := mustGet(t, in, Request{}); a.Credential == first.Credential || a.Stale {
			t.Errorf("got %+v, want a new credential, not stale", a)
		}
	})
}

func TestBackgroundAttemptsAreApartAndBackOff(t *testing.T) {
	for _, lifetime := range []time.Duration{30 * time.Second, time.Hour, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			src := &fake{lifetime: lifetime}
			id := alone(t, src)
			mustGet(t, id, Request{})
			src.fail(errDown)
			time.Sleep(dueAfter(lifetime))
			poll := spacing(lifetime) / 50
			for range 1000 {
				mustGetOrDown(t, id)
				synctest.Wait()
				time.Sleep(poll)
			}
			times := src.called()[1:]
			if len(times) < 2 {
				t.Fatalf("%d attempts in 20 spacings", len(times))
			}
			for i := 1; i < len(times) && times[i].Before(times[0].Add(lifetime-dueAfter(lifetime)-floor(lifetime))); i++ {
				gap := times[i].Sub(times[i-1])
				if least, most := spacing(lifetime), 9*spacing(lifetime)+2*poll; gap < least || gap > most {
					t.Errorf("lifetime %v: attempts %d and %d are %v apart, want %v to %v", lifetime, i, i+1, gap, least, most)
				}
			}
		})
	}
}

func mustGetOrDown(t *testing.T, id *Identity) {
	t.Helper()
	if _, err := id.Get(t.Context(), Request{}); err != nil {
		wantKind(t, err, Unavailable)
	}
}

func TestBackoffGrowsWithinItsBounds(t *testing.T) {
	for n := 1; n < 70; n++ {
		width := spacing(time.Hour) << min(n-1, 3)
		var most time.Duration
		for range 500 {
			d := backoff("", time.Hour, n, 0)
			if d < 30*time.Second || d > 30*time.Second+width {
				t.Fatalf("after %d failures: %v, want 30s and up to %v more", n, d, width)
			}
			most = max(most, d)
		}
		if most < 30*time.Second+width*8/10 {
			t.Errorf("after %d failures the longest of 500 is %v, want jitter over all of %v", n, most, width)
		}
	}
	for lifetime, want := range map[time.Duration]time.Duration{0: 30 * time.Second, time.Second: time.Second, 30 * time.Second: 3 * time.Second, time.Hour: 30 * time.Second} {
		if got := spacing(lifetime); got != want {
			t.Errorf("attempts for a lifetime of %v are %v apart, want %v", lifetime, got, want)
		}
	}
}

func TestRetryAfterOfAFailureIsObeyedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{lifetime: 24 * time.Hour}
		id := alone(t, src)
		mustGet(t, id, Request{})
		src.fail(&Error{Kind: Unavailable, Why: "throttled", RetryAfter: 20 * time.Minute})
		for range 13 * 60 {
			time.Sleep(time.Minute)
			mustGet(t, id, Request{})
		}
		times := src.called()[1:]
		if len(times) < 3 {
			t.Fatalf("%d attempts, want one every 20 minutes", len(times))
		}
		for i := range times[1:] {
			if gap := times[i+1].Sub(times[i]); gap < 20*time.Minute || gap > 25*time.Minute {
				t.Errorf("attempts %v apart, want the 20 minutes that the issuer asked for", gap)
			}
		}
	})
}

// An issuer that answers from a cache of its own gives the same credential until little is left of it.
func TestSameCredentialAgainIsAskedForAtHalfOfWhatRemains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expires := time.Now().Add(time.Hour)
		src := &fake{}
		src.reply = func(int64, Request) (*Credential, error) { return NewBearer("same", "", Validity{Expires: expires}) }
		id := alone(t, src)
		for time.Until(expires) > 10*time.Second {
			if a := mustGet(t, id, Request{}); a.Stale {
				t.Fatal("the same credential again is no failure")
			}
			synctest.Wait()
			time.Sleep(time.Second)
		}
		times := src.called()
		if len(times) < 3 || len(times) > 14 {
			t.Errorf("asked %d times within its life, want a handful", len(times))
		}
		for i := 2; i < len(times); i++ {
			if left, gap := expires.Sub(times[i-1]), times[i].Sub(times[i-1]); gap < min(left/2, left*9/10) {
				t.Errorf("asked again after %v with %v left, want half of it", gap, left)
			}
		}
	})
}

// TestLivesThatAreHalvedEndInTimeForARequest has credentials made of a token again and again that end with it, as MinIO's STS does,
// until the token itself is too short: the last of them lives for a second or so, and is not handed out to its very end.
func TestLivesThatAreHalvedEndInTimeForARequest(t *testing.T) {
	for range 20 { // of jitters
		synctest.Test(t, func(t *testing.T) {
			life := 30 * time.Second
			expires := time.Now().Add(life)
			src := &fake{}
			src.reply = func(n int64, _ Request) (*Credential, error) {
				if time.Until(expires) <= floor(life) {
					return nil, errDown
				}
				return NewBearer(fmt.Sprint(n), "", Validity{Expires: expires})
			}
			id := alone(t, src)
			for time.Until(expires) > 0 {
				if a, err := id.Get(t.Context(), Request{}); err == nil && a.Credential.Remaining() < 200*time.Millisecond {
					t.Fatalf("%v before its end, of %d", a.Credential.Remaining(), src.calls.Load())
				}
				synctest.Wait()
				time.Sleep(5 * time.Millisecond)
			}
			if n := src.calls.Load(); n < 4 {
				t.Errorf("it was made %d times, want a life that is halved", n)
			}
		})
	}
}

// Whatever a source says, its background attempts are apart.
func TestNoSourceCausesARefreshStorm(t *testing.T) {
	for name, src := range map[string]*fake{
		"refresh at once":     {refresh: 1},
		"refresh in a second": {refresh: time.Second},
		"issued long ago":     {reply: func(n int64, _ Request) (*Credential, error) { return old(fmt.Sprint(n), 50*time.Minute) }},
		"the same, long ago":  {reply: func(n int64, _ Request) (*Credential, error) { return old("same", 50*time.Minute) }},
		"an older one": {reply: func(n int64, _ Request) (*Credential, error) {
			return old(fmt.Sprint(n), time.Duration(1+45*min(n-1, 1))*time.Minute)
		}},
		"a wish, and the same": {reply: func(n int64, _ Request) (*Credential, error) { return wish40() }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				id := alone(t, src)
				mustGet(t, id, Request{})
				const seconds = 240
				if name == "an older one" {
					time.Sleep(41 * time.Minute)
				}
				synctest.Wait()
				before := src.calls.Load()
				for range seconds {
					mustGet(t, id, Request{})
					synctest.Wait()
					time.Sleep(time.Second)
				}
				if n := src.calls.Load() - before; n > 2+seconds/30 {
					t.Errorf("%d retrievals in %d seconds, want them 30 s apart", n, seconds)
				}
			})
		})
	}
}

// old is a credential for an hour that was asked for a while ago, as a cache under this one would return it.
func old(token string, age time.Duration) (*Credential, error) {
	return NewBearer(token, "", Validity{Sent: Instant{clock.Now().Add(-age)}, Lifetime: time.Hour})
}

func wish40() (*Credential, error) {
	return NewBearer("same", "", Validity{Sent: Instant{clock.Now().Add(-30 * time.Minute)}, Lifetime: time.Hour, RefreshIn: 10 * time.Minute})
}

func TestStaticCredentialIsServedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{reply: func(int64, Request) (*Credential, error) { return NewBasic("u", "p", Validity{Static: true}) }}
		id := alone(t, src)
		mustGet(t, id, Request{})
		time.Sleep(20 * 365 * 24 * time.Hour)
		if a := mustGet(t, id, Request{MinTTL: time.Hour}); !a.Credential.Static() || !a.Credential.Expires().IsZero() || !a.RefreshAt().IsZero() {
			t.Errorf("got %+v", a)
		}
		synctest.Wait()
		wantCalls(t, src, 1)
	})
}

func TestNothingIsAskedForBeforeANewerOneExists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		var last Instant
		id := add(t, newCache(t, CacheConfig{}), IdentityConfig{RefreshAt: 0.1, Source: SourceFunc(func(context.Context, Request) (*Credential, error) {
			if calls++; calls > 1 {
				if age := time.Duration(Now().r.Mono - last.r.Mono); age < 55*time.Minute {
					t.Errorf("asked again after %v, when there is no newer one for 55m", age)
				}
			}
			last = Now()
			return NewBearer(fmt.Sprint("token-", calls), "", Validity{Lifetime: time.Hour, RefreshIn: 55 * time.Minute, NoneSooner: true})
		})})
		h := mustHandle(t, id, Request{})
		for range 48 * 60 {
			if _, err := h.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			<-time.After(time.Minute)
		}
		if calls < 50 || calls > 53 {
			t.Errorf("asked %d times in 48 hours, want once every 55 minutes", calls)
		}
	})
}
