// Package broker is the one thing that endpoints, the local API and commands talk to: identities, who may use them, the cache
// behind them, and the record of both.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"freshet.dev/freshet"
)

// Identity is a configured identity as the broker is given it. The embedded config's From is left unset: From names it here.
type Identity struct {
	freshet.IdentityConfig
	From   string // name of the identity its credential is made from; "" for none
	Policy Policy
}

// ErrUnknown is the cause of the error about an identity that is not configured.
var ErrUnknown = errors.New("unknown identity")

// Config describes a broker.
type Config struct {
	Identities []Identity // in any order
	Cache      freshet.CacheConfig
	Owner      uint32       // the uid whose processes may use an identity that names nobody else
	Audit      *Audit       // nil records nothing
	Log        *slog.Logger // nil logs nothing
}

// Broker answers for its identities. Its methods may be called by many goroutines.
type Broker struct {
	cache   *freshet.Cache
	owner   uint32
	audit   *Audit
	log     *slog.Logger
	entries map[string]*entry // identity name → entry
	names   []string          // sorted
	refused refusals

	mu    sync.Mutex
	doors map[*Door]struct{} // those open
}

// entry is an identity with its policy and what was last seen of its source.
type entry struct {
	*freshet.Identity
	kind     string
	from     string
	defaults freshet.Request
	policy   Policy
	last     outcome

	handedOut atomic.Int64 // by requests of their own, and by doors since closed; open doors count for themselves
}

// New builds a broker. Its errors are of kind [freshet.Invalid]; nothing is retrieved yet.
func New(cfg Config) (*Broker, error) {
	b := &Broker{
		owner: cfg.Owner, audit: cfg.Audit, log: cfg.Log, entries: make(map[string]*entry, len(cfg.Identities)),
		doors: make(map[*Door]struct{}),
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	observe := cfg.Cache.Observe
	cfg.Cache.Observe = func(e freshet.Event) {
		b.retrieved(e)
		if observe != nil {
			observe(e)
		}
	}
	b.cache = freshet.NewCache(cfg.Cache)
	byName := make(map[string]*Identity, len(cfg.Identities))
	for i := range cfg.Identities {
		id := &cfg.Identities[i]
		if byName[id.Name] != nil {
			return nil, freshet.Errorf(freshet.Invalid, "identity %s: there are two of that name", id.Name)
		}
		byName[id.Name] = id
	}
	for i := range cfg.Identities {
		if _, err := b.add(byName, &cfg.Identities[i], nil); err != nil {
			return nil, err
		}
	}
	slices.Sort(b.names)
	return b, nil
}

// add registers an identity after the one it is made from.
func (b *Broker) add(byName map[string]*Identity, id *Identity, path []string) (*freshet.Identity, error) {
	if e := b.entries[id.Name]; e != nil {
		return e.Identity, nil
	}
	if slices.Contains(path, id.Name) {
		return nil, freshet.Errorf(freshet.Invalid, "identities are made from each other: %s", strings.Join(append(path, id.Name), " → "))
	}
	cfg := id.IdentityConfig
	if id.From != "" {
		from := byName[id.From]
		if from == nil {
			return nil, freshet.Errorf(freshet.Invalid, "identity %s: from names %s, which is not configured", id.Name, id.From)
		}
		input, err := b.add(byName, from, append(path, id.Name))
		if err != nil {
			return nil, err
		}
		cfg.From = input
	}
	cfg.Pinned |= id.Policy.pins(cfg.Defaults)
	lib, err := b.cache.Add(cfg)
	if err != nil {
		return nil, err
	}
	b.entries[id.Name] = &entry{Identity: lib, kind: id.Kind, from: id.From, defaults: id.Defaults, policy: id.Policy}
	b.names = append(b.names, id.Name)
	return lib, nil
}

// Close ends every retrieval and writes what is left of the record, up to ctx.
func (b *Broker) Close(ctx context.Context) error {
	err := b.cache.Close(ctx)
	if err != nil {
		b.log.Warn("retrievals outlived the shutdown", "error", err)
	}
	return errors.Join(err, b.audit.close(ctx))
}

// Names lists the identities that a caller may use, sorted.
func (b *Broker) Names(c Caller) []string {
	var names []string
	for _, name := range b.names {
		if b.may(c, b.entries[name]) {
			names = append(names, name)
		}
	}
	return names
}

// oversees reports whether the caller is the broker's own user, or root: they see, and may reject, what is anybody's.
func (b *Broker) oversees(c Caller) bool { return c.Peer && (c.UID == b.owner || c.UID == 0) }

// lookup finds an identity that the caller may use. To somebody who may use none, an identity that exists and one that does
// not look alike.
func (b *Broker) lookup(c Caller, name string) (*entry, error) {
	e := b.entries[name]
	if e == nil {
		return nil, b.unknown(c, name)
	}
	if !b.may(c, e) {
		b.audit.deny(c, name, "policy")
		return nil, forbidden(c, name)
	}
	return e, nil
}

func forbidden(c Caller, name string) error {
	return freshet.Errorf(freshet.Denied, "identity %s: policy does not let %s use it", name, c.who()).
		WithHint("its allow: in the configuration says who may")
}

func (b *Broker) unknown(c Caller, name string) error {
	e := &freshet.Error{Kind: freshet.Invalid, Why: fmt.Sprintf("unknown identity %q", name), Cause: ErrUnknown}
	switch may := b.Names(c); {
	case len(may) > 0:
		return e.WithHint("there are: %s", strings.Join(may, ", "))
	case b.oversees(c):
		return e.WithHint("no identity is configured for you")
	}
	b.audit.deny(c, "", "policy")
	return forbidden(c, name)
}

// retrieved records a retrieval that has ended.
func (b *Broker) retrieved(e freshet.Event) {
	if id := b.entries[e.Identity]; id != nil {
		id.last.set(e)
	}
	if e.Shared {
		return // another process retrieved, and records it
	}
	b.audit.retrieval(e)
	if e.Input != "" && e.Asked { // what the source was given may have gone to its issuer, whatever came back
		b.audit.handOut(Caller{Door: "chain", ID: e.Identity}, e.Input, e.InputFingerprint)
	}
	attrs := []any{"identity", e.Identity, "source", e.Kind, "key", e.KeyHash(), "reason", e.Reason, "seconds", e.Took.Seconds()}
	switch {
	case e.Err != nil:
		b.log.Warn("retrieval failed", append(attrs, "kind", string(e.Err.Kind), "error", e.Err.Error())...)
	default:
		b.log.Info("retrieved", append(attrs, "fingerprint", e.Fingerprint, "expires", e.Expires)...)
	}
}
