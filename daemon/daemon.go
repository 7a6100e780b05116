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
	metrics   net.Listener
	scrape    http.Handler
}

// Start takes every socket, port and file that a configuration names, or none: on an error nothing is left open. Nothing is
// retrieved until somebody asks.
func Start(ctx context.Context, cfg *config.File, version string, log *slog.Logger) (d *Daemon, err error) {
	d = &Daemon{log: log, path: SocketPath(cfg)}
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
	d.scrape = m.Handler()
	if cfg.Metrics.Listen != "" {
		if d.metrics, err = net.Listen("tcp", cfg.Metrics.Listen); err != nil {
			return d, freshet.Errorf(freshet.Invalid, "metrics: cannot listen at %s: %w", cfg.Metrics.Listen, reason(err)).
				WithHint("stop what listens there, or set another metrics.listen")
		}
	}
	if err := d.listen(ctx, cfg, child.NewRunner(0)); err != nil {
		return d, err
	}
	sessions := &Sessions{Broker: d.broker, Socket: d.path}
	d.api = localapi.New(localapi.Config{
		Broker: d.broker, OpenSession: sessions.Open, Metrics: m.Handler(), ConfigPath: cfg.Path, ConfigHash: cfg.Digest,
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
	mode, gid := os.FileMode(cfg.Socket.Mode), -1
	if mode == 0 {
		mode = 0o600
	}
	if cfg.Socket.Group != "" {
		id, err := groupID(cfg.Socket.Group)
		if err != nil {
			return nil, freshet.Errorf(freshet.Invalid, "socket.group: %w", err)
		}
		gid = id
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

// abandon closes what a failed start had opened.
func (d *Daemon) abandon() {
	for _, e := range d.endpoints {
		e.listener.Close()
	}
	if d.metrics != nil {
		d.metrics.Close()
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
		s = append(s, "metrics at "+d.metrics.Addr().String())
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
		all = append(all, serving{guard.Server(e.mux, writeTimeout), e.listener})
	}
	if d.metrics != nil {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", d.scrape)
		all = append(all, serving{guard.Server(mux, writeTimeout), d.metrics})
	}
	// Sessions stay open as long as their clients do: they end with this context, before the servers wait for requests.
	open, end := context.WithCancel(context.Background())
	defer end()
	failed := make(chan error, len(all))
	for _, s := range all {
		s.server.ErrorLog = slog.NewLogLogger(d.log.Handler(), slog.LevelDebug)
		s.server.BaseContext = func(net.Listener) context.Context { return open }
		go func() { failed <- s.server.Serve(s.listener) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		d.log.Error("a server stopped", "error", err)
	}
	end()
	bounded, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	for _, s := range all {
		if s.server.Shutdown(bounded) != nil {
			s.server.Close()
		}
	}
	for _, e := range d.endpoints {
		for _, door := range e.doors {
			door.Close()
		}
	}
	bounded, cancel = context.WithTimeout(context.Background(), drain)
	defer cancel()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, d.broker.Close(bounded), d.socket.Close())
}

// reason is an error without the operation and address that the message has already.
func reason(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
