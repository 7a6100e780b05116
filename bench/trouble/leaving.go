package trouble

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

func deadline() measure.Case {
	return measure.Case{
		Name:  "trouble/deadline",
		Title: "A caller waits 30 ms at most, for a token that another has asked for",
		About: "The issuer takes 500 ms, and has been asked 50 ms ago by somebody who can wait. How long the caller with the deadline " +
			"waits in fact.",
		Columns: []measure.Column{{Name: "wait", Unit: measure.Nanoseconds, Compare: true}},
		Rounds:  3,
		Subjects: each(impatient,
			peers.Freshet, peers.AWS, peers.OAuth2, peers.GCP, peers.MSAL, peers.AzIdentity, peers.BearerTokenPolicy),
	}
}

func impatient(s *measure.Setup, i *issuer.Issuer, get peers.Get) ([]float64, error) {
	i.SetTakes(takes(s, 500*time.Millisecond))
	var wg sync.WaitGroup
	var first call
	wg.Go(func() { first = ask(s.Context, get) })
	pause(s, 50*time.Millisecond)
	ctx, cancel := context.WithTimeout(s.Context, takes(s, 30*time.Millisecond))
	defer cancel()
	second := ask(ctx, get)
	wg.Wait()
	if first.err != nil {
		return nil, first.err
	}
	if errors.Is(second.err, measure.ErrWrong) {
		return nil, second.err
	}
	return []float64{float64(second.took)}, nil
}

// ends of a retrieval whose first caller leaves, as the case's words have them.
const (
	survives = iota
	restarted
	failing
	alone
)

func leaving() measure.Case {
	const latency = 250 * time.Millisecond
	c := measure.Case{
		Name:  "trouble/leaving",
		Title: "Ten callers wait for a token, and the one who asked first leaves",
		About: "The issuer takes 250 ms. The first caller's context is cancelled when half of that has passed, and ten others have come to " +
			"wait since. What becomes of the work, and of them.",
		Columns: []measure.Column{
			{Name: "the work", Words: []string{
				survives: "goes on", restarted: "is lost, and begun again", failing: "is lost, and others fail", alone: "is each caller's own",
			}},
			{Name: "live callers that failed"},
			{Name: "issuer calls"},
			{Name: "longest wait", Unit: measure.Nanoseconds}, // not compared: who fails does not wait long
		},
		Rounds: 3,
		Subjects: each(leave{latency: latency}.round,
			peers.Freshet, peers.AWS, peers.OAuth2, peers.GCP, peers.MSAL, peers.AzIdentity, peers.BearerTokenPolicy),
	}
	msal := peers.MSAL
	msal.Name += ", in discovery"
	msal.Note = "the same, where the first caller leaves while the tenant's endpoints are looked up; that takes 250 ms too, and so does the lookup of the instance before"
	c.Subjects = append(c.Subjects, subject(msal, leave{latency: latency, discovery: latency}.round))
	return c
}

// leave is when the issuer answers.
type leave struct{ latency, discovery time.Duration }

func (l leave) round(s *measure.Setup, i *issuer.Issuer, get peers.Get) ([]float64, error) {
	i.SetTakes(takes(s, l.latency))
	if l.discovery > 0 {
		i.SetDiscoveryTakes(takes(s, l.discovery))
	}
	ctx, cancel := context.WithCancel(s.Context)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { ask(ctx, get) })
	pause(s, l.discovery+l.latency/4)
	var calls []call
	wg.Go(func() { calls = together(s.Context, 10, get) })
	pause(s, l.latency/4)
	cancel()
	wg.Wait()
	for _, c := range calls {
		if errors.Is(c.err, measure.ErrWrong) {
			return nil, c.err
		}
	}
	became := survives
	switch n := i.Calls(); {
	case failed(calls) > 0:
		became = failing
	case n > 2:
		became = alone
	case n == 2:
		became = restarted
	case n == 0:
		return nil, fmt.Errorf("nobody asked the issuer: %w", measure.ErrWrong)
	}
	return []float64{float64(became), float64(failed(calls)), float64(i.Calls()), float64(longest(calls))}, nil
}
