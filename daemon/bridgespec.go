package daemon

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"freshet.dev/broker"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/internal/wire"
	"freshet.dev/mcp/tools"
	"freshet.dev/proxy"
)

// How long a bridge waits for its server, by default.
const (
	mcpConnect = time.Minute
	mcpWrite   = 3 * time.Minute
	mcpRead    = 2 * time.Minute
	mcpRequest = 3 * time.Minute
	mcpTool    = 5 * time.Minute
)

const (
	maxRetries         = 10
	maxSessionsOfAgent = 100
	maxProfiles        = 64
	// ownBridge is what all bridges of callers' own are called in figures.
	ownBridge = adHoc
)

// read checks what a caller asks for, as far as that is known without the identities.
func (b *Bridges) read(c broker.Caller, spec *wire.MCP) (*bridgeSettings, error) {
	if spec.Upstream != "" {
		return nil, &field.Error{Field: "upstream", Why: "there is one of a gateway's alone"}
	}
	if spec.Identity == "" && spec.SkipAuth && !b.Broker.Oversees(c) {
		// No identity's policy has a say then: anybody could reach what answers to this machine, or to the daemon's user, alone.
		return nil, freshet.Errorf(freshet.Denied, "only the daemon's own user and root may have a bridge without an identity").
			WithHint("configure it under mcp:")
	}
	req, err := spec.Request()
	if err != nil {
		return nil, err
	}
	whole, err := serverURL("url", spec.URL)
	if err != nil {
		return nil, err
	}
	u := remote{
		name: addressOf(whole), url: whole, signer: spec.Signer, given: spec.Settings, parameter: spec.Parameter, meta: spec.Meta, pin: spec.Pin,
		sessions: spec.Sessions,
		Config: proxy.Config{
			Name: "mcp", Upstream: withoutQuery(whole), Request: req, Retries: spec.Retries, Anonymous: spec.SkipAuth,
			Connections: bridgeConnections,
		},
	}
	if err := field.Meta("meta", spec.Meta); err != nil {
		return nil, err
	}
	if spec.Parameter != "" && !config.IsParameter(spec.Parameter) {
		return nil, &field.Error{Field: "parameter", Why: "not a name for an argument"}
	}
	if u.profiles, err = profilesOf(spec); err != nil {
		return nil, err
	}
	if u.policy, err = policyOf(spec); err != nil {
		return nil, err
	}
	if spec.Retries < 0 || spec.Retries > maxRetries {
		return nil, &field.Error{Field: "retries", Why: fmt.Sprintf("not from 0 to %d", maxRetries)}
	}
	if spec.Sessions < 0 || spec.Sessions > maxSessionsOfAgent {
		return nil, &field.Error{Field: "sessions", Why: fmt.Sprintf("not from 0 to %d", maxSessionsOfAgent)}
	}
	t := spec.Timeouts
	for _, d := range []struct {
		name, value string
		standard    time.Duration
		into        *time.Duration
	}{
		{"connect", t.Connect, mcpConnect, &u.Connect}, {"write", t.Write, mcpWrite, &u.Config.Write}, {"read", t.Read, mcpRead, &u.Idle},
		{"request", t.Request, mcpRequest, &u.timeouts.Request}, {"tool", t.Tool, mcpTool, &u.timeouts.Tool},
	} {
		if *d.into, err = t.Duration(d.name, d.value, d.standard); err != nil {
			return nil, err
		}
	}
	if u.TLS, err = trust(b.Broker, c, spec.CAFile, "mcp:"); err != nil {
		return nil, err
	}
	return &bridgeSettings{name: ownBridge, upstreams: []remote{u}}, nil
}

// addressOf names a server for people who approve calls of it: of a host they want to know which of its servers. A query is left out,
// which may hold a secret.
func addressOf(u *url.URL) string {
	if path := u.EscapedPath(); path != "/" {
		return u.Host + path
	}
	return u.Host
}

// serverURL reads the URL of a server, which may have a query, where a proxy's upstream has none.
func serverURL(name, value string) (*url.URL, error) {
	bare, query, has := strings.Cut(value, "?")
	u, err := field.Upstream(name, bare)
	if err != nil {
		return nil, err
	}
	if strings.Contains(query, "#") {
		return nil, &field.Error{Field: name, Why: "a URL with a fragment", Help: "remove the # and what follows it"}
	}
	u.RawQuery, u.ForceQuery = query, has && query == ""
	return u, nil
}

func profilesOf(spec *wire.MCP) ([]profile, error) {
	if spec.Identity == "" && (!spec.SkipAuth || len(spec.Profiles) > 0) {
		return nil, &field.Error{Field: "identity", Why: "is not there", Help: "name the identity whose credential the server wants"}
	}
	all := []profile{{cmp.Or(spec.Default, spec.Identity), spec.Identity}}
	for i, p := range spec.Profiles {
		switch at := fmt.Sprintf("profiles[%d]", i); {
		case p.Name == "" || p.Identity == "":
			return nil, &field.Error{Field: at, Why: "has no name, or no identity"}
		case slices.ContainsFunc(all, func(q profile) bool { return q.name == p.Name }):
			return nil, &field.Error{Field: at, Why: "there are two of that name"}
		case len(all) >= maxProfiles:
			return nil, &field.Error{Field: at, Why: fmt.Sprintf("is more than %d", maxProfiles)}
		}
		all = append(all, profile{p.Name, p.Identity})
	}
	return all, nil
}

func policyOf(spec *wire.MCP) (tools.Policy, error) {
	p := tools.Policy{ReadOnly: spec.ReadOnly, Deny: spec.Deny, Read: spec.Read, Write: spec.Write}
	if spec.Allow != nil {
		p.Allow = append([]string{}, *spec.Allow...)
	}
	var err error
	if p.Approve, err = approve(spec.Approve, nil); err != nil {
		return p, err
	}
	return p, p.Check()
}

// approve reads which calls an operator is to approve.
func approve(word string, names []string) (tools.Approve, error) {
	switch word {
	case "", "never", "writes", "all":
		return tools.Approve{All: word == "all", Writes: word == "writes", Names: names}, nil
	}
	return tools.Approve{}, &field.Error{Field: "approve", Why: "neither never, writes nor all"}
}

// narrowed refuses what else a caller says of a bridge of the configuration's.
func narrowed(spec wire.MCP) error {
	spec.Gateway, spec.ReadOnly = "", false
	if asked, err := keyOf(broker.Caller{}, spec); err == nil {
		if nothing, _ := keyOf(broker.Caller{}, wire.MCP{}); asked == nothing {
			return nil
		}
	}
	return freshet.Errorf(freshet.Invalid, "what a bridge of the configuration does, the configuration says: a caller says no more than its name, and read_only")
}
