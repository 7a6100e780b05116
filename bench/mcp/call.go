package mcp

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"freshet.dev/bench/internal/measure"
)

// atOnce is how many calls of one session are under way at once.
const atOnce = 25

// message is what is echoed.
var message = strings.Repeat("0123456789abcdef", 16)

func callCase() measure.Case {
	c := measure.Case{
		Name: "mcp/call", Title: "What a bridge adds to a tool's call", Rounds: 7,
		About: "`tools/call` of an echo of 256 bytes, by a client of the official Go SDK in this program, in the newest revision of the protocol that both " +
			"sides know; one session, one call at a time and then 25 at once. For *added* calls go in short turns, without a bridge and through the " +
			"subject, and it is the difference; *÷ direct* is a call through the subject over one without, in the same turns. Server, bridge and " +
			"agent share the processors, and nothing is encrypted. mcp-proxy-for-aws was not measured: no index of Python packages that has it could be reached. By its source " +
			"(aws/mcp-proxy-for-aws: server.py, proxy.py, sigv4_helper.py) each agent starts a Python process, which asks botocore for the " +
			"credentials at every request, signs the body in Python, and has five connections at most, one of them kept: 25 calls at once wait for " +
			"five, and most open a connection.",
		Columns: []measure.Column{
			{Name: "p50", Unit: measure.Nanoseconds, Compare: true},
			{Name: "p99", Unit: measure.Nanoseconds},
			{Name: "added", Unit: measure.Nanoseconds, Compare: true},
			{Name: "÷ direct", Unit: measure.Count},
			{Name: "25 at once", Unit: measure.PerSecond, More: true, Compare: true},
		},
	}
	w := new(world)
	for _, y := range []*way{bearer, signature, gateway, bare, direct} {
		c.Subjects = append(c.Subjects, measure.Subject{Name: y.name, Role: y.role, Note: y.note, Start: func(s *measure.Setup) (measure.Round, error) {
			if err := w.begin(s); err != nil {
				return nil, err
			}
			a, err := w.agent(s, y)
			if err != nil {
				return nil, err
			}
			return w.callRound(s, a), nil
		}})
	}
	return c
}

// callRound calls one at a time, in turns with who goes to the server itself, and then many at once.
func (w *world) callRound(s *measure.Setup, a *agent) measure.Round {
	turns, turn, many := s.Size(12, 1), s.Size(60, 3), s.Size(1500, 50)
	return func() ([]float64, error) {
		if err := a.check(s.Context); err != nil {
			return nil, err
		}
		var all, added, ratio []float64
		for n := range turns {
			var p50 [2]float64
			for i := range p50 {
				i = (i + n) % 2 // each comes first as often
				who := []*agent{w.plain, a}[i]
				times, err := who.serial(s.Context, turn)
				if err != nil {
					return nil, err
				}
				if p50[i] = at(times, 0.5); i == 1 {
					all = append(all, times...)
				}
			}
			added = append(added, p50[1]-p50[0])
			ratio = append(ratio, p50[1]/p50[0])
		}
		rate, err := a.parallel(s.Context, many)
		return []float64{at(all, 0.5), at(all, 0.99), at(added, 0.5), at(ratio, 0.5), rate}, err
	}
}

// serial calls so many times, one after the other.
func (a *agent) serial(ctx context.Context, n int) ([]float64, error) {
	times := make([]float64, n)
	for i := range times {
		began := time.Now()
		if err := a.call(ctx, message); err != nil {
			return nil, err
		}
		times[i] = float64(time.Since(began))
	}
	return times, nil
}

// parallel calls so many times in all, and is how many were answered in a second.
func (a *agent) parallel(ctx context.Context, n int) (float64, error) {
	errs := make(chan error, atOnce)
	var wg sync.WaitGroup
	began := time.Now()
	for range atOnce {
		wg.Go(func() {
			for range n / atOnce {
				if err := a.call(ctx, message); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	select {
	case err := <-errs:
		return 0, err
	default:
		return float64(n/atOnce*atOnce) / took.Seconds(), nil
	}
}

// at is a quantile. It sorts in place.
func at(values []float64, q float64) float64 {
	slices.Sort(values)
	return values[int(q*float64(len(values)-1))]
}
