package hit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

func TestSmoke(t *testing.T) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			res, err := measure.Run(t.Context(), c, measure.Options{Rounds: 1, Smoke: true})
			if err != nil {
				t.Fatal(err)
			}
			wantRows(t, res, len(c.Subjects))
		})
	}
	for _, c := range Curves() {
		t.Run(c.Name, func(t *testing.T) {
			res, err := measure.RunCurve(t.Context(), c, measure.Options{Rounds: 1, Smoke: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range res.Sizes {
				wantRows(t, size, len(c.Subjects))
			}
		})
	}
}

func wantRows(t *testing.T, res measure.Result, subjects int) {
	t.Helper()
	if len(res.Rows) != subjects {
		t.Errorf("%d rows of %d subjects", len(res.Rows), subjects)
	}
	for _, row := range res.Rows {
		if row.Err != "" {
			t.Errorf("%s: %s", row.Subject, row.Err)
		}
	}
}

// More than the smoke's size: tokens of a hundred scopes or tenants must not be taken for each other.
func TestHitsAmongManyAreEachItsOwn(t *testing.T) {
	for _, c := range []measure.Curve{scopes(), tenants()} {
		c.At = []int{100}
		res, err := measure.RunCurve(t.Context(), c, measure.Options{Rounds: 1, Smoke: true})
		if err != nil {
			t.Fatal(err)
		}
		wantRows(t, res.Sizes[0], len(c.Subjects))
	}
}

func TestARoundThatMissesIsWrong(t *testing.T) {
	setup := func() *measure.Setup { return &measure.Setup{Context: t.Context(), Smoke: true} }
	i := opened(setup())
	one, err := once(setup(), i, func(int) (string, error) {
		got, err := i.Token(t.Context(), peers.Only)
		return got.Secret, err
	})
	if err != nil {
		t.Fatal(err)
	}
	anothers, err := i.Token(t.Context(), scope(1))
	if err != nil {
		t.Fatal(err)
	}
	rounds := map[string]measure.Round{
		"one key's token asked for again": one,
		"another's token": among(setup(), opened(setup()), 1, func(int, int) (string, issuer.Wanted, error) {
			return anothers.Secret, scope(2), nil
		}),
		"the issuer asked": among(setup(), i, 1, func(int, int) (string, issuer.Wanted, error) {
			got, err := i.Token(t.Context(), scope(1))
			return got.Secret, scope(1), err
		}),
		"misses": keyRound(setup(), 0, func(n int) (int, error) { return n - 1, nil }),
	}
	for name, round := range rounds {
		if _, err := round(); !isWrong(err) {
			t.Errorf("%s: got %v, want measure.ErrWrong", name, err)
		}
	}
	if err := fill(i, 3, func(int) error { return nil }); !isWrong(err) {
		t.Errorf("tokens that nobody asked for: got %v, want measure.ErrWrong", err)
	}
}

func TestCallersThatGetAnothersTokenAreWrong(t *testing.T) {
	i := issuer.New()
	over := make(chan struct{})
	close(over)
	_, err := callers(t.Context(), func(ctx context.Context, w issuer.Wanted) (string, time.Time, error) {
		got, err := i.Token(ctx, tenant(7))
		return got.Secret, got.Expires, err
	}, tenant(0), over)
	if !isWrong(err) {
		t.Errorf("got %v, want measure.ErrWrong", err)
	}
}

func TestHotKeysAreSpreadOverAll(t *testing.T) {
	for _, n := range []int{1, 100, most, 3 * most, million} {
		got := hot(n)
		if len(got) != min(n, most) || got[0] != 0 || got[len(got)-1] < n/2 || got[len(got)-1] >= n {
			t.Errorf("of %d: %d, from %d to %d", n, len(got), got[0], got[len(got)-1])
		}
		if !slices.IsSorted(got) || len(slices.Compact(got)) != min(n, most) {
			t.Errorf("of %d: some come twice", n)
		}
	}
}

func TestRankIsOfTheSortedTimes(t *testing.T) {
	var times []time.Duration
	for n := range 200 {
		times = append(times, time.Duration(n+1))
	}
	for percent, want := range map[int]time.Duration{50: 100, 99: 198, 100: 200} {
		if got := rank(times, percent); got != want {
			t.Errorf("p%d of 1 to 200 is %d, want %d", percent, got, want)
		}
	}
	if got := rank(times[:1], 99); got != 1 {
		t.Errorf("p99 of one is %d", got)
	}
}

func TestMapsFindWhatWasStored(t *testing.T) {
	var s shards[string]
	m := make(map[string]*entry)
	for n := range 1000 {
		k, e := fmt.Sprint(n), newEntry()
		s.store(k, uint64(n), e)
		m[k] = e
	}
	var c copied[string]
	c.replace(m)
	for n := range 1000 {
		k := fmt.Sprint(n)
		if s.load(k, uint64(n)) != m[k] || c.load(k) != m[k] || !m[k].lives() {
			t.Fatalf("%s is not what was stored", k)
		}
	}
	if s.load("none", 0) != nil || c.load("none") != nil {
		t.Error("found what was not stored")
	}
}

func isWrong(err error) bool { return errors.Is(err, measure.ErrWrong) }
