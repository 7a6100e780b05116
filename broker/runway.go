package broker

import (
	"cmp"
	"slices"
	"time"

	"freshet.dev/freshet"
)

// Runway is how long from now an issuer may stay down until the first caller fails for it.
type Runway struct {
	Identity string  // whose; "" if it is an issuer's
	Issuer   string  // host; "" if it is an identity's, whichever issuers that has
	Seconds  float64 // at least 10 years where what is served does not expire
	Known    bool    // false: nobody would notice, for no key is wanted
}

// Runways are the runways of every identity, and of every issuer that one depends on. It takes O(keys).
func (b *Broker) Runways() []Runway {
	all := b.estate(b.world.Load())
	var list []Runway
	add := func(identity, issuer string, seconds *float64) {
		r := Runway{Identity: identity, Issuer: issuer, Known: seconds != nil}
		if r.Known {
			r.Seconds = *seconds
		}
		list = append(list, r)
	}
	for i := range all {
		add(all[i].Name, "", all[i].Runway)
	}
	for _, host := range all.hosts() {
		seconds, _ := all.runway(host)
		add("", host, seconds)
	}
	return list
}

// estate is what identities hold, as status tells it: all that an outage's course depends on. The order is that of names.
type estate []IdentityStatus

func (all estate) find(name string) *IdentityStatus {
	i, ok := slices.BinarySearchFunc(all, name, func(id IdentityStatus, name string) int { return cmp.Compare(id.Name, name) })
	if !ok {
		return nil
	}
	return &all[i]
}

func (all estate) names() []string {
	var names []string
	for i := range all {
		names = append(names, all[i].Name)
	}
	return names
}

// hosts are the issuers that any of them depends on, sorted.
func (all estate) hosts() []string {
	var hosts []string
	for i := range all {
		hosts = append(hosts, all[i].Issuers...)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// runway is how long the first key lasts that depends on a host, if that goes down now, and whose it is; nil if no such key is
// wanted.
func (all estate) runway(host string) (seconds *float64, first string) {
	return all.runwayOf(host, all)
}

// runwayOf is runway for the keys of some identities alone.
func (all estate) runwayOf(host string, some estate) (seconds *float64, first string) {
	down := []string{host}
	for i := range some {
		id := &some[i]
		keys := id.asked()
		for j := range keys {
			if !keys[j].counts() {
				continue
			}
			if lasts, affected := all.lasts(id, &keys[j], down); affected && (seconds == nil || lasts < *seconds) {
				seconds, first = &lasts, id.Name
			}
		}
	}
	return seconds, first
}

// counts reports whether a key's callers can be failed by an outage: it is wanted, and is neither refused for what it asks for
// nor only just being retrieved for the first time, as then it has no runway yet.
func (k *KeyStatus) counts() bool {
	switch {
	case !k.Wanted:
		return false
	case k.Fingerprint != "":
		return true
	case k.LastKind == "":
		return !k.Refreshing
	}
	return k.LastKind != freshet.Invalid && k.LastKind != freshet.Denied
}

// asked are the identity's keys, and one that stands for those that nothing is held of but callers who went without, unless there
// is one to say so.
func (id *IdentityStatus) asked() []KeyStatus {
	if !id.Failing || slices.ContainsFunc(id.Keys, func(k KeyStatus) bool { return k.counts() && k.Lasts <= 0 }) {
		return id.Keys
	}
	return append(slices.Clip(id.Keys), KeyStatus{Target: TargetStatus{Host: id.Host}, Wanted: true, LastKind: freshet.Unavailable})
}

// asks is the host that a key's own retrieval asks.
func (id *IdentityStatus) asks(k *KeyStatus) string {
	if k.Target.Host != "" {
		return k.Target.Host
	}
	return id.Host
}

// lasts is for how long a key can be served from now on if these hosts are down, in seconds. It is not affected if it can be
// retrieved without them.
//
// A key whose own issuer is up, but not its input's, can be made anew for as long as a cached input lives. How much longer than
// that is not known, as the last one may be made at any time before; so this is the least it can be.
func (all estate) lasts(id *IdentityStatus, k *KeyStatus, down []string) (seconds float64, affected bool) {
	if slices.Contains(down, id.asks(k)) {
		return k.Lasts, true
	}
	if id.From == "" || !all.dependOn(id.From, id, down) {
		return 0, false
	}
	if id.Input != inputCached {
		return k.Lasts, true
	}
	return max(k.Lasts, all.inputLasts(id.From, down)), true
}

// dependOn reports whether an input depends on any of these hosts. One that is not told of, as its user may not use it, does if
// what is made of it does other than by itself.
func (all estate) dependOn(from string, of *IdentityStatus, down []string) bool {
	depends := func(hosts []string) bool {
		return slices.ContainsFunc(hosts, func(h string) bool { return slices.Contains(down, h) })
	}
	if input := all.find(from); input != nil {
		return depends(input.Issuers)
	}
	return depends(of.Issuers)
}

// inputLasts is for how long an input can be had: the least of all its keys, since it is not known which of them serves.
func (all estate) inputLasts(name string, down []string) float64 {
	id := all.find(name)
	if id == nil || len(id.Keys) == 0 {
		return 0
	}
	least, limited := 0.0, false
	for i := range id.Keys {
		if lasts, affected := all.lasts(id, &id.Keys[i], down); affected && (!limited || lasts < least) {
			least, limited = lasts, true
		}
	}
	if !limited {
		return 0 // by its defaults it depends on them, though none of its keys does: nothing is known
	}
	return least
}

// ownRunway is the least that a key of the identity lasts if none can be replaced; nil if none is wanted.
func (id *IdentityStatus) ownRunway() *float64 {
	var least *float64
	keys := id.asked()
	for i := range keys {
		if k := &keys[i]; k.counts() && (least == nil || k.Lasts < *least) {
			least = &k.Lasts
		}
	}
	return least
}

// How an identity's input is obtained, in [IdentityStatus].Input.
const (
	inputCached = "cached" // any that lives will do
	inputFresh  = "fresh"  // a new one each time, or one with some life left
)

// inputOf tells how a source obtains its input; "" if it has none. A source that cannot say is taken to need a new one.
func inputOf(s freshet.Source, defaults freshet.Request) (how string) {
	d, ok := s.(freshet.Deriver)
	if !ok {
		return ""
	}
	defer func() {
		if recover() != nil {
			how = inputFresh
		}
	}()
	if need := d.Needs(defaults); need.Fresh || need.Request.MinTTL > 0 {
		return inputFresh
	}
	return inputCached
}

// hostOf is whom a source asks by default.
func hostOf(cfg *freshet.IdentityConfig) string {
	return cmp.Or(targetOf(cfg.Source, cfg.Defaults).Host, cfg.Issuer, cfg.Name)
}

// round keeps a figure of seconds readable.
func round(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
