// Package mcp bridges the Model Context Protocol: a server towards an agent, and a client towards the servers that it may use.
package mcp

import (
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"freshet.dev/mcp/approval"
	"freshet.dev/mcp/tools"
)

// Config says which servers a bridge is for, and on whose word tools are called.
type Config struct {
	Name      string          // in figures and the record
	Upstreams []Upstream      // at least one; tools and prompts are named NAME_tool where there are several
	Scope     string          // tells it from others of its name: an approval given for a call through one is none through another
	Approvals *approval.Store // where calls wait for an operator; nil: those that the agent cannot be asked about are refused
	Wait      time.Duration   // how long a call waits for an operator before the agent is told; 0: 45 s
	Observe   func(Event)     // hears of each request of an agent that has ended; nil: nobody does
	Log       *slog.Logger    // nil: nothing is logged
	Version   string          // freshet's
}

// Upstream is one MCP server, and what of it agents may use.
type Upstream struct {
	Name      string
	URL       *url.URL
	Profiles  []Profile         // at least one; the first is the default
	Parameter string            // by which a call names a profile, where there are several; "" is "profile"
	Meta      map[string]string // put into params._meta of every request, keeping keys that are there
	Policy    tools.Policy
	Pin       *tools.Snapshot // nil: not pinned
	Sessions  int             // upstream sessions at once for one agent session and profile; 0 is 1, which all calls share
	Timeouts  Timeouts
}

// Timeouts bound what an upstream may take.
type Timeouts struct {
	Request time.Duration // for all but calls of tools; 0: 180 s
	Tool    time.Duration // for a call of a tool, however much progress it reports; 0: 300 s
}

// Profile is one of the identities by which an upstream may be used.
type Profile struct {
	Name      string
	Transport http.RoundTripper // signs: a *proxy.Route, or what opens one at the first request
}

// Event is a request of an agent that has ended.
type Event struct {
	Bridge, Upstream, Profile, Caller, Method, Tool string
	Outcome                                         string // ok, error, refused, timeout or cancelled
	Reason                                          string
	Took                                            time.Duration
}
