package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"freshet.dev/broker"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/socket"
	"freshet.dev/localapi"
	"freshet.dev/metrics"
)

// Daemon is a running configuration.
type Daemon struct {
	broker    *broker.Broker
	log       *slog.Logger
	api       *localapi.API
	socket    *socket.Listener
	path      string // of the socket
	endpoints []*endpoint
	metrics   *metricsServer // nil: none
	strict    bool           // the audit is required
	ending    chan struct{}
}

// Start takes every socket, port and file that a configuration names, or none: on an error nothing is left open. Nothing is
// retrieved until somebody asks.
func Start(ctx context.Context, cfg *config.File, version string, log *slog.Logger) (d *Daemon, err error) {
	d = &Daemon{log: log, path: SocketPath(cfg), strict: cfg.Audit.Required, ending: make(chan struct{})}
	defer func() {
		if err != nil {
			d.abandon()
			d = nil
		}
	}()
	if err := harden(); err != nil {
		log.Warn("the daemon's memory is not protected from its own user's debuggers", "error", err)
	}
	// The socket comes first: whoever has it is the daemon, and only the daemon writes the audit log.
	if d.socket, err = listenSocket(cfg, d.path); err != nil {
		return d, err
	}
	var audit *broker.Audit
	if cfg.Audit.File != "" {
		if audit, err = broker.OpenAudit(cfg.Audit.File, cfg.Audit.Required, log); err != nil {
			return d, err
		}
	}
	m := metrics.New(version)
	if d.broker, err = Broker(cfg, Options{Log: log, Audit: audit, Observe: m.Observe}); err != nil {
		audit.Close()
		return d, err
	}
	m.Read(d.broker)
	if d.metrics, err = listenMetrics(cfg.Metrics, m.Handler()); err != nil {
		return d, err
	}
	if err := d.listen(ctx, cfg, child.NewRunner(0)); err != nil {
		return d, err
	}
	sessions := &Sessions{Broker: d.broker, Socket: d.path}
	d.api = localapi.New(localapi.Config{
		Broker: d.broker, OpenSession: sessions.Open, Ending: d.ending, Metrics: m.Handler(), ConfigPath: cfg.Path, ConfigHash: cfg.Digest,
		Version: version, Log: log,
	})
	SweepRuns()
	return d, nil
}

// SocketPath is where a configuration's daemon listens.
func SocketPath(cfg *config.File) string {
	if cfg.Socket.Path != "" {
		return cfg.Socket.Path
	}
	return socket.Default()
}

func listenSocket(cfg *config.File, path string) (*socket.Listener, error) {
	mode := os.FileMode(cfg.Socket.Mode)
	if mode == 0 {
		mode = 0o600
	}
	gid, err := socketGroup(cfg)
	if err != nil {
		return nil, err
	}
	if path == socket.Default() {
		dir := os.FileMode(0o700)
		if mode != 0o600 {
			dir = 0o755 // the socket's own mode says who gets in
		}
		if err := socket.OwnDir(filepath.Dir(path), dir); err != nil {
			return nil, freshet.Errorf(freshet.Invalid, "socket %s: %w", path, err).WithHint("set socket.path to a file in a folder of your own")
		}
	}
	return socket.Listen(path, mode, gid)
}

// socketGroup is the group that the socket is to have; -1 leaves it.
func socketGroup(cfg *config.File) (int, error) {
	if cfg.Socket.Group == "" {
		return -1, nil
	}
	gid, err := groupID(cfg.Socket.Group)
	if err != nil {
		return -1, freshet.Errorf(freshet.Invalid, "socket.group: %w", err).WithHint("name a group of this machine, or its number")
	}
	return gid, nil
}

// abandon closes what a failed start had opened.
func (d *Daemon) abandon() {
	for _, e := range d.endpoints {
		e.listener.Close()
	}
	if d.metrics != nil {
		d.metrics.listener.Close()
	}
	if d.broker != nil {
		_ = d.broker.Close(context.Background())
	}
	if d.socket != nil {
		d.socket.Close()
	}
}

// String says where the daemon listens, for its ready line.
func (d *Daemon) String() string {
	s := []string{"socket " + d.path}
	for _, e := range d.endpoints {
		s = append(s, fmt.Sprintf("%s at %s", strings.Join(e.kinds, ", "), e.listener.Addr()))
	}
	if d.metrics != nil {
		s = append(s, "metrics at "+d.metrics.listener.Addr().String())
	}
	return strings.Join(s, "; ")
}

// drain bounds each part of a shutdown.
const drain = 5 * time.Second

// Serve answers until ctx ends, then drains: no new requests, those under way are answered, retrievals end. It returns within
// twice the drain time.
func (d *Daemon) Serve(ctx context.Context) error {
	type serving struct {
		server   *http.Server
		listener net.Listener
	}
	all := []serving{{d.api.Server(), d.socket}}
	for _, e := range d.endpoints {
		all = append(all, serving{guard.Server(&e.routes, writeTimeout), e.listener})
	}
	if d.metrics != nil {
		all = append(all, serving{guard.Server(d.metrics.handler, writeTimeout), d.metrics.listener})
	}
	failed := make(chan error, len(all))
	for _, s := range all {
		s.server.ErrorLog = slog.NewLogLogger(d.log.Handler(), slog.LevelDebug)
		go func() { failed <- s.server.Serve(s.listener) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		d.log.Error("a server stopped", "error", err)
	}
	close(d.ending) // sessions stay open as long as their clients do; every other request has an end of its own
	bounded, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	var drained sync.WaitGroup
	for _, s := range all { // at once: while one waits for its requests, no other may take new ones
		drained.Go(func() {
			if s.server.Shutdown(bounded) != nil {
				s.server.Close()
			}
		})
	}
	drained.Wait()
	for _, e := range d.endpoints {
		for _, door := range e.doors {
			door.Close()
		}
	}
	bounded, cancel = context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err != nil {
		err = freshet.Errorf(freshet.Unavailable, "a server stopped: %w", err)
	}
	// What a shutdown that was asked for leaves undone is in the log. Lines that an audit must not lose make it a failure.
	if closed := d.broker.Close(bounded); closed != nil {
		d.log.Warn("not everything was finished", "error", closed)
		if d.strict {
			err = errors.Join(err, freshet.Errorf(freshet.Unavailable, "the audit log cannot be written, and audit.required is set").
				WithHint("free its disk; see the daemon's log"))
		}
	}
	return errors.Join(err, d.socket.Close())
}

// reason is an error without the operation and address that the message has already.
func reason(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
