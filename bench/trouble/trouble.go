// Package trouble is about the moments that a cache of tokens is there for, beside the hit: a token that is due, an issuer that fails,
// is down or is slow, a caller that leaves, a source that panics. What is measured is what callers notice, and what the issuer does.
//
// Tokens are made due by the life that the issuer gives them, since each library has its own rule for when it replaces a token.
package trouble

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

// Cases are the family's.
func Cases() []measure.Case {
	return []measure.Case{due(), refusing(), outage(), deadline(), leaving(), panicking(), fewMinutes()}
}

// takes is how long the issuer takes, where a full run has it take as long as said.
func takes(s *measure.Setup, full time.Duration) time.Duration {
	if s.Smoke {
		return 4 * time.Millisecond
	}
	return full
}

// bound ends what would never end: a caller that waits longer than any should.
const bound = 30 * time.Second

// call is what a caller saw.
type call struct {
	secret string
	err    error
	took   time.Duration
}

// ask has one caller ask for the token that there is.
func ask(ctx context.Context, get peers.Get) (c call) {
	began := time.Now()
	c.secret, _, c.err = get(ctx, peers.Only)
	c.took = time.Since(began)
	if c.err != nil {
		return c
	}
	if got, _, err := issuer.Read(c.secret); err != nil || got != peers.Only {
		c.err = fmt.Errorf("a token for %v: %w", got, measure.ErrWrong)
	}
	return c
}

// together has n callers ask at once, and waits until all of them have an answer.
func together(ctx context.Context, n int, get peers.Get) []call {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	calls := make([]call, n)
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() { calls[i] = ask(ctx, get) })
	}
	wg.Wait()
	return calls
}

// longest is the wait of the caller who waited longest.
func longest(calls []call) time.Duration {
	return slices.MaxFunc(calls, func(a, b call) int { return int(a.took - b.took) }).took
}

// failed counts the callers who have no token.
func failed(calls []call) (n int) {
	for _, c := range calls {
		if c.err != nil {
			n++
		}
	}
	return n
}

// pause waits, unless this is a smoke run or the command is interrupted.
func pause(s *measure.Setup, d time.Duration) {
	if s.Smoke || d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-s.Context.Done():
	}
}

// settle waits for the calls that the issuer still answers: they are not to disturb the next subject.
func settle(i *issuer.Issuer) error {
	for end := time.Now().Add(bound); i.Running() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("a call to the issuer does not end: %w", measure.ErrWrong)
		}
	}
	return nil
}

// subject has a peer do rounds of f, each with an issuer of its own.
func subject(p peers.Peer, f func(*measure.Setup, *issuer.Issuer, peers.Get) ([]float64, error)) measure.Subject {
	return measure.Subject{
		Name: p.Name, Role: p.Role, Modules: p.Modules, Note: p.Note,
		Start: func(s *measure.Setup) (measure.Round, error) {
			return func() ([]float64, error) {
				i := issuer.New()
				defer i.Close()
				get, err := p.New(i)
				if err != nil {
					return nil, err
				}
				values, err := f(s, i, get)
				if err != nil {
					return nil, err
				}
				return values, settle(i)
			}, nil
		},
	}
}

// each is a subject for each peer.
func each(f func(*measure.Setup, *issuer.Issuer, peers.Get) ([]float64, error), all ...peers.Peer) []measure.Subject {
	var subjects []measure.Subject
	for _, p := range all {
		subjects = append(subjects, subject(p, f))
	}
	return subjects
}
