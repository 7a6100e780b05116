package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"freshet.dev/broker"
	"freshet.dev/client"
	"freshet.dev/config"
	"freshet.dev/daemon"
	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/rendezvous"
	"freshet.dev/internal/socket"
	"freshet.dev/internal/watch"
)

// global are the flags of every command, and what they lead to.
type global struct {
	config string
}

// load reads the configuration. chosen tells that the user named it.
func (g *global) load() (cfg *config.File, chosen bool, err error) {
	chosen = g.config != "" || os.Getenv("FRESHET_CONFIG") != ""
	path, err := config.Find(g.config, os.Getenv)
	if err != nil {
		return nil, chosen, err
	}
	cfg, err = config.Load(path, daemon.Kinds())
	return cfg, chosen, err
}

// ancestry are the retrievals this process runs within.
func ancestry() []string {
	if s := os.Getenv(child.EnvAncestry); s != "" {
		return strings.Split(s, ",")
	}
	return nil
}

// service is a daemon, or a private broker where there is none.
type service struct {
	client  *client.Client // nil without a daemon
	private *private       // nil with one
	cfg     *config.File   // as this process reads it; nil if it cannot, which beside a daemon is no error
	socket  string         // the daemon's
	lasts   bool           // see lasting
}

// private is a broker of this process's own.
type private struct {
	*broker.Broker
	watcher *watch.Watcher // nil: none
}

// use is what a command wants of a daemon, or of a broker in its place.
type use int

const (
	brief   use = iota // it asks once
	lasting            // what it has read may change while it runs
	anyhow             // it asks about the daemon, whichever configuration that runs
)

// connect finds the daemon: at $FRESHET_SOCKET, at the configuration's socket, or at the default path. Only when nothing
// listens there does this process become its own broker; a denial or a timeout is an error.
func (g *global) connect(ctx context.Context, how use) (*service, error) {
	cfg, chosen, loadErr := g.load()
	if chosen && loadErr != nil && how != anyhow {
		return nil, loadErr
	}
	cc := client.Config{Socket: socket.Default(), Ancestry: ancestry()}
	if cfg != nil {
		cc.Socket = daemon.SocketPath(cfg)
		if chosen {
			cc.ConfigHash = cfg.Digest
		}
	}
	if how == anyhow {
		cc.ConfigHash = ""
	}
	if s := os.Getenv("FRESHET_SOCKET"); s != "" {
		cc.Socket = s
		if g.config == "" {
			cc.ConfigHash = "" // the variable was set by an exec, beside whichever configuration the environment names
		}
	}
	c, err := socket.Dial(ctx, cc.Socket)
	if err == nil {
		c.Close()
		return &service{client: client.New(cc), cfg: cfg, socket: cc.Socket, lasts: how == lasting}, nil
	}
	if !errors.Is(err, socket.ErrNobody) {
		return nil, err
	}
	if loadErr != nil {
		return nil, loadErr
	}
	p, err := newPrivate(cfg, how == lasting)
	if err != nil {
		return nil, err
	}
	return &service{private: p, cfg: cfg}, nil
}

// newPrivate makes a broker that shares its retrievals with the other commands of this user that run now.
func newPrivate(cfg *config.File, lasts bool) (*private, error) {
	if err := cfg.CheckSecrets(); err != nil {
		return nil, err
	}
	dir, err := daemon.RuntimeFolder("flights")
	if err != nil {
		return nil, err
	}
	point, err := rendezvous.At(dir)
	if err != nil {
		return nil, err
	}
	// It holds credentials as the daemon does; where the system cannot protect them, that is no reason to do without any.
	_ = daemon.Undumpable()
	log := slog.New(slog.DiscardHandler) // a command's own error says what failed
	var audit *broker.Audit
	if cfg.Audit.File != "" {
		if audit, err = broker.OpenAudit(cfg.Audit.File, cfg.Audit.Required, log); err != nil {
			return nil, err
		}
	}
	p := new(private)
	if lasts {
		p.watcher = watch.New(log)
	}
	if p.Broker, err = daemon.Broker(cfg, daemon.Options{Log: log, Audit: audit, Around: point.Do, Watch: p.watcher}); err != nil {
		return nil, errors.Join(err, audit.Close())
	}
	return p, nil
}

// self is this process as its own broker's caller.
func self() broker.Caller {
	groups, _ := os.Getgroups()
	c := broker.Caller{Door: "command", Peer: true, UID: uint32(os.Getuid()), PID: os.Getpid(), Ancestry: ancestry()}
	for _, g := range append(groups, os.Getgid()) {
		c.GIDs = append(c.GIDs, uint32(g))
	}
	return c
}

// closeTime bounds the end of a private broker.
const closeTime = 5 * time.Second

// Close ends a private broker. Its error is that of an audit which is required and has lost lines.
func (s *service) Close() error {
	if s.private == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if s.private.watcher != nil {
		s.private.watcher.Close()
	}
	_ = s.private.Close(ctx) // what was asked for has been answered
	if s.cfg.Audit.Required && s.private.AuditLost() > 0 {
		return freshet.Errorf(freshet.Unavailable, "the audit log cannot be written, and audit.required is set").
			WithHint("free the disk of %s", s.cfg.Audit.File)
	}
	return nil
}

// Credential asks whichever there is.
func (s *service) Credential(ctx context.Context, identity string, req freshet.Request) (freshet.Answer, error) {
	if s.client != nil {
		began := freshet.Now()
		a, err := s.client.Credential(ctx, identity, req)
		if err == nil || !s.vanished(ctx, err) {
			return a, err
		}
		if err := s.replace(); err != nil {
			return freshet.Answer{}, err
		}
		req.Hold = max(0, req.Hold-began.Elapsed())
	}
	return s.private.Credential(ctx, self(), identity, req)
}

const (
	// vanishing is how long a daemon that ended before it answered may take to let go of its socket: one that was killed while
	// it started a program leaves it to that for a moment.
	vanishing = 2 * time.Second
	// lookAgain is how often to look.
	lookAgain = 10 * time.Millisecond
)

// vanished reports whether a request failed because the daemon has ended since it was found, without any answer, and nothing
// listens in its place. A daemon that is there, or that denies or does not answer in time, is not gone round.
func (s *service) vanished(ctx context.Context, err error) bool {
	if s.cfg == nil || !errors.Is(err, client.ErrDied) && !errors.Is(err, socket.ErrNobody) {
		return false
	}
	for began := freshet.Now(); ctx.Err() == nil && began.Elapsed() < vanishing; {
		c, err := socket.Dial(ctx, s.socket)
		if err != nil {
			return errors.Is(err, socket.ErrNobody)
		}
		c.Close()
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
		}
	}
	return false
}

// replace puts a broker of this process's own in the place of a daemon that has vanished.
func (s *service) replace() error {
	p, err := newPrivate(s.cfg, s.lasts)
	if err != nil {
		return err
	}
	s.client.Close()
	s.client, s.private = nil, p
	return nil
}

// logger is the daemon's log, as configured.
func logger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // the configuration was checked
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
