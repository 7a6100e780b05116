package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"freshet.dev/bench/internal/daemon"
	"freshet.dev/bench/internal/load"
	"freshet.dev/bench/internal/measure"
)

// startCase is how soon a daemon answers, and what it then takes.
func startCase() measure.Case {
	w := &world{dialect: &dialect{network: "unix", method: "GET", path: "/readyz", want: "ready"}}
	return measure.Case{
		Name: "serve/start", Title: "A daemon's start", Rounds: 15, Missing: load.Missing("unix"),
		About: "From starting the process to the first answer of `/readyz` on its Unix socket, which is asked anew every half millisecond; " +
			"then what the process has in memory, a second later. freshet has two identities and three endpoints configured.",
		Columns: []measure.Column{
			{Name: "ready", Unit: measure.Nanoseconds, Compare: true},
			{Name: "memory", Unit: measure.Bytes, Compare: true},
		},
		Subjects: []measure.Subject{
			{Name: "freshet", Role: measure.Freshet, Start: w.startFreshet},
			{Name: "net/http", Role: measure.Floor, Start: w.startBare, Note: "a program that listens and answers, and does nothing else"},
		},
	}
}

func (w *world) startFreshet(s *measure.Setup) (measure.Round, error) {
	home, err := daemon.New(s)
	if err != nil {
		return nil, err
	}
	return w.startRound(s, home.Socket, daemon.Command{Args: []string{home.Program, "serve"}, Env: home.Env}), nil
}

func (w *world) startBare(s *measure.Setup) (measure.Round, error) {
	program, err1 := s.Tools.Program(s.Context, "bare")
	dir, err2 := s.Tools.Dir()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	socket, body := filepath.Join(dir, "socket"), filepath.Join(dir, "body")
	if err := os.WriteFile(body, []byte("ready\n"), 0o600); err != nil {
		return nil, err
	}
	return w.startRound(s, socket, daemon.Command{Args: []string{program, "-network", "unix", "-listen", socket, "-body", body}}), nil
}

// startRound starts a server, and stops it again.
func (w *world) startRound(s *measure.Setup, socket string, c daemon.Command) measure.Round {
	t := w.target("unix", socket)
	c.Until = func(ctx context.Context) error { return answers(ctx, t) }
	return func() ([]float64, error) {
		if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		began := time.Now()
		p, err := daemon.Start(s.Context, c)
		if err != nil {
			return nil, err
		}
		took := time.Since(began)
		defer p.Stop()
		time.Sleep(time.Duration(s.Size(1000, 10)) * time.Millisecond)
		memory, err := p.Memory()
		return []float64{float64(took), memory}, err
	}
}

// answers returns once a server does.
func answers(ctx context.Context, t load.Target) error {
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(500 * time.Microsecond) {
		_, err := t.Ask(ctx, true)
		if no := (*net.OpError)(nil); err == nil || !errors.As(err, &no) && !errors.Is(err, measure.ErrWrong) {
			return err
		}
		if ctx.Err() != nil || time.Now().After(until) {
			return fmt.Errorf("no answer: %w", err)
		}
	}
}
