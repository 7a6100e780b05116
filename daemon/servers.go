package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// servers are the HTTP servers of a daemon; a reload starts and stops some.
type servers struct {
	log    *slog.Logger
	failed chan error // of the first that ended unasked

	mu  sync.Mutex
	all map[*server]struct{}
}

// server is one of them.
type server struct {
	*http.Server
	of   *servers
	done chan struct{}
}

func (s *servers) init(log *slog.Logger) {
	s.log, s.failed, s.all = log, make(chan error, 1), make(map[*server]struct{})
}

// start serves a listener.
func (s *servers) start(h *http.Server, l net.Listener) *server {
	h.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	one := &server{h, s, make(chan struct{})}
	s.mu.Lock()
	s.all[one] = struct{}{}
	s.mu.Unlock()
	go func() {
		defer close(one.done)
		serve := h.Serve
		if h.TLSConfig != nil {
			serve = func(l net.Listener) error { return h.ServeTLS(l, "", "") }
		}
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			select {
			case s.failed <- err:
			default:
			}
		}
	}()
	return one
}

// refuse has the server take no new connections. A listener that it has not begun to serve stays open.
func (s *server) refuse() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ended)
}

// stop takes no new requests, and returns when those under way are answered, up to ctx.
func (s *server) stop(ctx context.Context) {
	if s.Shutdown(ctx) != nil {
		s.Close()
	}
	<-s.done
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	delete(s.of.all, s)
}

// stop stops them all at once: while one waits for its requests, no other may take new ones.
func (s *servers) stop(ctx context.Context) {
	s.mu.Lock()
	var stopping sync.WaitGroup
	for one := range s.all {
		stopping.Go(func() { one.stop(ctx) })
	}
	s.mu.Unlock()
	stopping.Wait()
}
