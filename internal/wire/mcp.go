package wire

import (
	"encoding/json"
	"time"

	"freshet.dev/freshet"
)

// UpgradeMCP is the protocol that POST /v1/mcp switches to: JSON-RPC messages of the Model Context Protocol, one a line, both ways.
const UpgradeMCP = "freshet-mcp"

// MCP is the body of POST /v1/mcp and of POST /v1/mcp/tools: a bridge to a server of the caller's choice, or to one of the
// configuration's.
type MCP struct {
	// Gateway is an entry of the configuration's mcp:, by its name. With it nothing else is set but ReadOnly, and Upstream where
	// its tools are asked for.
	Gateway  string `json:"gateway,omitempty"`
	Upstream string `json:"upstream,omitempty"` // of the gateway's, by its name; "" where there is one

	URL       string            `json:"url,omitempty"`       // an https URL, or an http one of a loopback host
	Identity  string            `json:"identity,omitempty"`  // may be "" with SkipAuth alone
	Signer    string            `json:"signer,omitempty"`    // "": by what the identity consists of
	Settings  json.RawMessage   `json:"settings,omitempty"`  // of the signer: {"service":"execute-api"}
	Tenant    string            `json:"tenant,omitempty"`    // what the identities are asked for, instead of their own
	Scopes    []string          `json:"scopes,omitempty"`    //
	Audience  string            `json:"audience,omitempty"`  //
	Default   string            `json:"default,omitempty"`   // the name of Identity as a profile; "" is its own
	Profiles  []MCPProfile      `json:"profiles,omitempty"`  // beside it
	Parameter string            `json:"parameter,omitempty"` // of calls, by which they name a profile; "" is "profile"
	Meta      map[string]string `json:"meta,omitempty"`      // put into each request's _meta, where the key is not there

	ReadOnly bool            `json:"read_only,omitempty"`
	Allow    *[]string       `json:"allow,omitempty"` // nil: every tool; empty: none
	Deny     []string        `json:"deny,omitempty"`
	Read     []string        `json:"read,omitempty"`    // tools that read, whatever their hints say
	Write    []string        `json:"write,omitempty"`   // and that write
	Approve  string          `json:"approve,omitempty"` // "never", which is "", "writes" or "all"
	Pin      json.RawMessage `json:"pin,omitempty"`     // what the tools are to be: a snapshot, not a file's name

	Retries  int         `json:"retries,omitempty"`
	Sessions int         `json:"sessions,omitempty"` // with the upstream, for one of the agent's and a profile; 0: 1
	SkipAuth bool        `json:"skip_auth,omitempty"`
	CAFile   string      `json:"ca_file,omitempty"` // of the upstream, by its absolute path
	Timeouts MCPTimeouts `json:"timeouts,omitzero"`
}

// MCPProfile is a further identity of a bridge.
type MCPProfile struct {
	Name     string `json:"name"`
	Identity string `json:"identity"`
}

// MCPTimeouts are durations such as "60s"; "" is the default's.
type MCPTimeouts struct {
	Connect string `json:"connect,omitempty"`
	Write   string `json:"write,omitempty"`
	Read    string `json:"read,omitempty"`
	Request string `json:"request,omitempty"` // every request but calls of tools
	Tool    string `json:"tool,omitempty"`
}

// Request reads what the identities are to be asked for. Errors are of kind [freshet.Invalid].
func (m *MCP) Request() (freshet.Request, error) {
	return freshet.Request{Tenant: m.Tenant, Scopes: m.Scopes, Audience: m.Audience}, checkScopes(m.Scopes)
}

// Duration reads one of the timeouts, which is called name; "" is standard. Errors are of kind [freshet.Invalid].
func (MCPTimeouts) Duration(name, value string, standard time.Duration) (time.Duration, error) {
	if value == "" {
		return standard, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 || d > MaxMCPTimeout {
		return 0, freshet.Errorf(freshet.Invalid, "timeouts.%s: not a duration of at most %s", name, MaxMCPTimeout).WithHint(`write it like "90s" or "5m"`)
	}
	return d, nil
}

// MaxMCPTimeout bounds each of the timeouts.
const MaxMCPTimeout = 24 * time.Hour

// Approval is a call of a tool that waits for an operator's word.
type Approval struct {
	ID        string          `json:"id"`
	Bridge    string          `json:"bridge"`
	Upstream  string          `json:"upstream"`
	Tool      string          `json:"tool"`
	Caller    string          `json:"caller"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
	Asked     time.Time       `json:"asked"`
	Expires   time.Time       `json:"expires"`
}
