package daemon

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/broker"
	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/mcp"
	"freshet.dev/mcp/tools"
	"freshet.dev/proxy"
)

// bridgeSettings are all that a bridge depends on, what its files say too, but for who may use it.
type bridgeSettings struct {
	name         string // in figures and the record
	scope        string // tells apart those of one name, of which each has approvals of its own; "" is the name
	upstreams    []remote
	wait, expire time.Duration

	explain func(error) error // puts the place in the file before an error; nil: there is no file
}

// remote is an upstream of a bridge.
type remote struct {
	proxy.Config // of its routes, but for what is made for each
	name         string
	url          *url.URL // with the query
	signer       string
	given        []byte // the signer's settings from a caller
	of           any    // or from the configuration
	ca           digest
	profiles     []profile
	parameter    string
	meta         map[string]string
	policy       tools.Policy
	pin          []byte
	sessions     int
	timeouts     mcp.Timeouts

	explain func(error) error
}

// profile is one of the identities by which a server may be used.
type profile struct{ name, identity string }

// equal reports whether two settings make the same bridge, wherever they are written.
func (s *bridgeSettings) equal(t *bridgeSettings) bool {
	return reflect.DeepEqual(s.bare(), t.bare())
}

func (s *bridgeSettings) bare() bridgeSettings {
	b := *s
	b.explain, b.upstreams = nil, slices.Clone(s.upstreams)
	for i := range b.upstreams {
		b.upstreams[i].explain, b.upstreams[i].TLS = nil, nil // ca tells what TLS is made of
	}
	return b
}

// mcpBuffers are for messages: an agent may keep a connection of its own open for what the server says unasked.
const mcpBuffers = 4 << 10

// bridge is one with its routes, for as long as somebody holds it.
type bridge struct {
	*mcp.Bridge
	settings *bridgeSettings
	accounts []*account
	web      http.Handler
	busy     busy
	of       *Bridges
	users    atomic.Int64 // that hold it; at 0 it is closed
	ended    atomic.Bool

	mu       sync.Mutex
	readOnly *mcp.Bridge // the same, for callers that want to read alone; nil: nobody has yet
}

// bridge makes one, and its caller holds it. opener is who has asked for it; the zero Caller is the configuration. What is wrong
// with it is told now, as far as that is known before anything is retrieved.
func (b *Bridges) bridge(s *bridgeSettings, opener, self broker.Caller) (_ *bridge, err error) {
	made := &bridge{settings: s, of: b}
	made.users.Store(1)
	defer func() {
		if err != nil {
			made.close()
		}
	}()
	for i := range s.upstreams {
		u := &s.upstreams[i]
		for _, p := range u.profiles {
			cfg := u.Config
			cfg.Identity, cfg.Buffers = p.identity, mcpBuffers
			a := &account{Bridges: b, cfg: cfg, signer: u.signer, given: u.given, of: u.of, opener: opener, self: self}
			made.accounts = append(made.accounts, a)
			if err := a.known(); err != nil {
				return nil, u.told(err)
			}
		}
	}
	made.Bridge, err = made.build(false)
	if err != nil {
		return nil, err
	}
	made.web = made.Handler(proxy.CallerOf)
	return made, nil
}

// told is an error with its place in the file, or as a caller is told it.
func (u *remote) told(err error) error {
	if u.explain == nil {
		return invalid(err)
	}
	if e, ok := err.(*freshet.Error); ok { // a broker's
		err = &field.Error{Field: "identity", Why: e.Error(), Help: e.Hint}
	}
	return u.explain(err)
}

// build makes the bridge proper on the accounts there are.
func (m *bridge) build(readOnly bool) (*mcp.Bridge, error) {
	b, s := m.of, m.settings
	cfg := mcp.Config{
		Name: s.name, Scope: cmp.Or(s.scope, s.name), Approvals: b.Approvals, Wait: cmp.Or(s.wait, b.Wait), Observe: b.observer(s), Log: b.Log, Version: b.Version,
	}
	if b.Approvals != nil && s.expire > 0 {
		cfg.Approvals = b.Approvals.Expiring(s.expire)
	}
	accounts := m.accounts
	for i := range s.upstreams {
		u := &s.upstreams[i]
		one := mcp.Upstream{
			Name: u.name, URL: u.url, Parameter: u.parameter, Meta: u.meta, Policy: u.policy, Sessions: u.sessions, Timeouts: u.timeouts,
		}
		one.Policy.ReadOnly = one.Policy.ReadOnly || readOnly
		if len(u.pin) > 0 {
			var err error
			if one.Pin, err = tools.Parse(u.pin); err != nil {
				return nil, u.told(&field.Error{Field: "pin", Why: "not a snapshot of tools: " + freshet.AsError(err).Why, Help: "freshet mcp pin writes one"})
			}
		}
		for _, p := range u.profiles {
			one.Profiles = append(one.Profiles, mcp.Profile{Name: p.name, Transport: accounts[0]})
			accounts = accounts[1:]
		}
		cfg.Upstreams = append(cfg.Upstreams, one)
	}
	return mcp.New(cfg)
}

// reader is the bridge for callers that want to read alone.
func (m *bridge) reader() (*mcp.Bridge, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended.Load() {
		return nil, errClosed
	}
	if m.readOnly == nil {
		var err error
		if m.readOnly, err = m.build(true); err != nil {
			return nil, err
		}
	}
	return m.readOnly, nil
}

// ServeHTTP answers a caller that was let in.
func (m *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost { // a GET is a stream that has no end of its own
		m.busy.begin()
		defer m.busy.end()
	}
	m.web.ServeHTTP(w, r)
}

// leave ends what holding it began.
func (m *bridge) leave() {
	if m.users.Add(-1) == 0 {
		m.close()
	}
}

// retire ends its sessions, once what was asked over HTTP is answered, up to ctx.
func (m *bridge) retire(ctx context.Context) {
	m.busy.wait(ctx)
	m.end()
}

// end ends its sessions.
func (m *bridge) end() {
	m.mu.Lock()
	m.ended.Store(true)
	reader := m.readOnly
	m.mu.Unlock()
	if reader != nil {
		reader.Close()
	}
	if m.Bridge != nil {
		m.Bridge.Close()
	}
}

func (m *bridge) close() {
	m.end()
	for _, a := range m.accounts {
		a.close()
	}
}

// busy counts what is under way.
type busy struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed once there is nothing
}

func (b *busy) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n == 0 {
		b.idle = make(chan struct{})
	}
	b.n++
}

func (b *busy) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n--; b.n == 0 {
		close(b.idle)
	}
}

// wait returns when there is nothing under way, or with ctx.
func (b *busy) wait(ctx context.Context) {
	b.mu.Lock()
	n, idle := b.n, b.idle
	b.mu.Unlock()
	if n == 0 {
		return
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
