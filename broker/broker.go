// Package broker is the one thing that endpoints, the local API and commands talk to: identities, who may use them, the cache
// behind them, and the record of both.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// ErrWithheld is the cause of the error about an identity that is never handed out.
var ErrWithheld = errors.New("never handed out")

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
	cache      *freshet.Cache
	owner      uint32
	audit      *Audit
	log        *slog.Logger
	world      atomic.Pointer[world]
	refused    refusals
	rejections rejections
	callers    callers

	changing sync.Mutex // one change of world at a time
	mu       sync.Mutex
	doors    map[*Door]struct{} // those open
}

// New builds a broker. Its errors are of kind [freshet.Invalid]; nothing is retrieved yet.
func New(cfg Config) (*Broker, error) {
	b := &Broker{owner: cfg.Owner, audit: cfg.Audit, log: cfg.Log, doors: make(map[*Door]struct{})}
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
	b.world.Store(new(world))
	if _, err := b.Reconfigure(cfg.Identities); err != nil {
		return nil, err
	}
	return b, nil
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
	return b.names(b.world.Load(), c)
}

func (b *Broker) names(w *world, c Caller) []string {
	var names []string
	for _, name := range w.names {
		if b.may(c, w.entries[name]) {
			names = append(names, name)
		}
	}
	return names
}

// Kind is the kind of source of an identity; "" where there is none of that name.
func (b *Broker) Kind(name string) string {
	if e := b.world.Load().entries[name]; e != nil {
		return e.kind
	}
	return ""
}

// Oversees reports whether the caller is the broker's own user, or root: they see, and may reject, what is anybody's.
func (b *Broker) Oversees(c Caller) bool { return c.Peer && (c.UID == b.owner || c.UID == 0) }

// lookup finds an identity that the caller may use. To somebody who may use none, an identity that exists and one that does
// not look alike.
func (b *Broker) lookup(w *world, c Caller, name string) (*entry, error) {
	e := w.entries[name]
	if e == nil {
		return nil, b.unknown(w, c, name)
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

func (b *Broker) unknown(w *world, c Caller, name string) error {
	e := &freshet.Error{Kind: freshet.Invalid, Why: fmt.Sprintf("unknown identity %q", name), Cause: ErrUnknown}
	switch may := b.names(w, c); {
	case len(may) > 0:
		return e.WithHint("there are: %s", strings.Join(may, ", "))
	case b.Oversees(c):
		return e.WithHint("no identity is configured for you")
	}
	b.audit.deny(c, "", "policy")
	return forbidden(c, name)
}

// retrieved records a retrieval that has ended.
func (b *Broker) retrieved(e freshet.Event) {
	if id := b.world.Load().entries[e.Identity]; id != nil && !e.Removed {
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
