package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"freshet.dev/client"
	"freshet.dev/daemon"
	"freshet.dev/freshet"
	"freshet.dev/internal/socket"
	"freshet.dev/localapi"
)

// bridge is what a front talks to: the daemon's, or one of this process's own.
type bridge struct {
	g     *global
	flags *mcpFlags
	log   *slog.Logger

	mu   sync.Mutex
	s    *service
	own  *daemon.Bridges // nil: the daemon's
	path string          // of the daemon's socket
}

// thrifty is the garbage collector's percentage in a process that only carries lines: its heap is a hundred kilobytes.
const thrifty = 20

// opening bounds what the daemon takes to open a bridge: it asks nobody for that.
const opening = 10 * time.Second

// first finds the daemon, or what stands in for it, and opens the bridge.
func (b *bridge) first(ctx context.Context) (io.ReadWriteCloser, error) {
	s, err := b.g.connect(ctx, lasting)
	if err != nil {
		return nil, err
	}
	b.s, b.path = s, s.socket
	if err := b.flags.place(s.cfg); err != nil {
		return nil, err
	}
	conn, err := b.dial(ctx, true)
	return conn, b.flags.advised(err)
}

// advised adds what to do about a name that is no bridge's, and about a server that is not there.
func (f *mcpFlags) advised(err error) error {
	e, ok := errors.AsType[*freshet.Error](err)
	switch {
	case !ok || e.Hint != "":
	case e.Kind == freshet.Unavailable && strings.HasSuffix(e.Why, "connection refused"):
		e.WithHint("see whether the URL is right, and the server runs")
	case e.Kind == freshet.Invalid && f.spec.Gateway != "":
		e.WithHint("write a URL, or the name of an entry of mcp: in the daemon's freshet.yaml")
	}
	return err
}

// open opens it again, at whatever daemon there is now, by the configuration as it is now. own says that this process is to do without
// one if there is none; else the error's cause is errGone.
func (b *bridge) open(ctx context.Context, own bool) (io.ReadWriteCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.own != nil {
		return b.serve(ctx)
	}
	if !own {
		c, err := socket.Dial(ctx, b.path)
		if err != nil {
			return nil, gone(err)
		}
		c.Close()
	}
	s, err := b.g.connect(ctx, lasting)
	if err != nil {
		return nil, err
	}
	if s.client == nil && !own { // it has gone in this moment
		_ = s.Close()
		return nil, gone(socket.ErrNobody)
	}
	b.s.closeIdle()
	b.s = s
	return b.dial(ctx, own)
}

// gone marks the error of a daemon that is not there.
func gone(err error) error {
	if !errors.Is(err, socket.ErrNobody) && !errors.Is(err, client.ErrDied) {
		return err
	}
	e := freshet.Errorf(freshet.Unavailable, "the daemon is not there")
	e.Cause = errGone
	return e
}

// dial opens the bridge at the daemon that was found, or here where there is none.
func (b *bridge) dial(ctx context.Context, own bool) (io.ReadWriteCloser, error) {
	if b.s.client == nil {
		return b.serve(ctx)
	}
	short, cancel := context.WithTimeout(ctx, opening)
	defer cancel()
	conn, err := b.s.client.OpenMCP(short, b.flags.spec)
	switch {
	case err == nil:
		b.log.Debug("connected to the daemon", "socket", b.s.socket)
		b.s.cfg = nil
		return conn, nil
	case !own:
		return nil, gone(err)
	case !b.s.vanished(ctx, err):
		return nil, err
	}
	if err := b.s.replace(); err != nil {
		return nil, err
	}
	return b.serve(ctx)
}

// serve is the bridge in this process, with a broker of its own.
func (b *bridge) serve(ctx context.Context) (io.ReadWriteCloser, error) {
	if b.own == nil {
		own, err := b.s.bridges(b.flags, b.log)
		if err != nil {
			return nil, err
		}
		b.own = own
		b.log.Info("no daemon: this process is the bridge itself")
		debug.SetGCPercent(100)
	}
	m, err := b.own.Open(ctx, self(), b.flags.spec)
	if err != nil {
		return nil, err
	}
	return serveHere(ctx, m, b.log), nil
}

// bridges are those of a private broker.
func (s *service) bridges(f *mcpFlags, log *slog.Logger) (*daemon.Bridges, error) {
	b := &daemon.Bridges{Broker: s.private.Broker, Log: log, Version: version}
	if f.spec.Gateway == "" {
		return b, nil
	}
	return b, b.Configure(s.cfg)
}

// local is a connection to a bridge in this process.
type local struct {
	net.Conn
	end  context.CancelFunc // of what is under way
	done chan struct{}
}

// settling is how long what was said last may take to have its effect. Answers that nobody reads any more are not waited for.
const settling = 200 * time.Millisecond

// serveHere begins a session, which goes on until its connection is closed.
func serveHere(ctx context.Context, m localapi.MCP, log *slog.Logger) *local {
	front, back := net.Pipe()
	l := &local{Conn: front, done: make(chan struct{})}
	ctx, l.end = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(l.done)
		l.serve(ctx, m, back, log)
	}()
	return l
}

func (l *local) serve(ctx context.Context, m localapi.MCP, conn net.Conn, log *slog.Logger) {
	defer m.Close()
	defer conn.Close()
	if err := m.Serve(ctx, conn); err != nil {
		log.Debug("the bridge's connection has ended", "error", err)
	}
}

// Close ends the session, and waits until it has: the server is told too.
func (l *local) Close() error {
	err := l.Conn.Close()
	defer l.end()
	select {
	case <-l.done:
		return err
	case <-time.After(settling):
	}
	l.end()
	select {
	case <-l.done:
	case <-time.After(closeTime):
	}
	return err
}

// close ends what this process has of its own.
func (b *bridge) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.own != nil {
		b.own.Close()
	}
	if b.s == nil {
		return nil
	}
	return b.s.Close()
}

// closeIdle lets go of a daemon that has ended.
func (s *service) closeIdle() {
	if s.client != nil {
		s.client.Close()
	}
}
