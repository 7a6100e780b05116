package hit

import (
	"context"
	"slices"
	"sync"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

func beside() measure.Case {
	return measure.Case{
		Name:  "hit/beside-a-retrieval",
		Title: "A hit while another tenant's token is retrieved",
		About: "One client has tenant B's token, and is asked for A's, which takes its issuer 2 s. In that time a caller comes for B's " +
			"every millisecond, each by a goroutine of its own, and the time from its call to its token is taken. That of freshet " +
			"while nothing is retrieved is what such a measurement takes by itself.",
		Columns: []measure.Column{
			{Name: "p50", Unit: measure.Nanoseconds, Compare: true},
			{Name: "p99", Unit: measure.Nanoseconds, Compare: true},
			{Name: "longest", Unit: measure.Nanoseconds}, // of 2,000, one meets whatever else the machine does
		},
		Rounds: 3,
		Subjects: []measure.Subject{
			whileRetrieving(peers.Freshet),
			{
				Name: "freshet, nothing retrieved", Role: measure.Floor, Modules: ours, Note: "the same hits alone",
				Start: func(s *measure.Setup) (measure.Round, error) { return startBeside(s, peers.Freshet, false) },
			},
			whileRetrieving(peers.MSAL), whileRetrieving(peers.AzIdentity),
		},
	}
}

func whileRetrieving(p peers.Peer) measure.Subject {
	return measure.Subject{
		Name: p.Name, Role: p.Role, Modules: p.Modules, Note: p.Note,
		Start: func(s *measure.Setup) (measure.Round, error) { return startBeside(s, p, true) },
	}
}

// startBeside has each round take the time of hits on one tenant's token, for as long as the retrieval of another's takes.
func startBeside(s *measure.Setup, p peers.Peer, retrieve bool) (measure.Round, error) {
	i := opened(s)
	get, err := p.New(i)
	if err != nil {
		return nil, err
	}
	b := tenant(0)
	if _, _, err := get(s.Context, b); err != nil {
		return nil, err
	}
	takes := 2 * time.Second
	if s.Smoke {
		takes = 30 * time.Millisecond
	}
	round := 0
	return func() ([]float64, error) {
		round++
		a := tenant(round) // one that it has no token for yet
		i.Reset()
		i.SetTakes(takes)
		defer i.SetTakes(0)
		over, fetched := make(chan struct{}), make(chan error, 1)
		if retrieve {
			go func() {
				defer close(over)
				fetched <- check(get, s.Context, a)
			}()
			for waits := true; waits && i.Calls() == 0; { // until the issuer has been asked
				select {
				case <-over:
					waits = false
				case <-time.After(time.Millisecond / 10):
				}
			}
		} else {
			fetched <- nil
			time.AfterFunc(takes, func() { close(over) })
		}
		took, err := callers(s.Context, get, b, over)
		if err := <-fetched; err != nil {
			return nil, err
		}
		if err != nil {
			return nil, err
		}
		if calls := i.Calls(); retrieve && calls != 1 || !retrieve && calls != 0 {
			return nil, wrong("%d calls of the issuer", calls)
		}
		slices.Sort(took)
		return []float64{float64(rank(took, 50)), float64(rank(took, 99)), float64(took[len(took)-1])}, nil
	}, nil
}

// callers sends one for a token each millisecond until it is over, and returns how long each of them took.
func callers(ctx context.Context, get peers.Get, w issuer.Wanted, over <-chan struct{}) ([]time.Duration, error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for going := true; going; {
		wg.Go(func() {
			began := time.Now()
			secret, _, err := get(ctx, w)
			t := time.Since(began)
			if err == nil {
				err = whose(secret, w)
			}
			mu.Lock()
			defer mu.Unlock()
			if took = append(took, t); err != nil {
				failed = err
			}
		})
		select {
		case <-over:
			going = false
		case <-tick.C:
		}
	}
	wg.Wait()
	return took, failed
}

func check(get peers.Get, ctx context.Context, w issuer.Wanted) error {
	secret, _, err := get(ctx, w)
	if err != nil {
		return err
	}
	return whose(secret, w)
}

// whose says whether a token is for what was wanted.
func whose(secret string, want issuer.Wanted) error {
	if got, _, err := issuer.Read(secret); err != nil || got != want {
		return wrong("got a token for %v, want one for %v", got, want)
	}
	return nil
}

// rank is the least of sorted times that so many in a hundred do not exceed.
func rank(sorted []time.Duration, percent int) time.Duration {
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}
