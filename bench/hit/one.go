package hit

import (
	"sync/atomic"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

func oneKey() measure.Case {
	return measure.Case{
		Name:  "hit/one-key",
		Title: "A hit, one key",
		About: "A client that has its token is asked for it again. Each is made once and called directly. *serial* is by one " +
			"goroutine, *parallel* by as many as there are processors, and is the time divided by all the hits that they made.",
		Columns: measure.LoopColumns(),
		Subjects: append([]measure.Subject{
			byHandle(), byStrings(), underAWS(), underAzure(), underOAuth2(),
			{
				Name: "an atomic load", Role: measure.Floor, Note: "of a pointer to the token; nobody looks whether it has expired",
				Start: atomicLoad,
			},
			{
				Name: "an atomic load and the clock", Role: measure.Floor, Note: "the same, and its expiry compared with time.Now",
				Start: atomicLoadAndClock,
			},
		}, onePeers()...),
	}
}

// kept is the least that a cache keeps of a token.
type kept struct {
	token   string
	expires time.Time
}

var floor atomic.Pointer[kept]

func atomicLoad(s *measure.Setup) (measure.Round, error) {
	floor.Store(&kept{"token", time.Now().Add(24 * time.Hour)})
	return loop(s, func(n int) error {
		missing := 0
		for range n {
			if floor.Load() == nil {
				missing++
			}
		}
		return missed(missing)
	}, nil), nil
}

func atomicLoadAndClock(s *measure.Setup) (measure.Round, error) {
	floor.Store(&kept{"token", time.Now().Add(24 * time.Hour)})
	return loop(s, func(n int) error {
		missing := 0
		for range n {
			if t := floor.Load(); !time.Now().Before(t.expires) {
				missing++
			}
		}
		return missed(missing)
	}, nil), nil
}

func missed(n int) error {
	if n > 0 {
		return wrong("%d misses", n)
	}
	return nil
}

// opened is an issuer for a subject, closed after it.
func opened(s *measure.Setup) *issuer.Issuer {
	i := issuer.New()
	i.SetLifetime(24 * time.Hour) // so that nothing is due before all rounds are over
	s.Cleanup(i.Close)
	return i
}

// once makes a round of hits on one token: after the first, the issuer is not asked. f does n hits, and returns the last token.
func once(s *measure.Setup, i *issuer.Issuer, f func(n int) (string, error)) (measure.Round, error) {
	return loop(s, func(n int) error {
		got, err := f(n)
		if err != nil {
			return err
		}
		if w, _, err := issuer.Read(got); err != nil || w != peers.Only {
			return wrong("got a token for %v", w)
		}
		return nil
	}, func() error {
		if calls := i.Calls(); calls != 1 {
			return wrong("%d calls of the issuer", calls)
		}
		return nil
	}), nil
}
