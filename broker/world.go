package broker

import (
	"cmp"
	"slices"
	"strings"

	"freshet.dev/freshet"
)

// world is what is configured at one time. It is never changed: a new configuration is a new world.
type world struct {
	entries map[string]*entry // identity name → entry
	names   []string          // sorted
}

// entry is an identity with its policy, and what is known of its name.
type entry struct {
	*freshet.Identity
	version  string
	kind     string
	from     string
	how      string // its input is obtained; see inputOf
	host     string // whom it asks by default
	issuer   string // that, where its source does not say
	source   freshet.Source
	input    *freshet.Identity // what from names
	defaults freshet.Request
	policy   Policy
	pin      bool
	limit    limit
	history
}

// limit is what an identity may ask of its issuer.
type limit struct {
	concurrency int
	rate        float64 // a second
}

func limitOf(id *Identity) limit { return limit{id.Concurrency, id.Rate} }

// replaced reports whether a name stands for another identity in the next world.
func (w *world) replaced(next *world, name string) bool {
	before, after := w.entries[name], next.entries[name]
	return before != nil && after != nil && before.Identity != after.Identity
}

// history is what was seen of an identity, and of those that had its name before.
type history struct {
	last   *outcome // its own
	counts *counts  // of all of them; open doors count beside it
}

// Changes are the names of the identities that a new configuration added, changed and removed, sorted.
type Changes struct{ Added, Changed, Removed []string }

// Reconfigure puts identities in place of those there are. One whose Version is the same, and is not empty, keeps its
// credentials. Version covers everything, its input's Version too, but who may use it and whether it is pinned: that is as in the
// new configuration from now on, in doors that are open too. The credentials of others are gone. Requests under way are answered. Errors are of kind [freshet.Invalid], and leave
// everything as it was.
func (b *Broker) Reconfigure(identities []Identity) (Changes, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	old := b.world.Load()
	next, added, err := b.build(old, identities)
	if err != nil {
		for _, lib := range added {
			b.cache.Remove(lib)
		}
		return Changes{}, err
	}
	b.world.Store(next)
	b.mu.Lock()
	for d := range b.doors {
		d.bind(next)
	}
	b.mu.Unlock()
	for name, e := range next.entries {
		before := old.entries[name]
		if before == nil || before.Identity != e.Identity {
			continue
		}
		if before.pin != e.pin {
			if err := e.Identity.Pin(e.pin); err != nil {
				b.log.Warn("whether it is kept loaded could not be changed", "identity", name, "error", err)
			}
		}
		if before.limit != e.limit {
			e.Identity.SetLimit(e.limit.concurrency, e.limit.rate)
		}
	}
	for name, e := range old.entries {
		if now := next.entries[name]; now == nil || now.Identity != e.Identity {
			b.cache.Remove(e.Identity)
		}
	}
	return compare(old, next), nil
}

// Changed says that what an identity's source reads has changed: see [freshet.Identity.Changed].
func (b *Broker) Changed(name string) {
	if e := b.world.Load().entries[name]; e != nil {
		b.log.Debug("what a source reads has changed", "identity", name)
		e.Identity.Changed()
	}
}

// build makes the world of some identities, keeping what it can of the old one. It returns what it added to the cache.
func (b *Broker) build(old *world, identities []Identity) (_ *world, added []*freshet.Identity, err error) {
	byName := make(map[string]*Identity, len(identities))
	for i := range identities {
		id := &identities[i]
		if byName[id.Name] != nil {
			return nil, nil, freshet.Errorf(freshet.Invalid, "identity %s: there are two of that name", id.Name)
		}
		byName[id.Name] = id
	}
	w := &world{entries: make(map[string]*entry, len(identities))}
	// add registers an identity after the one it is made from.
	var add func(id *Identity, path []string) (*freshet.Identity, error)
	add = func(id *Identity, path []string) (*freshet.Identity, error) {
		if e := w.entries[id.Name]; e != nil {
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
			input, err := add(from, append(path, id.Name))
			if err != nil {
				return nil, err
			}
			cfg.From = input
		}
		e := &entry{version: id.Version, kind: id.Kind, from: id.From, how: inputOf(id.Source, id.Defaults), host: hostOf(&cfg), issuer: cmp.Or(cfg.Issuer, cfg.Name), source: cfg.Source, input: cfg.From, defaults: id.Defaults, policy: id.Policy, pin: id.Pin, limit: limitOf(id), history: history{new(outcome), new(counts)}}
		before := old.entries[id.Name]
		if before != nil {
			e.counts = before.counts // a counter goes on
		}
		if before.same(id, cfg.From) {
			e.Identity, e.last = before.Identity, before.last
		} else {
			cfg.Pinned |= id.Policy.pins(cfg.Defaults)
			lib, err := b.cache.Add(cfg)
			if err != nil {
				return nil, err
			}
			e.Identity = lib
			added = append(added, lib)
		}
		w.entries[id.Name] = e
		w.names = append(w.names, id.Name)
		return e.Identity, nil
	}
	for i := range identities {
		if _, err := add(&identities[i], nil); err != nil {
			return nil, added, err
		}
	}
	slices.Sort(w.names)
	return w, added, nil
}

// same reports whether what e has retrieved is what id would retrieve from input.
func (e *entry) same(id *Identity, input *freshet.Identity) bool {
	return e != nil && id.Version != "" && e.version == id.Version && e.input == input
}

// like reports whether an entry is the same identity, used in the same way.
func (e *entry) like(next *entry) bool {
	return e.Identity == next.Identity && e.pin == next.pin && e.limit == next.limit && e.policy.equal(&next.policy)
}

func compare(old, next *world) Changes {
	var c Changes
	for _, name := range next.names {
		switch before := old.entries[name]; {
		case before == nil:
			c.Added = append(c.Added, name)
		case !before.like(next.entries[name]):
			c.Changed = append(c.Changed, name)
		}
	}
	for _, name := range old.names {
		if next.entries[name] == nil {
			c.Removed = append(c.Removed, name)
		}
	}
	return c
}
