package daemon

import (
	"context"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/broker"
	"freshet.dev/builtin"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
	"freshet.dev/proxy"
)

// settings are all that a route of the configuration depends on, what its files say too. The signer, the door and the observer are
// made for each route, and not in Config yet.
type settings struct {
	proxy.Config
	signer string
	of     any    // the signer's own
	ca     digest // the upstream's authorities

	entry *config.Proxy // it is written there
}

// equal reports whether two settings make the same route, wherever they are written.
func (s settings) equal(t settings) bool {
	s.entry, s.TLS, t.entry, t.TLS = nil, nil, nil, nil // ca tells what TLS is made of
	return reflect.DeepEqual(s, t)
}

// addProxy reads what a proxy's entry names. Errors are [field.Error]s.
func (s *site) addProxy(ctx context.Context, c *config.Proxy, run *child.Runner) error {
	upstream, err := field.Upstream("upstream", c.Upstream)
	if err != nil {
		return err
	}
	trusted, ca, err := clientTLS(c.CAFile)
	if err != nil {
		return err
	}
	callers, err := callersOf(ctx, c.Allow, c.Secret, c.TLS, run)
	if err != nil {
		return err
	}
	// Entries that share an address have the same TLS settings, so the files are the same as well.
	if s.tls, s.manner.tls, err = serverTLS(c.TLS); err != nil {
		return err
	}
	if strangers(callers) {
		s.mode = 0o666
	}
	s.proxies = append(s.proxies, settings{
		Config: proxy.Config{
			Name: c.Name, Upstream: upstream, Prefix: c.Path,
			Identity: c.Identity, Request: freshet.Request{Tenant: c.Tenant, Scopes: c.Scopes, Audience: c.Audience},
			Callers: callers, Methods: c.Methods, Paths: c.Paths, MaxBody: int64(c.MaxBody), MaxSpool: int64(c.MaxSpool),
			Connect: time.Duration(c.Timeouts.Connect), Answer: time.Duration(c.Timeouts.Answer), Idle: time.Duration(c.Timeouts.Idle),
			Retries: c.Retries, Connections: c.Connections, TLS: trusted, HTTP2: c.HTTP2,
		},
		signer: c.Signer, of: c.Settings, ca: ca, entry: c,
	})
	return nil
}

func callersOf(ctx context.Context, allow config.Allow, known secret.Ref, tls config.ProxyTLS, run *child.Runner) (proxy.Callers, error) {
	groups, err := groupIDs(allow.Groups)
	if err != nil {
		return proxy.Callers{}, &field.Error{Field: "allow.groups", Why: err.Error()}
	}
	callers := proxy.Callers{UIDs: allow.UIDs, GIDs: groups, Owner: uint32(os.Getuid()), Certificates: tls.ClientCAFile != ""}
	if !known.IsZero() {
		secret, err := readSecret(ctx, known, run)
		if err != nil {
			return proxy.Callers{}, err
		}
		callers.Secret = freshet.Secret(secret)
	}
	return callers, nil
}

// strangers reports whether others than the daemon's own user may be let in. The socket then lets everybody connect: the kernel
// names each, and the proxy looks at that.
func strangers(c proxy.Callers) bool {
	return len(c.GIDs) > 0 || slices.ContainsFunc(c.UIDs, func(uid uint32) bool { return uid != c.Owner })
}

// route is a proxy's route with its door, for as long as a front holds it.
type route struct {
	*proxy.Route
	settings settings
	door     *broker.Door
	fronts   atomic.Int64 // that hold it; at 0 it is closed
	of       *routes
}

// leave ends what enter began.
func (r *route) leave() {
	if r.fronts.Add(-1) == 0 {
		r.Close()
		r.door.Close()
		r.of.remove(r)
	}
}

// routes are the routes that are not closed yet.
type routes struct {
	mu  sync.Mutex
	all map[*route]struct{}
}

func (o *routes) add(r *route) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = make(map[*route]struct{})
	}
	o.all[r] = struct{}{}
}

func (o *routes) remove(r *route) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, r)
}

// cut ends what is under way at all of them.
func (o *routes) cut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := range o.all {
		r.Close()
	}
}

// showProxies puts a site's routes into a front: those of before that have not changed, and new ones.
func (o *opener) showProxies(f *front, s *site, before []*route) error {
	var shown []*proxy.Route
	for i := range s.proxies {
		r, err := o.route(&s.proxies[i], before)
		if err != nil {
			return err
		}
		f.held = append(f.held, r)
		f.kinds = append(f.kinds, "proxy "+r.settings.Name)
		shown = append(shown, r.Route)
	}
	f.Handler, f.tls = proxy.NewMux(s.hosts(), shown...), s.tls
	return nil
}

// route finds the route of some settings among those of before, or opens one. Its caller holds it.
func (o *opener) route(s *settings, before []*route) (*route, error) {
	for _, r := range before {
		if r.settings.equal(*s) && enter(&r.fronts) {
			return r, nil
		}
	}
	door, err := o.broker.OpenDoor(broker.Caller{Door: "proxy", ID: s.Name, Signs: true}, []string{s.Identity})
	if err != nil {
		e := freshet.AsError(err)
		return nil, s.entry.Explain(&field.Error{Field: "identity", Why: e.Error(), Help: e.Hint})
	}
	made, err := s.open(door, o.observe)
	if err != nil {
		door.Close()
		return nil, s.entry.Explain(err)
	}
	r := &route{Route: made, settings: *s, door: door, of: o.routes}
	r.fronts.Store(1)
	o.routes.add(r)
	return r, nil
}

// open makes a route.
func (s *settings) open(door *broker.Door, observe func(proxy.Event)) (*proxy.Route, error) {
	signer, err := builtin.SignerNamed(s.signer).New(s.of, s.Upstream)
	if err != nil {
		return nil, err
	}
	cfg := s.Config
	cfg.Signer, cfg.Door, cfg.Observe = signer, door, recorder(door, observe)
	return proxy.New(cfg)
}

// recorder has each request in a door's record, and tells whoever else observes.
func recorder(door *broker.Door, observe func(proxy.Event)) func(proxy.Event) {
	return func(e proxy.Event) {
		outcome, reason := "ok", ""
		switch {
		case e.Status == 0:
			outcome = "left"
		case e.Refused != "":
			outcome, reason = "refused", e.Refused
		}
		door.Record(e.Caller, outcome, reason)
		if observe != nil {
			observe(e)
		}
	}
}
