package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"freshet.dev/freshet"
)

// order is what a phase's process is told, on its standard input. What its client needs beside that is in its environment,
// where an SDK looks for it.
type order struct {
	Client  string `json:"client"`
	Callers int    `json:"callers"`
	Wrapped bool   `json:"wrapped"` // by freshet's adapter
}

// report is what it answers, on its standard output.
type report struct {
	WallMS   float64   `json:"wall_ms"`
	WaitsMS  []float64 `json:"waits_ms"` // sorted
	Failures int       `json:"failures"`
	Failure  string    `json:"failure"`
}

// patience bounds a phase, so that a machine which is busy with something else still comes to its end. azidentity gives an az
// 10 s, which begin before it is started.
const patience = 15 * time.Second

// leave is how long callers have to leave when they are cancelled.
const leave = time.Second

// RunPhase is the process of one phase: it reads its order, has the callers ask, and reports. It ends early when its standard
// input does, as that is when whoever ordered it has ended.
func RunPhase(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	var o order
	in := json.NewDecoder(stdin)
	if err := in.Decode(&o); err != nil {
		return freshet.Errorf(freshet.Invalid, "demo: a phase is started by freshet demo alone")
	}
	ctx, cancel := WhileOpen(ctx, stdin)
	defer cancel()
	// A deadline would take the place of azidentity's own, which gives az 10 s.
	late := time.AfterFunc(patience, cancel)
	defer late.Stop()
	crowd, err := gather(ctx, o)
	if err != nil {
		return err
	}
	r := crowd.ask(ctx)
	return json.NewEncoder(stdout).Encode(r)
}

// WhileOpen is a context that ends when r does, which is how a child learns that its parent has died.
func WhileOpen(ctx context.Context, r io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, r)
		cancel()
	}()
	return ctx, cancel
}

// caller asks for a credential, once.
type caller func(context.Context) error

// crowd are callers that ask at the same moment.
type crowd []caller

// gather makes the callers of an order, a client each.
func gather(ctx context.Context, o order) (crowd, error) {
	client := clients[o.Client]
	if client == nil || o.Callers < 1 {
		return nil, freshet.Errorf(freshet.Invalid, "demo: no client %q", o.Client)
	}
	next := client(ctx, o.Wrapped)
	var c crowd
	for range o.Callers {
		one, err := next()
		if err != nil {
			return nil, fmt.Errorf("demo: %s: %w", o.Client, err)
		}
		c = append(c, one)
	}
	return c, nil
}

// ask has all callers ask. It waits for all of them, or until ctx has ended and they have had time to leave: who is left then
// has failed.
func (c crowd) ask(ctx context.Context) report {
	type answer struct {
		waitMS float64
		err    error
	}
	var (
		r       report
		start   = make(chan struct{})
		began   freshet.Instant
		answers = make(chan answer, len(c))
	)
	for _, one := range c {
		go func() {
			<-start
			err := one(ctx)
			answers <- answer{milliseconds(began.Elapsed()), err}
		}()
	}
	gone := make(chan struct{})
	defer context.AfterFunc(ctx, func() { time.AfterFunc(leave, func() { close(gone) }) })()
	began = freshet.Now()
	close(start)
	for range c {
		var a answer
		select {
		case a = <-answers:
		case <-gone:
			a = answer{milliseconds(began.Elapsed()), errors.New("no answer yet when the demo went on")}
		}
		r.WaitsMS = append(r.WaitsMS, a.waitMS)
		if a.err != nil {
			r.Failures++
			r.Failure = summary(a.err)
		}
	}
	r.WallMS = milliseconds(began.Elapsed())
	slices.Sort(r.WaitsMS)
	return r
}

// summary is an SDK's error as far as it fits into a line: some of them run to pages.
func summary(err error) string {
	const most = 200
	words := strings.Fields(err.Error())
	words = slices.DeleteFunc(words, func(w string) bool { return strings.Trim(w, "-") == "" }) // rules that azcore draws
	text := strings.Join(words, " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// percentile is the smallest of sorted values that p of them, a fraction, do not exceed.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(p*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// figures are a report as the ledger has it.
func (r report) figures() Figures {
	return Figures{
		Callers: len(r.WaitsMS), WallMS: r.WallMS, P50MS: percentile(r.WaitsMS, 0.50), P99MS: percentile(r.WaitsMS, 0.99),
		Failures: r.Failures, Failure: r.Failure,
	}
}
