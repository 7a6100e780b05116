package daemon

import (
	"context"
	"crypto/tls"
	"io/fs"
	"net/netip"

	"freshet.dev/broker"
	"freshet.dev/config"
	"freshet.dev/internal/child"
	"freshet.dev/proxy"
)

// site is an address of a configuration with all that is to be served there: whatever its entries name is read.
type site struct {
	address   string
	explain   func(error) error // puts the place of its first entry before an error
	mode      fs.FileMode       // of a Unix socket
	manner    manner
	tls       *tls.Config // nil: none
	endpoints []endpoint
	proxies   []settings
	gates     []gate
}

// sites are those of a configuration, in the order of the file. Nothing is opened yet.
type sites []*site

// at is the site of an address, which the first entry there brings about.
func (all *sites) at(listen string, m manner, explain func(error) error) (*site, error) {
	address, err := canonical(listen)
	if err != nil {
		return nil, explain(err)
	}
	for _, s := range *all {
		if s.address == address {
			return s, nil
		}
	}
	s := &site{address: address, explain: explain, manner: m, mode: 0o600}
	*all = append(*all, s)
	return s, nil
}

// readSites reads the secrets and certificates of a configuration. Without a runner, secrets that a command prints stay unknown.
func readSites(ctx context.Context, cfg *config.File, run *child.Runner) (all sites, err error) {
	for i := range cfg.Endpoints {
		c := &cfg.Endpoints[i]
		s, err := all.at(c.Listen, manner{}, c.Explain)
		if err != nil {
			return nil, err
		}
		e, err := readEndpoint(ctx, c, run)
		if err != nil {
			return nil, err
		}
		s.endpoints = append(s.endpoints, e)
	}
	for i := range cfg.Proxies {
		c := &cfg.Proxies[i]
		s, err := all.at(c.Listen, manner{proxy: true}, c.Explain)
		if err != nil {
			return nil, err
		}
		if err := s.addProxy(ctx, c, run); err != nil {
			return nil, c.Explain(err)
		}
	}
	for i := range cfg.MCP {
		c := &cfg.MCP[i]
		if c.Listen == "" {
			continue
		}
		s, err := all.at(c.Listen, manner{proxy: true}, c.Explain)
		if err != nil {
			return nil, err
		}
		if err := s.addGate(ctx, c, run); err != nil {
			return nil, c.Explain(err)
		}
	}
	return all, nil
}

// opener opens the doors behind sites.
type opener struct {
	broker  *broker.Broker
	observe func(proxy.Event) // nil: nobody
	routes  *routes           // where those that are opened are kept
	bridges *Bridges
}

// open opens the doors of sites: address → front. Routes that are shown at one of the listeners that there are, and have not
// changed, go on. gateways are the configuration's bridges.
func (o *opener) open(all sites, have map[string]*listener, gateways map[string]*gateway) (_ map[string]*front, err error) {
	fronts := make(map[string]*front)
	defer func() {
		if err != nil {
			for _, f := range fronts {
				f.leave()
			}
		}
	}()
	for _, s := range all {
		f := newFront()
		fronts[s.address] = f
		switch {
		case len(s.endpoints) > 0:
			err = o.showEndpoints(f, s)
		case len(s.gates) > 0:
			o.showGates(f, s, gateways)
		default:
			var before []*route
			if l := have[s.address]; l != nil {
				before = l.front.Load().held
			}
			err = o.showProxies(f, s, before)
		}
		if err != nil {
			return nil, err
		}
	}
	return fronts, nil
}

// hosts are the names that its servers answer to: its address, and those that its certificate is for. No page can have been led
// there by a name of its own. A Unix socket has none.
func (s *site) hosts() []string {
	address, err := netip.ParseAddrPort(s.address)
	if err != nil {
		return nil
	}
	names := []string{address.Addr().String()}
	if s.tls != nil {
		if leaf := s.tls.Certificates[0].Leaf; leaf != nil {
			names = append(names, leaf.DNSNames...)
		}
	}
	return names
}
