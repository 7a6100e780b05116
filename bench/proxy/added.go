package proxy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"freshet.dev/bench/internal/load"
	"freshet.dev/bench/internal/measure"
)

// answered is in every answer of the upstream.
const answered = `{"answer":"answer-`

var kilobyte = strings.Repeat("0123456789abcdef", 64)

func addedCase(name, title, what, method, body string) measure.Case {
	c := measure.Case{
		Name: name, Title: title, Rounds: 7, Missing: load.Missing("unix"), // its own client takes turns that are too short for wrk
		About: what + " The upstream checks nothing and answers 1.6 KB. " + load.Client("tcp") + " asks on 64 connections that are kept, then " +
			"this program's own client on one; on the same processors, so that the figures are of callers, proxy and upstream. *processor* is " +
			"the proxy's own time for a request, the kernel's part included. For *added* the one connection is asked in short turns: without a " +
			"proxy, through ReverseProxy, through the subject. It is the difference of the first and the last, and *÷ ReverseProxy's* is it " +
			"over what ReverseProxy added in the same turns, which for ReverseProxy itself tells how well that can be measured. " +
			"aws-sigv4-proxy was not measured: its module could not be downloaded.",
		Columns: []measure.Column{
			{Name: "64 connections", Unit: measure.PerSecond, More: true, Compare: true},
			{Name: "p50", Unit: measure.Nanoseconds},
			{Name: "processor", Unit: measure.Nanoseconds, Compare: true},
			{Name: "1 connection", Unit: measure.PerSecond, More: true, Compare: true},
			{Name: "p50", Unit: measure.Nanoseconds},
			{Name: "added", Unit: measure.Nanoseconds, Compare: true},
			{Name: "÷ ReverseProxy's", Unit: measure.Count},
		},
	}
	w := new(world)
	for _, y := range []*way{bearer, signature, bare, direct} {
		c.Subjects = append(c.Subjects, measure.Subject{Name: y.name, Role: y.role, Note: y.note, Start: func(s *measure.Setup) (measure.Round, error) {
			if err := w.beside(s); err != nil {
				return nil, err
			}
			v := w.plain
			if y != bare {
				var err error
				if v, err = w.run(s, y); err != nil {
					return nil, err
				}
			}
			return w.addedRound(s, v, method, body), nil
		}})
	}
	return c
}

// beside starts the ReverseProxy that the others are measured beside, once.
func (w *world) beside(s *measure.Setup) (err error) {
	if w.plain == nil {
		s.Cleanup(func() { w.plain = nil })
		w.plain, err = w.run(s, bare)
	}
	return err
}

// addedRound asks on many connections, and then on one, in turns with those that it is compared with.
func (w *world) addedRound(s *measure.Setup, v *server, method, body string) measure.Round {
	const path = "/v1/models"
	turns := s.Size(15, 1)
	turn := load.Shape{Connections: 1, For: time.Duration(s.Size(40, 30)) * time.Millisecond, Own: true}
	all := load.Shape{Connections: 64, For: time.Duration(s.Size(600, 60)) * time.Millisecond, Own: s.Smoke}
	return func() ([]float64, error) {
		if err := v.check(s); err != nil {
			return nil, err
		}
		before := v.processor()
		many, err := load.Run(s.Context, v.target(method, path, body, answered), all)
		if err != nil {
			return nil, fmt.Errorf("64 connections: %w", err)
		}
		processor := (v.processor() - before) / float64(many.Answers)
		servers := []*server{w.upstream, w.plain, v}
		var perSecond, p50, added, plain []float64
		for n := range turns {
			times := make([]float64, len(servers))
			for i := range servers {
				i = (i + n) % len(servers) // each comes first, second and last
				r, err := load.Run(s.Context, servers[i].target(method, path, body, answered), turn)
				if err != nil {
					return nil, fmt.Errorf("1 connection: %w", err)
				}
				times[i] = r.P50
				if i == len(servers)-1 {
					perSecond = append(perSecond, r.PerSecond)
				}
			}
			p50 = append(p50, times[2])
			added = append(added, times[2]-times[0])
			plain = append(plain, times[1]-times[0])
		}
		if median(plain) <= 0 && !s.Smoke {
			return nil, fmt.Errorf("%w: ReverseProxy adds nothing", measure.ErrWrong)
		}
		return []float64{
			many.PerSecond, many.P50, processor, median(perSecond), median(p50), median(added), median(added) / median(plain),
		}, nil
	}
}

// processor is the time that processors have spent on a proxy so far; 0 without one.
func (v *server) processor() float64 {
	if v.way == direct {
		return 0
	}
	return float64(v.process.Processor())
}

// median sorts in place.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
