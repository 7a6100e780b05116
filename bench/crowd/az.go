package crowd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"freshet.dev/bench/internal/az"
	"freshet.dev/bench/internal/measure"
)

// scope is what a token is asked for.
const scope = "https://management.azure.com/.default"

// weight is what is to be known of the stand-in. Its measure is Debian's azure-cli 2.45.
const weight = "The `az` is a stand-in, a program in Python that takes 0.6 s of processor time and some 55 MB at each start: the least that " +
	"the real one was seen to take, when it has no more to do than to say that nobody is logged in. "

// azEach is about programs that each make a credential, as those of a test suite, a build or a fleet of agents do.
func azEach() measure.Case {
	return azCase(measure.Case{
		Name:  "crowd/az",
		Title: "200 callers with a credential each ask for a token of the Azure CLI",
		About: weight + "The callers stand for programs that run at the same time. An azidentity credential gives up after 10 s unless " +
			"told otherwise. The time is until the last caller has an answer, be it an error. One run is all that is needed. " +
			"Runs left behind go on when nobody waits for them any more: azidentity ends the shell that it starts az by, and not az.",
		Subjects: []measure.Subject{
			azSubject(viaDaemon, crowdOf{full: 200}),
			azSubject(credentialEach, crowdOf{full: 200}),
		},
	})
}

// azFew is the same with few enough for all of them to be answered, on two processors or more.
func azFew() measure.Case {
	return azCase(measure.Case{
		Name:  "crowd/az-few",
		Title: "8 callers with a credential each ask for a token of the Azure CLI",
		About: weight + "As in `crowd/az`, with so few that a machine of two processors gets all of the runs done before azidentity gives up.",
		Subjects: []measure.Subject{
			azSubject(viaDaemon, crowdOf{full: 8}),
			azSubject(credentialEach, crowdOf{full: 8}),
		},
	})
}

func azShared() measure.Case {
	return azCase(measure.Case{
		Name:  "crowd/az-shared",
		Title: "64 callers of one program share a credential of the Azure CLI",
		About: weight + "No caller has a deadline. The time is until the last has its token.",
		Subjects: []measure.Subject{
			azSubject(viaDaemon, crowdOf{full: 64, shared: true, deadline: ample}),
			azSubject(wrapped, crowdOf{full: 64, shared: true, deadline: ample}),
			azSubject(credentialShared, crowdOf{full: 64, shared: true, deadline: ample}),
		},
	})
}

func azDeadline() measure.Case {
	return azCase(measure.Case{
		Name:  "crowd/az-deadline",
		Title: "64 callers of one program share a credential of the Azure CLI, and wait 5 s at most",
		About: weight + "Each caller's context ends after 5 s. The time is until the last has an answer, be it an error.",
		Subjects: []measure.Subject{
			azSubject(viaDaemon, crowdOf{full: 64, shared: true, deadline: 5 * time.Second}),
			azSubject(wrapped, crowdOf{full: 64, shared: true, deadline: 5 * time.Second}),
			azSubject(credentialShared, crowdOf{full: 64, shared: true, deadline: 5 * time.Second}),
		},
	})
}

// ample is a deadline that no caller meets. Without any, azidentity would end each run after 10 s.
const ample = 5 * time.Minute

func azCase(c measure.Case) measure.Case {
	c.Missing = az.Missing()
	c.Rounds = 2
	c.Columns = []measure.Column{
		{Name: "time", Unit: measure.Nanoseconds, Compare: true},
		{Name: "runs of az"},
		{Name: "failed callers"},
		{Name: "runs left behind"},
		{Name: "peak memory", Unit: measure.Bytes},
	}
	c.About += " The memory is what the runs of az, and freshet's daemon, had at the same time that is not mapped from files."
	c.Subjects = append(c.Subjects, azSubject(once, crowdOf{full: 1, deadline: ample}))
	return c
}

// crowdOf says who asks.
type crowdOf struct {
	full     int  // how many
	shared   bool // a client that they have in common
	deadline time.Duration
}

// ask has a caller ask for a token.
type ask func(ctx context.Context, caller int) (token string, err error)

// way is how callers come to a token of az.
type way struct {
	measure.Subject
	open func(s *measure.Setup, cli *az.CLI, clients int) (door, error) // makes so many clients; callers take turns at them
}

// door is a way that was opened.
type door struct {
	ask    ask
	beside []int // processes whose memory counts
	shut   func()
}

func azSubject(w way, of crowdOf) measure.Subject {
	subject := w.Subject
	subject.Start = func(s *measure.Setup) (measure.Round, error) {
		dir, err := s.Tools.Dir()
		if err != nil {
			return nil, err
		}
		cpu := 600 * time.Millisecond
		if s.Smoke {
			cpu = 0
		}
		cli, err := az.Install(dir, cpu)
		if err != nil {
			return nil, err
		}
		return func() ([]float64, error) { return azRound(s, w, of, cli) }, nil
	}
	return subject
}

func azRound(s *measure.Setup, w way, of crowdOf, cli *az.CLI) ([]float64, error) {
	callers := min(of.full, s.Size(of.full, 4))
	clients := callers
	if of.shared {
		clients = 1
	}
	restore, err := cli.OnPath()
	if err != nil {
		return nil, err
	}
	defer restore()
	d, err := w.open(s, cli, clients)
	if err != nil {
		return nil, err
	}
	defer d.shut()
	watch, err := cli.Watch(d.beside...)
	if err != nil {
		return nil, err
	}
	tokens, errs := make([]string, callers), make([]error, callers)
	took := together(callers, func(n int) {
		ctx, cancel := s.Context, context.CancelFunc(func() {})
		if of.deadline > 0 {
			ctx, cancel = context.WithTimeout(ctx, of.deadline)
		}
		defer cancel()
		tokens[n], errs[n] = d.ask(ctx, n)
	})
	seen, err := watch.Stop(s.Context)
	if err != nil {
		return nil, err
	}
	failed := 0
	for n, token := range tokens {
		switch {
		case errs[n] != nil && !gaveUp(errs[n]):
			return nil, errs[n]
		case errs[n] != nil:
			failed++
		case !strings.HasPrefix(token, az.Token):
			return nil, fmt.Errorf("a caller has a token that is not az's: %w", measure.ErrWrong)
		}
	}
	return []float64{float64(took), float64(seen.Runs), float64(failed), float64(seen.Left), float64(seen.Peak)}, nil
}

// gaveUp reports whether a caller failed for want of time. azidentity tells of the signal by which it ends az then.
func gaveUp(err error) bool {
	text := err.Error()
	return errors.Is(err, context.DeadlineExceeded) || strings.Contains(text, "signal: killed") || strings.Contains(text, "deadline exceeded")
}
