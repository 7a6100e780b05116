package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"freshet.dev/broker"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/socket"
	"freshet.dev/internal/watch"
	"freshet.dev/localapi"
	"freshet.dev/mcp/approval"
	"freshet.dev/metrics"
)

// Daemon is a running configuration.
type Daemon struct {
	broker  *broker.Broker
	log     *slog.Logger
	api     *localapi.API
	socket  *socket.Listener
	path    string         // of the socket
	metrics *metricsServer // nil: none
	figures *metrics.Metrics
	version string
	strict  bool // the audit is required
	run     *child.Runner
	watcher *watch.Watcher
	servers servers
	ready   readiness
	ctx     context.Context // until the shutdown begins
	end     context.CancelFunc
	wanted  chan struct{} // holds one wish for a reload

	started *config.File // what the process itself runs by
	running atomic.Pointer[running]

	opener  opener
	routes  routes
	bridges *Bridges

	changing  sync.Mutex           // one reload at a time; it guards what follows
	listeners map[string]*listener // address → listener
	serving   bool
}

// running is the configuration in force, and what is wrong with the file as it is now.
type running struct {
	cfg *config.File
	err error // nil: the file is in force
}

// Start takes every socket, port and file that a configuration names, or none: on an error nothing is left open. Nothing is
// retrieved until somebody asks, but what is pinned.
func Start(ctx context.Context, cfg *config.File, version string, log *slog.Logger) (d *Daemon, err error) {
	d = &Daemon{
		log: log, path: SocketPath(cfg), started: cfg, version: version, strict: cfg.Audit.Required, run: child.NewRunner(0),
		wanted: make(chan struct{}, 1),
	}
	d.ctx, d.end = context.WithCancel(context.Background())
	d.servers.init(log)
	d.running.Store(&running{cfg: cfg})
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
	d.figures = metrics.New(version)
	o := Options{Log: log, Audit: audit, Observe: d.figures.Observe, Run: d.run, Pin: true}
	ids, err := identities(cfg, o)
	if err == nil {
		d.broker, err = newBroker(cfg, nil, o)
	}
	if err != nil {
		audit.Close()
		return d, err
	}
	d.figures.Read(d.broker)
	d.ready.unloaded = d.broker.Unloaded
	for _, id := range ids {
		if id.Pin {
			d.ready.names = append(d.ready.names, id.Name)
		}
	}
	d.watcher = watch.New(log)
	d.follow(ids, cfg) // before anything is read that a change could make old
	if _, err = d.broker.Reconfigure(ids); err != nil {
		return d, err
	}
	if d.metrics, err = listenMetrics(cfg.Metrics, d.figures.Handler()); err != nil {
		return d, err
	}
	all, err := readSites(ctx, cfg, d.run)
	if err != nil {
		return d, err
	}
	if d.listeners, err = listenFor(all, nil); err != nil {
		return d, err
	}
	d.bridges = &Bridges{
		Broker: d.broker, Log: log, Version: version, Requests: d.figures.ObserveProxy, Observe: bridgeFigures(d.figures), Sessions: d.figures.BridgeSessions,
		Approvals: approval.NewStore(approval.Config{Observe: approvals(d.broker, d.figures)}),
	}
	d.opener = opener{broker: d.broker, observe: d.figures.ObserveProxy, routes: &d.routes, bridges: d.bridges}
	gateways, err := d.bridges.prepareAll(cfg)
	if err != nil {
		return d, err
	}
	fronts, err := d.opener.open(all, nil, gateways)
	if err != nil {
		discard(gateways)
		return d, err
	}
	d.bridges.put(gateways)
	for address, f := range fronts {
		d.listeners[address].front.Store(f)
	}
	sessions := &Sessions{Broker: d.broker, Socket: d.path}
	proxies := &Proxies{Broker: d.broker, Log: log, Observe: d.figures.ObserveProxy}
	d.api = localapi.New(localapi.Config{
		Broker: d.broker, OpenSession: sessions.Open, OpenProxy: proxies.Open, Ending: d.ctx.Done(), Running: d.status, Reload: d.Reload,
		Waiting: d.ready.missing,
		OpenMCP: d.bridges.Open, MCPTools: d.bridges.Tools, Approvals: d.bridges.Pending, Decide: d.bridges.Approvals.Decide,
		Metrics: d.figures.Handler(), Log: log,
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
	d.end()
	if d.watcher != nil {
		d.watcher.Close()
	}
	closeAll(d.listeners)
	if d.bridges != nil {
		d.bridges.Close()
	}
	if d.metrics != nil {
		d.metrics.listener.Close()
	}
	if d.broker != nil {
		bounded, cancel := context.WithTimeout(context.Background(), drain) // what is pinned may be under way
		_ = d.broker.Close(bounded)
		cancel()
	}
	if d.socket != nil {
		d.socket.Close()
	}
}

// String says where the daemon listens, for its ready line.
func (d *Daemon) String() string {
	d.changing.Lock()
	defer d.changing.Unlock()
	s := []string{"socket " + d.path}
	for _, address := range slices.Sorted(maps.Keys(d.listeners)) {
		l := d.listeners[address]
		at := l.Addr().String()
		if path, unix := unixPath(l.Addr()); unix {
			at = "unix:" + path
		}
		s = append(s, fmt.Sprintf("%s at %s", strings.Join(l.front.Load().kinds, ", "), at))
	}
	if d.metrics != nil {
		s = append(s, "metrics at "+d.metrics.listener.Addr().String())
	}
	return strings.Join(s, "; ")
}

// ballastSize is memory that is allocated and never touched, so that it takes none. The garbage collector runs when the heap has
// doubled, and no sooner than at 4 MiB: what a small daemon holds is a quarter of that, and it would collect every few hundred
// requests. With the ballast, some eight megabytes of garbage come together first: a daemon that has been busy keeps about seven of
// them for a while, one that has not takes what it took.
const ballastSize = 7 << 20

// drain bounds each part of a shutdown.
const drain = 5 * time.Second

// Serve answers until ctx ends, then drains: no new requests, those under way are answered, retrievals end. It returns within
// twice the drain time. ready is called once everything is served.
func (d *Daemon) Serve(ctx context.Context, ready func()) error {
	ballast := make([]byte, ballastSize)
	defer runtime.KeepAlive(ballast)
	d.changing.Lock()
	d.servers.start(d.api.Server(), d.socket)
	for _, l := range d.listeners {
		l.serve(&d.servers)
	}
	if d.metrics != nil {
		d.servers.start(guard.Server(d.metrics.handler, writeTimeout), d.metrics.listener)
	}
	d.serving = true
	d.changing.Unlock()
	var background sync.WaitGroup
	background.Go(d.reloads)
	background.Go(func() { d.ready.await(d.ctx, time.Duration(d.started.Ready.Timeout), d.log) })
	ready()
	var err error
	select {
	case <-ctx.Done():
	case err = <-d.servers.failed:
		d.log.Error("a server stopped", "error", err)
	}
	d.end() // sessions stay open as long as their clients do; every other request has an end of its own
	d.watcher.Close()
	background.Wait()
	d.changing.Lock() // a reload that somebody else asked for ends
	d.serving = false // and none begins
	d.changing.Unlock()
	bounded, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	var bridges sync.WaitGroup
	bridges.Go(func() { d.bridges.stop(bounded) }) // beside it: their streams have no end of their own
	d.servers.stop(bounded)
	bridges.Wait()
	for _, l := range d.listeners { // nobody changes them any more
		l.front.Load().leave()
	}
	d.routes.cut()
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
