package freshet

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// issuerAhead is an issuer whose clock is the bubble's, and so ahead of a wall clock that a test sets back: what it gives lives
// for an hour by its own clock, and its answer takes a moment in both directions.
type issuerAhead struct {
	life  time.Duration
	dated bool // its answers have a Date
	jwt   bool // the expiry is in the token alone
	down  atomic.Bool
	calls atomic.Int64 // that it answered
	last  atomic.Int64 // end of the last one, by the true clock, in seconds of the Unix epoch
}

// end is when the last credential ends, by the true clock.
func (s *issuerAhead) end() time.Time { return time.Unix(s.last.Load(), 0) }

func (s *issuerAhead) Retrieve(context.Context, Request) (*Credential, error) {
	if s.down.Load() {
		return nil, errDown
	}
	sent := Now()
	time.Sleep(100 * time.Millisecond)
	now := time.Now()
	end := now.Add(s.life).Truncate(time.Second)
	s.last.Store(end.Unix())
	v := Validity{Sent: sent, Expires: end}
	token := "token-" + strconv.FormatInt(s.calls.Add(1), 10)
	if s.dated {
		v.Date = now.Truncate(time.Second)
	}
	if s.jwt {
		v.Expires = time.Time{}
		token = jwt(`{"exp":` + strconv.FormatInt(end.Unix(), 10) + `,"jti":"` + token + `"}`)
	}
	time.Sleep(100 * time.Millisecond)
	return NewBearer(token, "", v)
}

// near is as exact as a Date in whole seconds allows.
const near = time.Second

func TestExpiryIsCorrectedByTheIssuersClock(t *testing.T) {
	for _, off := range []time.Duration{-10 * time.Minute, 10 * time.Minute, -14 * time.Minute, 14 * time.Minute, 5 * time.Second, -5 * time.Second, 0} {
		for _, src := range []*issuerAhead{{life: time.Hour, dated: true}, {life: time.Hour, dated: true, jwt: true}} {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(700 * time.Millisecond) // not at the beginning of a second
				step(t, off)
				began := time.Now()
				cred := mustGet(t, alone(t, src), Request{}).Credential
				if d := (cred.Lifetime() - src.end().Sub(began)).Abs(); d > near {
					t.Errorf("clock off by %v, jwt %v: lives %v, want %v", off, src.jwt, cred.Lifetime(), src.end().Sub(began))
				}
				if want := src.end().Add(off); cred.Expires().Sub(want).Abs() > near {
					t.Errorf("clock off by %v, jwt %v: expires %v by its own clock, want %v", off, src.jwt, cred.Expires(), want)
				}
			})
		}
	}
}

// TestWrongClockServesUntilTheTrueEnd: neither past it, nor refreshed as if the end were nearer than it is.
func TestWrongClockServesUntilTheTrueEnd(t *testing.T) {
	for _, off := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			step(t, off)
			up := &issuerAhead{life: 20 * time.Minute, dated: true}
			id := alone(t, up)
			began := time.Now()
			first := mustGet(t, id, Request{})
			for time.Since(began) < 12*time.Minute {
				mustGet(t, id, Request{})
				synctest.Wait()
				time.Sleep(30 * time.Second)
			}
			if n := up.calls.Load(); n != 1 {
				t.Errorf("clock off by %v: %d retrievals in 12m of a life of 20m, want 1", off, n)
			}
			up.down.Store(true)
			time.Sleep(time.Until(up.end().Add(-floor(20*time.Minute) - near)))
			if a := mustGet(t, id, Request{}); a.Credential != first.Credential {
				t.Errorf("clock off by %v: got %v just before the floor", off, a.Credential)
			}
			time.Sleep(floor(20*time.Minute) + near)
			if _, err := id.Get(t.Context(), Request{}); err == nil {
				t.Errorf("clock off by %v: it is served past its true end", off)
			}
		})
	}
}

func TestWithoutADateAnExpiryIsTakenAsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step(t, -10*time.Minute)
		src := &issuerAhead{life: time.Hour}
		if c := mustGet(t, alone(t, src), Request{}).Credential; !c.Expires().Equal(src.end()) {
			t.Errorf("expires %v, want %v as given", c.Expires(), src.end())
		}
	})
}

func TestRelativeLifetimeIsNeverCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ahead := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
			exp := time.Now().Add(time.Hour + ahead).Unix()
			for _, token := range []string{"opaque", jwt(`{"exp":` + strconv.FormatInt(exp, 10) + `}`)} {
				c, err := NewBearer(token, "", Validity{Date: time.Now().Add(ahead), Lifetime: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				if c.Lifetime() != time.Hour {
					t.Errorf("issuer ahead by %v: lives %v, want 1h", ahead, c.Lifetime())
				}
			}
		}
	})
}

func TestCorrectionIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step(t, 10*time.Minute)
		id := alone(t, &issuerAhead{life: time.Hour, dated: true})
		for range 5 {
			c := mustGet(t, id, Request{MinTTL: 59 * time.Minute}).Credential
			if d := (c.Lifetime() - time.Hour).Abs(); d > near {
				t.Errorf("lives %v, want 1h each time", c.Lifetime())
			}
			// As a client of the local API does, which has the same clock.
			again, err := NewBearer(c.Token(), "", Validity{Expires: c.Expires()})
			if err != nil {
				t.Fatal(err)
			}
			if !again.Expires().Equal(c.Expires()) {
				t.Errorf("handed on it expires %v, want %v", again.Expires(), c.Expires())
			}
			time.Sleep(50 * time.Minute)
		}
	})
}

// TestCredentialThatOnlySeemsExpired: on a clock that is ahead by more than it lives.
func TestCredentialThatOnlySeemsExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		v := Validity{Expires: now.Add(5 * time.Minute)}
		step(t, 10*time.Minute)
		_, err := NewBearer("t", "", v)
		if e := wantKind(t, err, Malformed); !strings.Contains(e.Hint, "clock is ahead") {
			t.Errorf("hint is %q", e.Hint)
		}
		v.Date = now
		c, err := NewBearer("t", "", v)
		if err != nil {
			t.Fatalf("with a Date: %v", err)
		}
		if d := (c.Remaining() - 5*time.Minute).Abs(); d > near {
			t.Errorf("%v are left, want 5m", c.Remaining())
		}
		step(t, 20*time.Minute)
		_, err = NewBearer("t", "", v)
		wantKind(t, err, Malformed)
	})
}

func TestSoonerOfExpiryAndLifetimeCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for _, test := range []struct {
			date    time.Time
			expires time.Duration
			want    time.Duration
		}{
			{time.Time{}, 50 * time.Minute, 50 * time.Minute},
			{time.Time{}, 70 * time.Minute, time.Hour},
			{time.Time{}, 11 * 365 * 24 * time.Hour, time.Hour},
			{now.Add(10 * time.Minute), 65 * time.Minute, 55*time.Minute - time.Second/2},
			{now.Add(-10 * time.Minute), 55 * time.Minute, time.Hour},
		} {
			c, err := NewBearer("t", "", Validity{Date: test.date, Expires: now.Add(test.expires), Lifetime: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			if c.Lifetime() != test.want {
				t.Errorf("expires in %v by an issuer at %v: lives %v, want %v", test.expires, test.date, c.Lifetime(), test.want)
			}
		}
		_, err := NewBearer("t", "", Validity{Expires: now, Lifetime: time.Hour})
		wantKind(t, err, Malformed)
	})
}

func TestSkew(t *testing.T) {
	base := clock.Reading{Wall: 1e18, Mono: 1e15}
	for _, test := range []struct {
		name       string
		wall, mono time.Duration // from sent until now
		date       time.Duration // from sent
		want       time.Duration
	}{
		{"ahead", time.Second, time.Second, 10 * time.Minute, 10 * time.Minute},
		{"behind", time.Second, time.Second, -10 * time.Minute, -10 * time.Minute},
		{"less than a Date tells", 0, 0, 1400 * time.Millisecond, 0},
		{"as much as it tells", 0, 0, 1500 * time.Millisecond, 2 * time.Second},
		{"as much, behind", 0, 0, -2500 * time.Millisecond, -2 * time.Second},
		{"the most that is believed", 0, 0, 15*time.Minute - time.Second/2, 15 * time.Minute},
		{"more", 0, 0, 15 * time.Minute, 0},
		{"more, behind", 0, 0, -15*time.Minute - time.Second, 0},
		{"written when a slow request came", 20 * time.Second, 20 * time.Second, 0, 0},
		{"written when its answer went", 20 * time.Second, 20 * time.Second, 20 * time.Second, 0},
		{"slow and ahead", 20 * time.Second, 20 * time.Second, time.Minute, 50500 * time.Millisecond},
		{"suspended on the way", 10 * time.Minute, time.Second, 0, 0},
		{"suspended on the way, answered after", 10 * time.Minute, time.Second, 10 * time.Minute, 0},
		{"stepped forward on the way to the issuer's time", 10 * time.Minute, time.Second, 10 * time.Minute, 0},
		{"stepped back on the way to the issuer's time", -10 * time.Minute, time.Second, -10 * time.Minute, -10 * time.Minute},
	} {
		now := clock.Reading{Wall: base.Wall + int64(test.wall), Mono: base.Mono + int64(test.mono)}
		got := skew(base.Time().Add(test.date), base, now)
		if test.want != 0 && test.want%time.Minute == 0 && test.wall != 0 { // half a second each of the way and of the Date
			got = got.Round(time.Minute)
		}
		if got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
	if got := skew(time.Time{}, base, base); got != 0 {
		t.Errorf("without a Date: got %v", got)
	}
}

// TestSummerTimeIsNoStep: the night in which Berlin's clocks go from 2 to 3, and the one in which they go back, are hours like
// others.
func TestSummerTimeIsNoStep(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones on this machine: install tzdata")
	}
	was := time.Local
	time.Local = berlin
	t.Cleanup(func() { time.Local = was })
	for _, change := range []time.Time{time.Date(2000, 3, 26, 1, 0, 0, 0, time.UTC), time.Date(2000, 10, 29, 1, 0, 0, 0, time.UTC)} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(change.Add(-15 * time.Minute)))
			src := &issuerAhead{life: time.Hour}
			id := alone(t, src)
			first := mustGet(t, id, Request{}).Credential
			for range 30 { // it is due after 40 of its 60 minutes, or up to 6 sooner
				mustGet(t, id, Request{})
				synctest.Wait()
				time.Sleep(time.Minute)
			}
			if n := src.calls.Load(); n != 1 || !first.Expires().Equal(src.end()) {
				t.Errorf("%v: %d retrievals in half an hour, and an expiry of %v, want one and %v", change, n, first.Expires(), src.end())
			}
			if left := first.Remaining(); (left - 30*time.Minute).Abs() > near {
				t.Errorf("%v: %v are left of an hour after half of it", change, left)
			}
		})
	}
}
