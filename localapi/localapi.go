// Package localapi is the daemon's own API: HTTP/1.1 over a Unix socket, where the kernel names the caller.
//
//	POST /v1/identities/NAME/credential   a credential, or a problem (RFC 9457)
//	POST /v1/identities/NAME/reject       says that a service refused a version
//	POST /v1/identities/NAME/unblock      has the failures forgotten that keep it from being retrieved
//	POST /v1/sessions                     the environment for a child; open for as long as the reply is read
//	POST /v1/proxies                      a signing proxy's route of one's own; open for as long as the reply is read
//	POST /v1/mcp                          an MCP bridge of one's own, by a change of protocol; open until either side closes
//	POST /v1/mcp/tools                    what the server of such a bridge calls its tools
//	GET  /v1/approvals                    calls of tools that wait for an operator's word
//	POST /v1/approvals/ID                 gives it
//	POST /v1/reload                       puts the configuration file in force as it is now, and says what has changed
//	GET  /v1/status                       identities, keys, last errors: never a secret
//	GET  /healthz /readyz /metrics
package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"freshet.dev/broker"
	"freshet.dev/freshet"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/peer"
	"freshet.dev/internal/wire"
)

// Headers of the local API's requests.
const (
	// HeaderConfig carries the digest of the configuration that the client was told to use. A daemon that runs another
	// answers with an error that says so.
	HeaderConfig = "Freshet-Config"
	// HeaderAncestry carries the retrievals that the client runs within, comma-separated; see [freshet.WithAncestry].
	HeaderAncestry = "Freshet-Ancestry"
)

// Session is one exec's own door.
type Session struct {
	Opened wire.SessionOpened
	Close  func()
}

// Proxy is one caller's own route of the signing proxy.
type Proxy struct {
	Opened wire.ProxyOpened
	Close  func()
}

// MCP is one agent's session with a bridge. Serve goes on until the other side closes, or ctx ends.
type MCP interface {
	Serve(ctx context.Context, rw io.ReadWriteCloser) error
	Close()
}

// Config is what the API serves.
type Config struct {
	Broker *broker.Broker
	// OpenSession opens a door for a caller, who is the same as of the request.
	// Each identity is retrieved once; hold is how long to wait for an issuer that fails, as in [freshet.Request].
	OpenSession func(ctx context.Context, c broker.Caller, identities []string, hold time.Duration) (*Session, error)
	// OpenProxy opens a route for a caller, who is the same as of the request. The identity is retrieved once; hold is as with
	// OpenSession. nil: there are none.
	OpenProxy func(ctx context.Context, c broker.Caller, spec wire.Proxy, hold time.Duration) (*Proxy, error)
	// OpenMCP opens a bridge of the Model Context Protocol for a caller, who is the same as of the request. Nothing is retrieved
	// until a message wants it. nil: there are none.
	OpenMCP func(ctx context.Context, c broker.Caller, spec wire.MCP) (MCP, error)
	// MCPTools asks the server of a bridge for its tools, and returns a JSON array of them; nil if OpenMCP is.
	MCPTools func(ctx context.Context, c broker.Caller, spec wire.MCP) (json.RawMessage, error)
	// Approvals lists the calls that wait for an operator's word, and Decide gives it, in the name of by; nil if OpenMCP is. The
	// API has asked already who the caller is.
	Approvals func() []wire.Approval
	Decide    func(id string, approve bool, by string) error
	Ending    <-chan struct{} // closed when sessions and routes are to end, before the server waits for its requests; nil: never
	// Waiting lists the identities that are to be loaded before the daemon is ready; nil: it is.
	Waiting func() []string
	// Running tells which program and configuration are in force; never nil.
	Running func() wire.Running
	// Reload puts the configuration file in force as it is now; nil: it is read once.
	Reload  func() (wire.Reloaded, error)
	Metrics http.Handler // nil: none
	Log     *slog.Logger
}

// API is the handler.
type API struct {
	Config
	mux  *http.ServeMux
	once sync.Once
	ctx  context.Context // see lasting
	room room            // for what bridges' connections hold up
}

// New makes the handler.
func New(cfg Config) *API {
	a := &API{Config: cfg, mux: http.NewServeMux()}
	if a.Log == nil {
		a.Log = slog.New(slog.DiscardHandler)
	}
	a.route("POST", "/v1/identities/{name}/credential", a.credential)
	a.route("POST", "/v1/identities/{name}/reject", a.reject)
	a.route("POST", "/v1/identities/{name}/unblock", a.unblock)
	a.route("POST", "/v1/sessions", a.session)
	if cfg.OpenProxy != nil {
		a.route("POST", "/v1/proxies", a.proxy)
	}
	if cfg.OpenMCP != nil {
		a.route("POST", pathMCP, a.mcp)
		a.route("POST", pathTools, a.mcpTools)
		a.route("GET", "/v1/approvals", a.approvals)
		a.route("POST", "/v1/approvals/{id}", a.decide)
	}
	a.route("GET", "/v1/status", a.status)
	a.route("POST", "/v1/reload", a.reload)
	a.route("GET", "/healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	a.route("GET", "/readyz", a.ready)
	if cfg.Metrics != nil {
		a.route("GET", "/metrics", cfg.Metrics.ServeHTTP)
	}
	a.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "there is nothing at this path")
	})
	return a
}

// route registers a path with its one method.
func (a *API) route(method, path string, h http.HandlerFunc) {
	a.mux.HandleFunc(method+" "+path, h)
	a.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", method)
		refuse(w, http.StatusMethodNotAllowed, "only "+method+" is answered here")
	})
}

// Server serves the API on Unix sockets. Replies may be long: a session's lasts as long as its child.
func (a *API) Server() *http.Server {
	s := guard.Server(a, 0)
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		p, err := peer.Of(c)
		if err != nil {
			a.Log.Warn("a connection's peer is unknown: it is refused", "error", err)
			return ctx
		}
		return context.WithValue(ctx, peerKey{}, p)
	}
	return s
}

type peerKey struct{}

// ServeHTTP refuses whom the kernel did not name, then what a web page could have sent, then answers.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, ok := r.Context().Value(peerKey{}).(peer.Credentials); !ok {
		fail(w, freshet.Errorf(freshet.Denied, "the kernel does not say who you are"))
		return
	}
	if guard.FromPage(r.Header) {
		fail(w, freshet.Errorf(freshet.Denied, "requests from web pages are refused"))
		return
	}
	if want := r.Header.Get(HeaderConfig); want != "" && want != a.Running().Digest {
		running := a.Running()
		e := freshet.Errorf(freshet.Invalid, "the daemon runs another configuration than the one named: it runs %s", running.Config)
		if e.WithHint("leave out --config to use the daemon's, or start a daemon with yours"); running.ConfigError != "" {
			e.WithHint("if that is the one, it has changed and is wrong: freshet status says how")
		}
		fail(w, e)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, bound(r.URL.Path))
	w.Header().Set("Cache-Control", "no-store")
	a.mux.ServeHTTP(w, r)
}

func caller(r *http.Request) broker.Caller {
	p, _ := r.Context().Value(peerKey{}).(peer.Credentials)
	c := broker.Caller{Door: "socket", Peer: true, UID: p.UID, GIDs: p.GIDs, PID: p.PID}
	if s := r.Header.Get(HeaderAncestry); s != "" {
		c.Ancestry = strings.Split(s, ",")
	}
	return c
}

func (a *API) credential(w http.ResponseWriter, r *http.Request) {
	var body wire.Request
	if err := decode(r, &body); err != nil {
		fail(w, err)
		return
	}
	req, err := body.Parse()
	if err != nil {
		fail(w, err)
		return
	}
	ans, err := a.Broker.Credential(r.Context(), caller(r), r.PathValue("name"), req)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, wire.Of(ans))
}

func (a *API) reject(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Fingerprint string `json:"fingerprint"`
	}
	if err := decode(r, &body); err != nil {
		fail(w, err)
		return
	}
	if err := a.Broker.Reject(caller(r), r.PathValue("name"), body.Fingerprint); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *API) unblock(w http.ResponseWriter, r *http.Request) {
	if err := decode(r, &struct{}{}); err != nil {
		fail(w, err)
		return
	}
	if err := a.Broker.Unblock(caller(r), r.PathValue("name")); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// session answers with one line and keeps the reply open. The session ends when the client closes it, or dies: the kernel
// closes a dead process's socket.
func (a *API) session(w http.ResponseWriter, r *http.Request) {
	var body wire.Session
	if err := decode(r, &body); err != nil {
		fail(w, err)
		return
	}
	hold, err := body.Held()
	if err != nil {
		fail(w, err)
		return
	}
	s, err := a.OpenSession(r.Context(), caller(r), body.Identities, hold)
	if err != nil {
		fail(w, err)
		return
	}
	defer s.Close()
	a.stay(w, r, s.Opened)
}

// proxy answers with one line, and the route is there as long as the reply, as a session is.
func (a *API) proxy(w http.ResponseWriter, r *http.Request) {
	var body wire.Proxy
	if err := decode(r, &body); err != nil {
		fail(w, err)
		return
	}
	req, err := body.Request()
	if err != nil {
		fail(w, err)
		return
	}
	p, err := a.OpenProxy(r.Context(), caller(r), body, req.Hold)
	if err != nil {
		fail(w, err)
		return
	}
	defer p.Close()
	a.stay(w, r, p.Opened)
}

// stay answers with a document's line, and keeps the reply open until its client or the daemon ends it.
func (a *API) stay(w http.ResponseWriter, r *http.Request, opened any) {
	answer(w, http.StatusOK, opened)
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	select {
	case <-r.Context().Done():
	case <-a.Ending:
	}
}

func (a *API) status(w http.ResponseWriter, r *http.Request) {
	c := caller(r)
	running := a.Running()
	if running.ConfigError != "" && !a.Broker.Oversees(c) {
		running.ConfigError = "it is wrong: the daemon's own user is told how"
	}
	answer(w, http.StatusOK, struct {
		wire.Running
		broker.Status
	}{running, a.Broker.Status(c)})
}

// reload answers once the file is in force, or why it is not.
func (a *API) reload(w http.ResponseWriter, r *http.Request) {
	switch {
	case !a.Broker.Oversees(caller(r)):
		fail(w, freshet.Errorf(freshet.Denied, "only the daemon's own user and root may reload its configuration"))
		return
	case a.Reload == nil:
		fail(w, freshet.Errorf(freshet.Invalid, "this is a command's own broker, which reads its configuration once"))
		return
	}
	changes, err := a.Reload()
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, changes)
}

func (a *API) ready(w http.ResponseWriter, _ *http.Request) {
	if a.Waiting != nil {
		if names := a.Waiting(); len(names) > 0 {
			text(w, http.StatusServiceUnavailable, "not ready: waiting for "+strings.Join(names, ", ")+"\n")
			return
		}
	}
	text(w, http.StatusOK, "ready\n")
}

// fail answers with a problem: 404 for an identity that is not there, else the kind's status.
func fail(w http.ResponseWriter, err error) {
	p := wire.ProblemOf(err)
	if errors.Is(err, broker.ErrUnknown) {
		p.Status = http.StatusNotFound
	}
	p.Write(w)
}

// refuse answers a request that is none of the API's.
func refuse(w http.ResponseWriter, status int, why string) {
	p := wire.ProblemOf(freshet.Errorf(freshet.Invalid, "%s", why))
	p.Status = status
	p.Write(w)
}

// decode reads the one JSON object that a body is to hold.
func decode(r *http.Request, into any) error {
	b, err := io.ReadAll(r.Body) // within the bound that ServeHTTP has set
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	object := bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) // null too decodes into a struct
	if err == nil && object && d.Decode(into) == nil {
		if _, after := d.Token(); after == io.EOF {
			return nil
		}
	}
	return freshet.Errorf(freshet.Invalid, "the body is not the JSON object that %s takes", r.URL.Path).
		WithHint("an empty request is {}")
}

func answer(w http.ResponseWriter, status int, doc any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(doc)
}

func text(w http.ResponseWriter, status int, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(s))
}
