package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/wire"
	"freshet.dev/mcp/tools"
)

// maxMCP bounds the description of a bridge: the snapshot of what a server's tools are to be is a part of it.
const maxMCP = 6 * tools.MaxBytes // as JSON in the longest way, each of its characters is six

// bound is the most that a request's body may have.
func bound(path string) int64 {
	if path == pathMCP || path == pathTools {
		return maxMCP
	}
	return guard.MaxBody
}

const (
	pathMCP   = "/v1/mcp"
	pathTools = "/v1/mcp/tools"
)

// mcp switches the connection to a bridge's messages. The connection is no request's any more then: it lasts until either side
// closes, or the daemon ends.
func (a *API) mcp(w http.ResponseWriter, r *http.Request) {
	if !upgrades(r.Header) {
		w.Header().Set("Upgrade", wire.UpgradeMCP)
		refuse(w, http.StatusUpgradeRequired, "this is answered by a change of protocol, which the request does not ask for")
		return
	}
	var spec wire.MCP
	if err := decode(r, &spec); err != nil {
		fail(w, err)
		return
	}
	m, err := a.OpenMCP(r.Context(), caller(r), spec)
	if err != nil {
		fail(w, err)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		m.Close()
		fail(w, freshet.Errorf(freshet.Invalid, "only HTTP/1.1 changes protocols"))
		return
	}
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	u := &upgraded{Conn: conn, early: bytes.Clone(early), room: &a.room, uid: caller(r).UID}
	// In a goroutine of its own, so that what net/http keeps of a request is let go of: there are many such connections, and most
	// say nothing for hours.
	go a.converse(u, m)
}

// converse speaks until one side closes.
func (a *API) converse(u *upgraded, m MCP) {
	defer m.Close()
	defer u.forget()
	defer u.Close()
	if u.SetDeadline(time.Time{}) != nil { // those of the request, which has ended
		return
	}
	if _, err := io.WriteString(u.Conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+wire.UpgradeMCP+"\r\n\r\n"); err != nil {
		return
	}
	if err := m.Serve(a.lasting(), u); err != nil {
		a.Log.Debug("a bridge's connection has ended", "error", err)
	}
}

// lasting is a context that ends with the daemon: one for all, since a connection's own would cost a goroutine.
func (a *API) lasting() context.Context {
	a.once.Do(func() {
		a.ctx = context.Background()
		if a.Ending == nil {
			return
		}
		var end context.CancelFunc
		a.ctx, end = context.WithCancel(a.ctx)
		go func() { <-a.Ending; end() }()
	})
	return a.ctx
}

// upgrades reports whether a request asks for the protocol of bridges.
func upgrades(h http.Header) bool {
	connection := false
	for _, line := range h["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			connection = connection || strings.EqualFold(strings.TrimSpace(token), "upgrade")
		}
	}
	return connection && strings.EqualFold(h.Get("Upgrade"), wire.UpgradeMCP)
}

func (a *API) mcpTools(w http.ResponseWriter, r *http.Request) {
	var spec wire.MCP
	if err := decode(r, &spec); err != nil {
		fail(w, err)
		return
	}
	tools, err := a.MCPTools(r.Context(), caller(r), spec)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, struct {
		Tools json.RawMessage `json:"tools"`
	}{tools})
}

// approvals lists what callers want to do, with their arguments: it is not for everybody.
func (a *API) approvals(w http.ResponseWriter, r *http.Request) {
	if !a.Broker.Oversees(caller(r)) {
		fail(w, freshet.Errorf(freshet.Denied, "only the daemon's own user and root may see which calls wait for a word"))
		return
	}
	answer(w, http.StatusOK, struct {
		Approvals []wire.Approval `json:"approvals"`
	}{append([]wire.Approval{}, a.Approvals()...)})
}

func (a *API) decide(w http.ResponseWriter, r *http.Request) {
	c := caller(r)
	if !a.Broker.Oversees(c) {
		fail(w, freshet.Errorf(freshet.Denied, "only the daemon's own user and root may decide about a call"))
		return
	}
	var body struct {
		Approve *bool `json:"approve"`
	}
	err := decode(r, &body)
	if err == nil && body.Approve == nil {
		err = freshet.Errorf(freshet.Invalid, "approve: neither true nor false")
	}
	if err != nil {
		fail(w, err)
		return
	}
	if err := a.Decide(r.PathValue("id"), *body.Approve, fmt.Sprintf("uid:%d", c.UID)); err != nil {
		p := wire.ProblemOf(err)
		if p.Kind == freshet.Invalid {
			p.Status = http.StatusNotFound
		}
		p.Write(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
