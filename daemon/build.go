// Package daemon assembles a configuration into what runs: a broker, its sockets and its servers.
package daemon

import (
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"time"

	"freshet.dev/broker"
	"freshet.dev/builtin"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/field"
	"freshet.dev/internal/watch"
)

// Kinds are the kinds of source, endpoint and signer that a configuration can name.
func Kinds() config.Kinds {
	k := config.Kinds{Sources: make(map[string]func() any), Endpoints: make(map[string]func() any), Signers: make(map[string]func() any)}
	for _, s := range builtin.Sources() {
		k.Sources[s.Name] = s.Config
	}
	for _, e := range builtin.Endpoints() {
		k.Endpoints[e.Name] = e.Config
	}
	for _, s := range builtin.Signers() {
		k.Signers[s.Name] = s.Config
	}
	return k
}

// Options are what a broker's configuration file does not say.
type Options struct {
	Log     *slog.Logger
	Audit   *broker.Audit
	Observe func(freshet.Event)
	// Around, if set, gives what is put around an identity's retrievals: see [freshet.Around].
	Around freshet.Around
	// Run runs what sources start; nil: a runner of this broker's own.
	Run *child.Runner
	// Pin keeps the credentials of identities that are configured so loaded. It is the daemon's: what a command retrieves by
	// itself, beyond what it was asked for, it would throw away a moment later.
	Pin bool
	// Watch, if set, tells of changes in the files that sources read.
	Watch *watch.Watcher
}

// Broker makes a broker of a configuration. It retrieves nothing but what is to be kept loaded. Errors are of kind [freshet.Invalid].
func Broker(cfg *config.File, o Options) (*broker.Broker, error) {
	if o.Run == nil {
		o.Run = child.NewRunner(0)
	}
	ids, err := identities(cfg, o)
	if err != nil {
		return nil, err
	}
	b, err := newBroker(cfg, ids, o)
	if err == nil && o.Watch != nil {
		o.Watch.Watch(sourceFiles(b, ids))
	}
	return b, err
}

func newBroker(cfg *config.File, ids []broker.Identity, o Options) (*broker.Broker, error) {
	return broker.New(broker.Config{
		Identities: ids,
		Cache:      freshet.CacheConfig{Entries: cfg.Cache.Entries, Bytes: int64(cfg.Cache.Bytes), Observe: o.Observe},
		Owner:      uint32(os.Getuid()), Audit: o.Audit, Log: o.Log,
	})
}

// sourceFiles are the files that identities' sources read; a change of them has the identity refreshed.
func sourceFiles(b *broker.Broker, ids []broker.Identity) []watch.Set {
	var sets []watch.Set
	for _, id := range ids {
		if reader, ok := id.Source.(interface{ Files() []string }); ok {
			sets = append(sets, watch.Set{Key: "identity " + id.Name, Files: reader.Files, Changed: func() { b.Changed(id.Name) }})
		}
	}
	return sets
}

// identities makes the sources of a configuration.
func identities(cfg *config.File, o Options) ([]broker.Identity, error) {
	var all []broker.Identity
	for i := range cfg.Identities {
		id, err := identity(&cfg.Identities[i], o.Run)
		if err != nil {
			return nil, err
		}
		id.Around = o.Around
		id.Pin = o.Pin && cfg.Identities[i].Pin
		all = append(all, id)
	}
	return all, nil
}

func identity(c *config.Identity, run *child.Runner) (broker.Identity, error) {
	row := builtin.SourceNamed(c.Source)
	src, err := row.New(c.Settings, run)
	if err != nil {
		return broker.Identity{}, c.Explain(err)
	}
	groups, err := groupIDs(c.Allow.Groups)
	if err != nil {
		return broker.Identity{}, c.Explain(&field.Error{Field: "allow.groups", Why: err.Error()})
	}
	if err := pinnable(c); err != nil {
		return broker.Identity{}, c.Explain(err)
	}
	id := broker.Identity{
		IdentityConfig: freshet.IdentityConfig{
			Name: c.Name, Version: c.Version, Kind: c.Source, Source: src,
			Defaults:    freshet.Request{Tenant: c.Tenant, Scopes: c.Scopes, Audience: c.Audience},
			RefreshAt:   float64(c.Refresh.At) / 100,
			Timeout:     time.Duration(c.Refresh.Timeout),
			Concurrency: c.Limit.Concurrency,
			Rate:        float64(c.Limit.Rate),
		},
		From: c.From,
		Policy: broker.Policy{
			UIDs: c.Allow.UIDs, GIDs: groups, Withheld: !c.Release,
			Tenants: c.Tenants, Scopes: c.Scopes, Audiences: c.Audiences,
		},
	}
	return id, nil
}

// pinnable refuses to pin what can be retrieved only for somebody who says what for: it would never be loaded.
func pinnable(c *config.Identity) error {
	command, ok := c.Settings.(interface{ Placeholders() freshet.Fields })
	if !ok || !c.Pin {
		return nil
	}
	for _, f := range []struct {
		field freshet.Fields
		key   string
		given bool
	}{{freshet.FieldScopes, "scopes", len(c.Scopes) > 0}, {freshet.FieldTenant, "tenant", c.Tenant != ""}, {freshet.FieldAudience, "audience", c.Audience != ""}} {
		if command.Placeholders()&f.field != 0 && !f.given {
			return &field.Error{Field: "pin", Why: "its command has a place for what callers ask for, and there is no default: " + f.key,
				Help: "add " + f.key + ": to the identity, or remove pin"}
		}
	}
	return nil
}

// groupIDs resolves groups by name or number.
func groupIDs(groups []string) ([]uint32, error) {
	var ids []uint32
	for _, g := range groups {
		id, err := groupID(g)
		if err != nil {
			return nil, err
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
}

func groupID(name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}
