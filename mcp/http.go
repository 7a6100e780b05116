package mcp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

const (
	maxBody      = 16 << 20         // of a request of an agent
	maxHTTP      = 2000             // agents over HTTP, of all callers
	maxOfCaller  = 500              // of one
	yieldAfter   = time.Minute      // of idleness, after which an agent makes room for another of its caller's
	sessionIdle  = time.Hour        // after which a session ends: its agent opens another
	statelessFor = 10 * time.Minute // that upstream sessions are kept for an agent that has none of its own
)

// web is what a bridge keeps of agents over HTTP.
type web struct {
	bridge *Bridge
	mu     sync.Mutex
	byID   map[string]*agent // session → agent
	byKey  map[string]*agent // what an agent without sessions says of itself → agent
	count  map[string]int    // caller → agents
	sum    int
	sweeps *time.Timer
	full   seldom
	closed bool
}

func (w *web) init(b *Bridge) {
	w.bridge, w.byID, w.byKey, w.count = b, map[string]*agent{}, map[string]*agent{}, map[string]int{}
}

func (w *web) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.sweeps != nil {
		w.sweeps.Stop()
	}
}

type agentKey struct{}

// Handler serves agents over streamable HTTP, in both eras of the protocol. A session is its caller's alone: for any other there is
// none. Who may call at all, and from which origins, is for what is in front of the handler to judge.
func (b *Bridge) Handler(caller func(*http.Request) string) http.Handler {
	serverOf := func(r *http.Request) *sdk.Server {
		a, _ := r.Context().Value(agentKey{}).(*agent)
		if a == nil {
			return nil
		}
		return a.server
	}
	h := &handler{web: &b.web, caller: caller}
	h.sessions = sdk.NewStreamableHTTPHandler(serverOf, &sdk.StreamableHTTPOptions{
		EventStore: sdk.NewMemoryEventStore(nil), SessionTimeout: sessionIdle, MaxRequestBodyBytes: maxBody, DisableLocalhostProtection: true,
	})
	h.stateless = sdk.NewStreamableHTTPHandler(serverOf, &sdk.StreamableHTTPOptions{
		Stateless: true, PropagateRequestCancellation: true, MaxRequestBodyBytes: maxBody, DisableLocalhostProtection: true,
	})
	return h
}

type handler struct {
	web                 *web
	caller              func(*http.Request) string
	sessions, stateless http.Handler
}

// opening is what is looked at of a request that has no session.
type opening struct {
	Method string `json:"method"`
	Params struct {
		Meta map[string]json.RawMessage `json:"_meta"`
	} `json:"params"`
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	caller := h.caller(r)
	if id := r.Header.Get("Mcp-Session-Id"); id != "" && r.Header.Get("Mcp-Protocol-Version") < eraStateless {
		a := h.web.session(id, caller)
		if a == nil {
			http.Error(w, "session not found", http.StatusNotFound)
			return
		}
		if r.Method == http.MethodDelete { // the SDK waits for what is going on
			a.cancel()
		}
		h.sessions.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), agentKey{}, a)))
		return
	}
	version := r.Header.Get("Mcp-Protocol-Version")
	var o opening
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "the request's body is over 16 MiB, or broke off", http.StatusRequestEntityTooLarge)
			return
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		_ = json.Unmarshal(body, &o)
	}
	modern := version >= eraStateless || version == "" && o.Method == "server/discover"
	if modern {
		a, err := h.web.stateless(caller, &o)
		if err != nil {
			h.web.refuse(w, err)
			return
		}
		defer a.leave()
		h.stateless.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), agentKey{}, a)))
		return
	}
	if r.Method != http.MethodPost || o.Method != "initialize" {
		http.Error(w, "Bad Request: no session", http.StatusBadRequest)
		return
	}
	a, id, err := h.web.begin(caller)
	if err != nil {
		h.web.refuse(w, err)
		return
	}
	h.sessions.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), agentKey{}, a)))
	session := a.only()
	if session == nil { // it was no initialize that could be answered
		h.web.end(a, id)
		return
	}
	go func() {
		_ = session.Wait()
		h.web.end(a, id)
	}()
}

// session is the agent of a session, for its caller.
func (w *web) session(id, caller string) *agent {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.byID[id]; a != nil && a.caller == caller {
		return a
	}
	return nil
}

var errFull = &freshet.Error{Kind: freshet.Unavailable, Why: "too many sessions", RetryAfter: time.Minute}

// room makes sure that one more agent may be kept.
func (w *web) roomLocked(caller string) error {
	if w.closed {
		return errClosed
	}
	if w.count[caller] >= maxOfCaller && !w.yieldLocked(caller) || w.sum >= maxHTTP {
		return errFull
	}
	return nil
}

// yieldLocked ends the agent of a caller's that has been idle the longest, if one has been for a while: agents that are killed say
// no goodbye. An agent whose session has ended opens another.
func (w *web) yieldLocked(caller string) bool {
	var idlest *agent
	longest := yieldAfter
	look := func(a *agent) {
		if a.caller != caller {
			return
		}
		if idle := a.idle(); idle >= longest {
			idlest, longest = a, idle
		}
	}
	for _, a := range w.byID {
		look(a)
	}
	for _, a := range w.byKey {
		look(a)
	}
	if idlest == nil {
		return false
	}
	maps.DeleteFunc(w.byID, func(_ string, a *agent) bool { return a == idlest })
	maps.DeleteFunc(w.byKey, func(_ string, a *agent) bool { return a == idlest })
	w.forgetLocked(idlest)
	go idlest.close()
	return true
}

// begin is a new session of a caller's.
func (w *web) begin(caller string) (*agent, string, error) {
	a, err := w.bridge.agent(caller, false)
	if err != nil {
		return nil, "", err
	}
	id := rand.Text()
	a.sessionID = id
	w.mu.Lock()
	err = w.roomLocked(caller)
	if err == nil {
		w.byID[id] = a
		w.count[caller]++
		w.sum++
	}
	w.mu.Unlock()
	if err != nil {
		a.close()
		return nil, "", err
	}
	return a, id, nil
}

func (w *web) end(a *agent, id string) {
	w.mu.Lock()
	if w.byID[id] == a {
		delete(w.byID, id)
		w.forgetLocked(a)
	}
	w.mu.Unlock()
	a.close()
}

func (w *web) forgetLocked(a *agent) {
	w.sum--
	if w.count[a.caller]--; w.count[a.caller] <= 0 {
		delete(w.count, a.caller)
	}
}

// stateless is the agent for all requests of a caller that say the same of themselves, so that they share upstream sessions. It is
// busy with one request more; the caller has it leave.
func (w *web) stateless(caller string, o *opening) (*agent, error) {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(caller), o.Params.Meta[sdk.MetaKeyClientInfo], o.Params.Meta[sdk.MetaKeyClientCapabilities]} {
		n := sha256.Sum256(part)
		h.Write(n[:])
	}
	key := string(h.Sum(nil))
	if a := w.join(key); a != nil {
		return a, nil
	}
	a, err := w.bridge.agent(caller, true)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	other := w.byKey[key]
	if other != nil {
		other.enter()
	} else if err = w.roomLocked(caller); err == nil {
		w.byKey[key] = a
		w.count[caller]++
		w.sum++
		a.enter()
		if w.sweeps == nil {
			w.sweeps = time.AfterFunc(time.Minute, w.sweep)
		}
	}
	w.mu.Unlock()
	if other != nil || err != nil {
		a.close()
		return other, err
	}
	return a, nil
}

// join is the agent of a key with one request more, or nil.
func (w *web) join(key string) *agent {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.byKey[key]
	if a != nil {
		a.enter()
	}
	return a
}

// sweep ends what agents without sessions have not used for a while.
func (w *web) sweep() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	for key, a := range w.byKey {
		if a.idle() > statelessFor {
			delete(w.byKey, key)
			w.forgetLocked(a)
			go a.close()
		}
	}
	w.sweeps.Reset(time.Minute)
}

func (w *web) refuse(rw http.ResponseWriter, err error) {
	e := freshet.AsError(err)
	if e.RetryAfter > 0 {
		rw.Header().Set("Retry-After", "60")
		if w.full.now(time.Minute) {
			w.bridge.log.Warn("mcp: too many sessions; more are refused", "bridge", w.bridge.cfg.Name)
		}
	}
	http.Error(rw, e.Error(), cmp.Or(e.Status, http.StatusServiceUnavailable))
}
