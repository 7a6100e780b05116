package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"freshet.dev/daemon"
	"freshet.dev/freshet"
	"freshet.dev/internal/socket"
	"freshet.dev/internal/wire"
	"freshet.dev/localapi"
)

// wanted is what a command needs to be open for as long as it runs.
type wanted struct {
	identities []string      // of a session; none: no session
	routes     []wire.Proxy  // of the signing proxy
	wait       time.Duration // for an issuer that fails
}

// doors are a session and routes that are open: the daemon's, or this process's own.
type doors struct {
	session wire.SessionOpened
	routes  []wire.ProxyOpened // one for each that was wanted
	ended   chan struct{}      // closed when the daemon has ended them; nil for this process's own
	closing chan struct{}      // closed when this process does; nil for its own
	ends    []func()
}

func (d *doors) close() {
	if d.closing != nil {
		close(d.closing)
	}
	for _, end := range slices.Backward(d.ends) {
		end()
	}
}

// openDoors opens all that is wanted, or nothing. Only a daemon that vanished before it had is replaced. r may be nil if no session
// is wanted.
func openDoors(ctx context.Context, s *service, r *daemon.Run, want wanted) (*doors, error) {
	if s.private == nil {
		began := freshet.Now()
		d, err := s.openShared(ctx, want)
		if err == nil || !s.vanished(ctx, err) {
			return d, err
		}
		if err := s.replace(); err != nil {
			return nil, err
		}
		want.wait = max(0, want.wait-began.Elapsed())
	}
	return s.openOwn(ctx, r, want)
}

// openShared opens them at the daemon.
func (s *service) openShared(ctx context.Context, want wanted) (_ *doors, err error) {
	d := &doors{ended: make(chan struct{}), closing: make(chan struct{})}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	// Once open, they outlive the signals that are the child's business; until then those end it.
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.ends = append(d.ends, cancel)
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	var once sync.Once
	keep := func(open interface {
		Wait()
		Close() error
	}) {
		d.ends = append(d.ends, func() { open.Close() })
		go func() {
			open.Wait()
			select {
			case <-d.closing:
			default:
				once.Do(func() { close(d.ended) })
			}
		}()
	}
	if len(want.identities) > 0 {
		opened, err := s.client.OpenSession(lasting, want.identities, want.wait)
		if err != nil {
			return nil, err
		}
		d.session = opened.SessionOpened
		keep(opened)
	}
	for _, spec := range want.routes {
		opened, err := s.client.OpenProxy(lasting, spec.WithHold(want.wait))
		if err != nil {
			return nil, err
		}
		d.routes = append(d.routes, opened.ProxyOpened)
		keep(opened)
	}
	if !stop() {
		return nil, freshet.AsError(ctx.Err())
	}
	return d, nil
}

// openOwn opens them in this process.
func (s *service) openOwn(ctx context.Context, r *daemon.Run, want wanted) (_ *doors, err error) {
	d := new(doors)
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	proxies := &daemon.Proxies{Broker: s.private.Broker, Log: slog.New(slog.DiscardHandler)}
	if len(want.identities) > 0 {
		if err := s.openOwnSession(ctx, r, proxies, want, d); err != nil {
			return nil, err
		}
	}
	for _, spec := range want.routes {
		p, err := proxies.Open(ctx, self(), spec, want.wait)
		if err != nil {
			return nil, err
		}
		d.routes = append(d.routes, p.Opened)
		d.ends = append(d.ends, p.Close)
	}
	return d, nil
}

// openOwnSession serves the local API for the child on a socket in the run's folder, so that what the child runs shares this
// process's broker.
func (s *service) openOwnSession(ctx context.Context, r *daemon.Run, proxies *daemon.Proxies, want wanted, d *doors) error {
	path := filepath.Join(r.Dir, "sock")
	sessions := &daemon.Sessions{Broker: s.private.Broker, Socket: path}
	api := localapi.New(localapi.Config{
		Broker: s.private.Broker, OpenSession: sessions.Open, OpenProxy: proxies.Open, Log: slog.New(slog.DiscardHandler),
		Running: func() wire.Running { return wire.Running{Version: version, Config: s.cfg.Path, Digest: s.cfg.Digest} },
	})
	l, err := socket.Listen(path, 0o600, -1)
	if err != nil {
		return freshet.AsError(err).WithHint("set XDG_RUNTIME_DIR to a folder of your own with a short path")
	}
	own, err := sessions.Open(ctx, self(), want.identities, want.wait)
	if err != nil {
		l.Close()
		return err
	}
	server := api.Server()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			l.Close()
		}
	}()
	d.session = own.Opened
	d.ends = append(d.ends, own.Close, func() {
		server.Close()
		<-done
	})
	return nil
}
