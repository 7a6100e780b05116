package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"freshet.dev/broker"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/field"
	"freshet.dev/internal/wire"
	"freshet.dev/mcp"
	"freshet.dev/mcp/tools"
	"freshet.dev/proxy"
)

// gateway is a bridge of the configuration's, under its name.
type gateway struct {
	bridge  *bridge
	callers proxy.Callers // who may open it by its name: its users
}

// gatewaySettings are those of an entry of the configuration.
type gatewaySettings struct {
	bridgeSettings
	callers proxy.Callers
}

// gate is where a bridge is served.
type gate struct {
	name, path string
	callers    proxy.Callers
}

// readGateways reads the bridges of a configuration, and the files that they name. Errors are those of the configuration's entries.
func readGateways(cfg *config.File) ([]gatewaySettings, error) {
	var all []gatewaySettings
	for i := range cfg.MCP {
		c := &cfg.MCP[i]
		groups, err := groupIDs(c.Allow.Groups)
		if err != nil {
			return nil, c.Explain(&field.Error{Field: "allow.groups", Why: err.Error()})
		}
		s := gatewaySettings{
			bridgeSettings: bridgeSettings{
				name: c.Name, wait: time.Duration(c.Approvals.Wait), expire: time.Duration(c.Approvals.Expire), explain: c.Explain,
			},
			callers: proxy.Callers{UIDs: c.Allow.UIDs, GIDs: groups, Owner: uint32(os.Getuid())},
		}
		for j := range c.Upstreams {
			u, err := readServer(cfg, c, &c.Upstreams[j])
			if err != nil {
				return nil, c.Upstreams[j].Explain(err)
			}
			s.upstreams = append(s.upstreams, u)
		}
		all = append(all, s)
	}
	return all, nil
}

// bridgeConnections is how many connections a bridge has to one upstream where the operator sets no bound. Each session over HTTP/1.1
// keeps one for what the upstream sends on its own, and agents share a bridge's: it has to be more than there are agents.
const bridgeConnections = 4096

// readServer reads an upstream of a bridge of the configuration. Errors are [field.Error]s.
func readServer(cfg *config.File, c *config.MCP, u *config.MCPUpstream) (s remote, err error) {
	s = remote{
		name: u.Name, signer: u.Signer, of: u.Settings, parameter: u.Parameter, meta: u.Meta, sessions: u.Sessions,
		timeouts: mcp.Timeouts{Request: time.Duration(u.Timeouts.Request), Tool: time.Duration(u.Timeouts.Tool)},
		profiles: []profile{{u.DefaultProfile, u.Identity}}, explain: u.Explain,
		Config: proxy.Config{
			Name: "mcp " + c.Name, Request: freshet.Request{Tenant: u.Tenant, Scopes: u.Scopes, Audience: u.Audience},
			Connect: time.Duration(u.Timeouts.Connect), Write: time.Duration(u.Timeouts.Write), Idle: time.Duration(u.Timeouts.Read),
			Retries: u.Retries, Connections: cmp.Or(u.Connections, bridgeConnections), Anonymous: u.SkipAuth,
		},
	}
	if len(c.Upstreams) > 1 {
		s.Config.Name += "/" + u.Name
	}
	for _, p := range u.Profiles {
		s.profiles = append(s.profiles, profile{p.Name, p.Identity})
	}
	if s.url, err = serverURL("url", u.URL); err != nil {
		return s, err
	}
	s.Upstream = withoutQuery(s.url)
	s.policy.ReadOnly, s.policy.Allow, s.policy.Deny = u.ReadOnly, u.Tools.Allow, u.Tools.Deny
	s.policy.Read, s.policy.Write = u.Tools.Read, u.Tools.Write
	if s.policy.Approve, err = approve(u.Approve, u.ApproveTools); err != nil {
		return s, err
	}
	if err := s.policy.Check(); err != nil {
		e := freshet.AsError(err)
		return s, &field.Error{Field: "tools", Why: e.Why, Help: e.Hint}
	}
	if s.TLS, s.ca, err = clientTLS(u.CAFile); err != nil {
		return s, err
	}
	s.pin, err = readPin(u.Pin, pinning(cfg, c, u))
	return s, err
}

// pinning is the command that writes the snapshot which an upstream wants. A daemon that runs by an older configuration does not know
// the bridge, but any server can be named to it; except with an identity that is never handed out, which serves none of a caller's.
func pinning(cfg *config.File, c *config.MCP, u *config.MCPUpstream) string {
	which := u.URL + " --as " + u.Identity
	switch i := slices.IndexFunc(cfg.Identities, func(id config.Identity) bool { return id.Name == u.Identity }); {
	case i < 0:
		which = u.URL + " --skip-auth"
	case !cfg.Identities[i].Release && len(c.Upstreams) > 1:
		which = c.Name + " --upstream " + u.Name
	case !cfg.Identities[i].Release:
		which = c.Name
	}
	return "freshet mcp pin " + which + " --file " + u.Pin + " --config " + cfg.Path
}

// readPin reads a snapshot of tools; "" is none. A file that is not there is an error: a bridge that pins nothing would let through
// what the operator has not seen. write is the command that makes it.
func readPin(path, write string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	help := "write it first: " + write
	f, err := openFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &field.Error{Field: "pin", Why: "cannot be read: " + reason(err).Error(), Help: help}
	case errors.Is(err, fs.ErrPermission):
		return nil, &field.Error{Field: "pin", Why: "cannot be read: " + reason(err).Error(), Help: "let the daemon's user read it"}
	case err != nil:
		return nil, &field.Error{Field: "pin", Why: "cannot be read: " + reason(err).Error()}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, tools.MaxBytes+1))
	switch {
	case err != nil:
		return nil, &field.Error{Field: "pin", Why: "cannot be read: " + reason(err).Error()}
	case len(b) > tools.MaxBytes:
		return nil, &field.Error{Field: "pin", Why: fmt.Sprintf("is larger than %d MiB", tools.MaxBytes>>20)}
	case len(b) == 0:
		return nil, &field.Error{Field: "pin", Why: "is empty", Help: help}
	}
	return b, nil
}

// Configure has the bridges of a configuration opened by their names, for a command's own broker. Those of before that have not
// changed go on; the sessions of others end.
func (b *Bridges) Configure(cfg *config.File) error {
	next, err := b.prepareAll(cfg)
	if err == nil {
		b.put(next)
	}
	return err
}

// prepareAll is prepare for a configuration.
func (b *Bridges) prepareAll(cfg *config.File) (map[string]*gateway, error) {
	all, err := readGateways(cfg)
	if err != nil {
		return nil, err
	}
	return b.prepare(all)
}

// prepare opens bridges, or takes those there are that have not changed. Its caller holds them.
func (b *Bridges) prepare(all []gatewaySettings) (_ map[string]*gateway, err error) {
	b.mu.Lock()
	before := b.gateways
	b.mu.Unlock()
	next := make(map[string]*gateway)
	defer func() {
		if err != nil {
			discard(next)
		}
	}()
	for i := range all {
		s := &all[i]
		if old := before[s.name]; old != nil && old.bridge.settings.equal(&s.bridgeSettings) && enter(&old.bridge.users) {
			next[s.name] = &gateway{old.bridge, s.callers}
			continue
		}
		made, err := b.bridge(&s.bridgeSettings, broker.Caller{}, broker.Caller{Door: "mcp", ID: s.name})
		if err != nil {
			return nil, err
		}
		next[s.name] = &gateway{made, s.callers}
	}
	return next, nil
}

// discard lets go of bridges.
func discard(all map[string]*gateway) {
	for _, g := range all {
		g.bridge.leave()
	}
}

// put has bridges opened by their names in place of those of before. The sessions of those that are not among them end, once what
// was asked over HTTP is answered, and so do those of callers that may not use theirs any more.
func (b *Bridges) put(next map[string]*gateway) {
	b.mu.Lock()
	before := b.gateways
	closed := b.closed
	if !closed {
		b.gateways = next
	}
	var ended []*bridgeSession
	for s := range b.sessions {
		if s.gateway != "" && !b.still(s, next) {
			ended = append(ended, s)
		}
	}
	b.mu.Unlock()
	if closed {
		before = next
		next = nil
	}
	for _, s := range ended {
		s.cancel()
	}
	for name, g := range before {
		if now := next[name]; now != nil && now.bridge == g.bridge {
			g.bridge.leave()
			continue
		}
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), drain)
			defer cancel()
			g.bridge.retire(ctx)
			g.bridge.leave()
		}()
	}
}

// may reports whether a bridge of the configuration's is a caller's to open.
func (b *Bridges) may(g *gateway, c broker.Caller) bool {
	return g.callers.User(c.UID, c.GIDs) || b.Broker.Oversees(c)
}

// still reports whether what a session was opened with is among all, and its caller's to open.
func (b *Bridges) still(s *bridgeSession, all map[string]*gateway) bool {
	g := all[s.gateway]
	return g != nil && g.bridge == s.bridge && b.may(g, s.caller)
}

// join opens a session with a bridge of the configuration's. Who may not use one is not told whether there is such a one.
func (s *bridgeSession) join(spec wire.MCP) error {
	if err := narrowed(spec); err != nil {
		return err
	}
	b := s.of
	b.mu.Lock()
	var names []string
	for name, g := range b.gateways {
		if b.may(g, s.caller) {
			names = append(names, name)
		}
	}
	found := slices.Contains(names, spec.Gateway) && enter(&b.gateways[spec.Gateway].bridge.users)
	if found {
		s.bridge, s.gateway = b.gateways[spec.Gateway].bridge, spec.Gateway
	}
	b.mu.Unlock()
	if !found {
		e := freshet.Errorf(freshet.Invalid, "no bridge of the configuration is called %q, or it is not for you", spec.Gateway)
		if len(names) > 0 {
			slices.Sort(names)
			e.WithHint("there are: %s", strings.Join(names, ", "))
		}
		return e
	}
	if !spec.ReadOnly {
		return nil
	}
	var err error
	if s.serves, err = s.bridge.reader(); err != nil {
		s.bridge.leave()
	}
	return err
}

// addGate reads who may use a bridge at its address. Errors are [field.Error]s.
func (s *site) addGate(ctx context.Context, c *config.MCP, run *child.Runner) error {
	callers, err := callersOf(ctx, c.Allow, c.Secret, c.TLS, run)
	if err != nil {
		return err
	}
	if s.tls, s.manner.tls, err = serverTLS(c.TLS); err != nil {
		return err
	}
	if strangers(callers) {
		s.mode = 0o666
	}
	s.gates = append(s.gates, gate{c.Name, c.Path, callers})
	return nil
}

// showGates puts a site's bridges into a front.
func (o *opener) showGates(f *front, s *site, all map[string]*gateway) {
	var shown []proxy.Behind
	for _, g := range s.gates {
		m := all[g.name].bridge
		enter(&m.users) // its holder holds it
		f.bridges = append(f.bridges, m)
		f.kinds = append(f.kinds, "mcp "+g.name)
		at := newShownGate(g, m)
		f.gates = append(f.gates, at)
		observe := o.bridges.Observe
		shown = append(shown, proxy.Behind{Path: g.path, Callers: g.callers, Handler: at, Refused: func(code string) {
			if observe != nil {
				observe(mcp.Event{Bridge: g.name, Outcome: "refused", Reason: code})
			}
		}})
	}
	f.Handler, f.tls = proxy.NewGate(s.hosts(), shown...), s.tls
}
