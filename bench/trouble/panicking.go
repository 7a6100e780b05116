package trouble

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

// These tell a copy of this program whose source is to panic, and how long a caller waits before it is said to hang.
const (
	role     = "FRESHET_BENCH_PANIC"
	patience = "FRESHET_BENCH_PATIENCE"
)

// What becomes of a panic, as the case's words have it.
const (
	errorToEach = iota
	panicInEach
	crash
	hang
)

// sources are those that panic: each is asked for a first token, or, where it is prepared, for one that is due.
func sources() []peers.Peer {
	return []peers.Peer{
		peers.Freshet, peers.AWS, peers.OAuth2, peers.GCP,
		variant(peers.GCP, peers.GCP.Name+", in the background", "the same, with a token that is valid for 3 more minutes, and so due",
			func(i *issuer.Issuer) (peers.Get, error) {
				get, err := peers.GCP.New(i)
				if err != nil {
					return nil, err
				}
				i.SetLifetime(3 * time.Minute)
				_, _, err = get(context.Background(), peers.Only)
				i.Reset()
				return get, err
			}),
		peers.MSAL, peers.AzIdentity, peers.BearerTokenPolicy,
	}
}

func panicking() measure.Case {
	c := measure.Case{
		Name:  "trouble/panic",
		Title: "Ten callers wait for a token, and the source panics",
		About: "Callers recover from panics, as those do whom net/http serves. Then the source is mended, and one more caller asks. Who has " +
			"no answer after 2 s hangs. The subjects are processes of their own.",
		Columns: []measure.Column{{Name: "it ends in", Words: []string{
			errorToEach: "an error to each caller", panicInEach: "a panic in each caller", crash: "a crash of the process", hang: "callers that hang",
		}}},
		Rounds: 1, // it ends the same each time
	}
	for _, p := range sources() {
		c.Subjects = append(c.Subjects, measure.Subject{
			Name: p.Name, Role: p.Role, Modules: p.Modules, Note: p.Note,
			Start: func(s *measure.Setup) (measure.Round, error) {
				return func() ([]float64, error) { return inProcess(s, p.Name) }, nil
			},
		})
	}
	return c
}

// inProcess has a copy of this program do [ChildMain].
func inProcess(s *measure.Setup, name string) ([]float64, error) {
	this, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(s.Context, bound)
	defer cancel()
	limit := 2 * time.Second
	if s.Smoke {
		limit = time.Second
	}
	cmd := exec.CommandContext(ctx, this)
	var stdout, stderr bytes.Buffer
	cmd.Env = append(os.Environ(), role+"="+name, patience+"="+limit.String())
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if err != nil && ctx.Err() == nil && strings.Contains(stderr.String(), "panic: the issuer's client panics") {
		return []float64{crash}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", this, err, stderr.String())
	}
	outcome, err := strconv.Atoi(stdout.String())
	if err != nil {
		return nil, err
	}
	return []float64{float64(outcome)}, nil
}

// ChildMain is what the program does first. It returns, unless this process is one in which a source is to panic.
func ChildMain() {
	name := os.Getenv(role)
	if name == "" {
		return
	}
	limit, err := time.ParseDuration(os.Getenv(patience))
	if err != nil {
		fmt.Fprintln(os.Stderr, patience+":", err)
		os.Exit(1)
	}
	for _, p := range sources() {
		if p.Name != name {
			continue
		}
		outcome, err := witness(p, limit)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(outcome)
		os.Exit(0)
	}
	fmt.Fprintf(os.Stderr, "no source %q\n", name)
	os.Exit(1)
}

// end is how a caller's request ended.
type end struct {
	err      error
	panicked bool
}

// witness sees what becomes of a panic, unless the process crashes.
func witness(p peers.Peer, limit time.Duration) (outcome int, err error) {
	i := issuer.New()
	get, err := p.New(i)
	if err != nil {
		return 0, err
	}
	i.SetTakes(limit / 100) // where each caller asks for itself, in turn, it takes them ten times as long as one
	i.SetPanics(true)
	const callers = 10
	ends := make(chan end, callers+1)
	request := func() {
		e := end{panicked: true}
		defer func() {
			if e.panicked {
				_ = recover()
			}
			ends <- e
		}()
		_, _, e.err = get(context.Background(), peers.Only)
		e.panicked = false
	}
	for range callers {
		go request()
	}
	hung := time.After(limit)
	panicked, served := 0, 0
	for range callers {
		select {
		case e := <-ends:
			if e.panicked {
				panicked++
			} else if e.err == nil {
				served++
			}
		case <-hung:
			return hang, nil
		}
	}
	if served > 0 {
		time.Sleep(limit) // somebody asks in the background, if anybody does
	}
	i.SetPanics(false)
	go request()
	select {
	case <-ends:
	case <-time.After(limit):
		return hang, nil
	}
	switch {
	case panicked > 0:
		return panicInEach, nil
	case served > 0:
		return 0, fmt.Errorf("%d callers have a token, though the source panicked: %w", served, measure.ErrWrong)
	}
	return errorToEach, nil
}
