package serve

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"freshet.dev/bench/internal/daemon"
	"freshet.dev/bench/internal/load"
	"freshet.dev/bench/internal/measure"
)

// idleCase is what connections cost that nobody uses.
func idleCase() measure.Case {
	w := &world{dialect: &dialects[0]}
	return measure.Case{
		Name: "serve/idle", Title: "A daemon with 10,000 idle connections", Rounds: 3, Missing: load.Missing("tcp"),
		About: "Clients that have asked once and keep their connections, as SDKs do: as many as file descriptors allow, up to 10,000. " +
			"What the process has in memory more, by the connection, a second later; and meanwhile another client that asks on a " +
			"connection of its own, one request after another.",
		Columns: []measure.Column{
			{Name: "connections", Unit: measure.Count},
			{Name: "memory of one", Unit: measure.Bytes, Compare: true},
			{Name: "p50", Unit: measure.Nanoseconds, Compare: true},
			{Name: "p99", Unit: measure.Nanoseconds},
		},
		Subjects: []measure.Subject{
			{Name: "freshet", Role: measure.Freshet, Start: w.idleFreshet, Note: "its endpoint for AWS SDKs"},
			{Name: "net/http", Role: measure.Floor, Start: w.idleProgram("bare")},
			{Name: "fasthttp", Role: measure.Floor, Start: w.idleProgram("barefast"), Modules: []string{"github.com/valyala/fasthttp"}},
		},
	}
}

func (w *world) idleFreshet(s *measure.Setup) (measure.Round, error) {
	home, err := daemon.New(s)
	if err != nil {
		return nil, err
	}
	return w.idleRound(s, func() (*daemon.Process, string, error) {
		p, err := home.Serve(s.Context)
		if err != nil {
			return nil, "", err
		}
		address, err := daemon.Address(p)
		return p, address, err
	}), nil
}

func (w *world) idleProgram(name string) func(*measure.Setup) (measure.Round, error) {
	return func(s *measure.Setup) (measure.Round, error) {
		dir, err := s.Tools.Dir()
		if err != nil {
			return nil, err
		}
		here := &world{dialect: w.dialect, body: filepath.Join(dir, "body")}
		body := `{"AccessKeyId":"` + daemon.AccessKeyID + `"}`
		if err := os.WriteFile(here.body, []byte(body), 0o600); err != nil {
			return nil, err
		}
		return w.idleRound(s, func() (*daemon.Process, string, error) { return here.start(s, name) }), nil
	}
}

// idleRound starts a server, opens connections, and stops it again: memory that a server has had it keeps.
func (w *world) idleRound(s *measure.Setup, start func() (*daemon.Process, string, error)) measure.Round {
	return func() ([]float64, error) {
		p, address, err := start()
		if err != nil {
			return nil, err
		}
		defer p.Stop()
		t := w.target("tcp", address)
		shape := load.Shape{Connections: 1, For: time.Duration(s.Size(1000, 20)) * time.Millisecond, Own: s.Smoke}
		if _, err := load.Run(s.Context, t, shape); err != nil { // its memory is that of a server in use
			return nil, err
		}
		before, err := p.Memory()
		if err != nil {
			return nil, err
		}
		n := s.Size(most(), 50)
		conns, err := open(s.Context, t, n)
		defer func() {
			for _, c := range conns {
				c.Close()
			}
		}()
		if err != nil {
			return nil, err
		}
		time.Sleep(time.Duration(s.Size(1000, 10)) * time.Millisecond)
		after, err := p.Memory()
		if err != nil {
			return nil, err
		}
		r, err := load.Run(s.Context, t, shape)
		return []float64{float64(n), (after - before) / float64(n), r.P50, r.P99}, err
	}
}

// most is how many connections this process can have, and the server as well, which has the same limits.
func most() int {
	const wanted, spare = 10_000, 200
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 500
	}
	return min(wanted, int(limit.Cur)-spare) // Go has raised it to the hard limit
}

// open opens connections, with one request on each.
func open(ctx context.Context, t load.Target, n int) ([]net.Conn, error) {
	const dialers = 16
	conns := make([][]net.Conn, dialers)
	errs := make([]error, dialers)
	var wg sync.WaitGroup
	for i := range dialers {
		wg.Go(func() {
			for range (n + dialers - 1 - i) / dialers {
				c, err := t.Connect(ctx)
				if err != nil {
					errs[i] = err
					return
				}
				conns[i] = append(conns[i], c)
			}
		})
	}
	wg.Wait()
	var all []net.Conn
	for _, some := range conns {
		all = append(all, some...)
	}
	return all, errors.Join(errs...)
}
