package proxy

import (
	"net"
	"net/http"
	"slices"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/wire"
)

// mux are the routes of one listener.
type mux struct {
	hosts  []string
	routes []*Route // those with longer prefixes first
}

// NewMux shares a listener between routes of different prefixes, and keeps from them what comes from web pages, through other
// proxies, or under another host's name (DNS rebinding). hosts are names that it answers to beside loopback's, without port.
func NewMux(hosts []string, routes ...*Route) http.Handler {
	m := &mux{hosts, slices.Clone(routes)}
	slices.SortStableFunc(m.routes, func(a, b *Route) int { return len(b.cfg.Prefix) - len(a.cfg.Prefix) })
	return m
}

// ServeHTTP passes a request to the route of its path.
func (m *mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route := m.route(r.URL.EscapedPath())
	if code, why := stray(r, m.hosts); code != "" {
		m.deny(w, r, route, http.StatusForbidden, code, why)
		return
	}
	if route == nil {
		m.deny(w, r, route, http.StatusNotFound, "NotFound", "this proxy forwards nothing from here")
		return
	}
	route.ServeHTTP(w, r)
}

// stray says why a request cannot be one of a client of this machine's, or of a host's that it answers to: in a word, and in a
// sentence. "" if it can.
func stray(r *http.Request, hosts []string) (code, why string) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	switch {
	case local != nil && local.Network() == "unix": // no page gets there, and no name leads there
	case !guard.Addressed(r, hosts):
		return "WrongHost", "the Host header names another server"
	case fromPage(r.Header):
		return "FromPage", "requests from web pages are refused"
	case r.Header["X-Forwarded-For"] != nil || r.Header["Forwarded"] != nil:
		return "Forwarded", "forwarded requests are refused"
	}
	return "", ""
}

// route is that of a path, or nil.
func (m *mux) route(path string) *Route {
	for _, route := range m.routes {
		if _, ok := route.below(path); ok {
			return route
		}
	}
	return nil
}

// fromPage reports whether a browser sent this for a page. Node's fetch sends Sec-Fetch-Mode, and that alone (undici 5 to 7); a
// browser's requests to a loopback address have Sec-Fetch-Site too.
func fromPage(h http.Header) bool {
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Dest", "Sec-Fetch-User"} {
		if _, ok := h[name]; ok {
			return true
		}
	}
	return false
}

// deny answers what no route is asked, and tells of it. What is for none of them counts for the first.
func (m *mux) deny(w http.ResponseWriter, r *http.Request, route *Route, status int, code, why string) {
	turnAway(w, r, status, code, why)
	if route == nil && len(m.routes) > 0 {
		route = m.routes[0]
	}
	if route != nil && route.cfg.Observe != nil {
		route.cfg.Observe(Event{Route: route.cfg.Name, Identity: route.cfg.Identity, Status: status, Refused: code})
	}
}

// turnAway answers with a problem, and does not read what came.
func turnAway(w http.ResponseWriter, r *http.Request, status int, code, why string) {
	if r.ContentLength != 0 { // net/http would wait for some of the body, which nobody need send
		_ = http.NewResponseController(w).SetReadDeadline(freshet.Now().Wall().Add(unreadBody))
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close")
		}
	}
	w.Header().Set("Freshet-Error", code)
	kind := freshet.Denied
	if status == http.StatusNotFound {
		kind = freshet.Invalid // it is the address that is wrong
	}
	p := wire.ProblemOf(freshet.Errorf(kind, "%s", why))
	p.Status = status
	p.Write(w)
}

// Bounds of what a caller sends before it is known.
const (
	maxHeader      = 64 << 10 // net/http adds 4 KiB
	headerTime     = 10 * time.Second
	idleConnection = 2 * time.Minute
)

// Server returns a server for a listener of routes: HTTP/1.1, and HTTP/2 with TLS or without, with bounds on what comes before a
// route has let its caller in; what comes after may take as long as bytes pass, see [Config].
func Server(h http.Handler) *http.Server {
	s := &http.Server{
		Handler: h, ConnContext: withPeer,
		ReadHeaderTimeout: headerTime, IdleTimeout: idleConnection, MaxHeaderBytes: maxHeader,
		Protocols: new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}
