package daemon

import (
	"net"
	"net/http"
	"net/netip"

	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/guard"
)

// metricsServer is what Prometheus scrapes over TCP.
type metricsServer struct {
	listener net.Listener
	handler  http.Handler
}

// listenMetrics takes the port. The metrics name no tenant or caller, so they need no secret.
func listenMetrics(c config.Metrics, scrape http.Handler) (*metricsServer, error) {
	if c.Listen == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, freshet.Errorf(freshet.Invalid, "metrics.listen: cannot listen at %s: %w", c.Listen, reason(err)).
			WithHint("stop what listens there, or set another address")
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", scrape)
	s := &metricsServer{l, mux}
	if addr, err := netip.ParseAddrPort(l.Addr().String()); err == nil && addr.Addr().IsLoopback() {
		// A page whose host's name was made to mean this machine must not read them. Off loopback, what names this machine has
		// is not known.
		s.handler = guard.Handler(nil, func(w http.ResponseWriter, status int, why string) { http.Error(w, why, status) }, mux)
	}
	return s, nil
}
