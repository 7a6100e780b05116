package broker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"freshet.dev/freshet"
)

// Status is what an operator sees: never a secret. Spans are in seconds.
type Status struct {
	Identities []IdentityStatus `json:"identities"` // in the order of their names
	Issuers    []IssuerStatus   `json:"issuers"`    // that they depend on, the shortest runway first
	Entries    int              `json:"entries"`
	Bytes      int64            `json:"bytes"`
	Flights    int              `json:"flights"`
	AuditLost  int64            `json:"audit_lost"`
	Partial    bool             `json:"partial,omitempty"` // it tells only of identities that the caller may use
}

// IdentityStatus is one identity's part.
type IdentityStatus struct {
	Name    string      `json:"name"`
	Source  string      `json:"source"`
	From    string      `json:"from,omitempty"`
	Input   string      `json:"input,omitempty"` // of From: "cached" if any that lives will do, else "fresh"
	Host    string      `json:"host"`            // whom it asks by default
	Issuers []string    `json:"issuers"`         // whom its retrievals ask, those of what it is made from too, sorted
	Runway  *float64    `json:"runway_seconds"`  // until the first of its callers fails, if nothing can be replaced; null: nobody would
	Keys    []KeyStatus `json:"keys"`
	// UsedBy are the doors that are open to it, and the identities made from it. It is for who oversees the broker.
	UsedBy      []string   `json:"used_by,omitempty"`
	LastSuccess *time.Time `json:"last_success,omitempty"`
	LastFailure *time.Time `json:"last_failure,omitempty"`
	LastError   string     `json:"last_error,omitempty"` // of the last failure, if it came after the last success
	LastHint    string     `json:"last_hint,omitempty"`  // what to do about it
	// Failing: callers ask for it and were lately told that nothing is to be had, as its issuer fails or is left alone.
	Failing bool `json:"failing,omitempty"`

	usual  TargetStatus // whom it asks by default
	failed TargetStatus // whom its last retrieval asked, if that failed for what an issuer is left alone for
	missed TargetStatus // whom those who went without would have asked, if it is its fault
}

// KeyStatus is one key of an identity.
type KeyStatus struct {
	Key         string       `json:"key"` // first 16 hex digits of its SHA-256
	Target      TargetStatus `json:"target"`
	Fingerprint string       `json:"fingerprint,omitempty"` // "": nothing is served
	ExpiresAt   *time.Time   `json:"expires_at,omitempty"`
	Remaining   float64      `json:"remaining_seconds,omitempty"`
	Lasts       float64      `json:"lasts_seconds"` // how long it is still served if it cannot be replaced
	RefreshAt   *time.Time   `json:"refresh_at,omitempty"`
	RefreshIn   float64      `json:"refresh_in_seconds,omitempty"`
	Wanted      bool         `json:"wanted"` // asked for since it was last replaced, or pinned; what is not lapses
	Pinned      bool         `json:"pinned"`
	Stale       bool         `json:"stale"`
	Rejected    bool         `json:"rejected"`
	Refreshing  bool         `json:"refreshing"`
	Failures    int          `json:"failures"`
	RetryIn     float64      `json:"retry_in_seconds,omitempty"` // how long it is not retrieved, after a failure
	LastKind    freshet.Kind `json:"last_error_kind,omitempty"`  // of its last attempt, if that failed
	LastError   string       `json:"last_error,omitempty"`
	LastHint    string       `json:"last_hint,omitempty"`
}

// TargetStatus is whom a retrieval asks, and as whom. Tenant and client are for who oversees the broker.
type TargetStatus struct {
	Host   string `json:"host"`
	Tenant string `json:"tenant,omitempty"`
	Client string `json:"client,omitempty"`
}

// Status reads the state of the identities that the caller may use; of all, for the broker's own user and root. It takes
// O(keys).
func (b *Broker) Status(c Caller) Status {
	stats := b.cache.Stats()
	s := Status{Entries: stats.Entries, Bytes: stats.Bytes, Flights: stats.Flights, AuditLost: b.audit.Lost()}
	w := b.world.Load()
	all := b.estate(w)
	mine := slices.Clone(all)
	if s.Partial = !b.Oversees(c); s.Partial {
		mine = slices.DeleteFunc(mine, func(id IdentityStatus) bool { return !b.may(c, w.entries[id.Name]) })
	} else {
		b.usage(w, mine)
	}
	s.Issuers = issuers(all, mine, b.cache.Issuers(), !s.Partial)
	for i := range mine {
		mine[i].finish(!s.Partial)
	}
	s.Identities = append([]IdentityStatus{}, mine...)
	return s
}

// estate reads the state of every identity.
func (b *Broker) estate(w *world) estate {
	all := make(estate, 0, len(w.names))
	for _, name := range w.names {
		all = append(all, w.entries[name].status())
	}
	all.link()
	return all
}

// link works out what follows from the identities together: their issuers, and from those their runways.
func (all estate) link() {
	done := make(map[string]bool, len(all))
	var depend func(id *IdentityStatus)
	depend = func(id *IdentityStatus) {
		if done[id.Name] {
			return
		}
		done[id.Name] = true
		id.Issuers = []string{id.Host}
		for i := range id.Keys {
			id.Issuers = append(id.Issuers, id.asks(&id.Keys[i]))
		}
		if input := all.find(id.From); input != nil {
			depend(input)
			id.Issuers = append(id.Issuers, input.Issuers...)
		}
		slices.Sort(id.Issuers)
		id.Issuers = slices.Compact(id.Issuers)
	}
	for i := range all {
		depend(&all[i])
		all[i].Runway = all[i].ownRunway()
	}
}

func (e *entry) status() IdentityStatus {
	s := IdentityStatus{Name: e.Name(), Source: e.kind, From: e.from, Input: e.how, Host: e.host, Keys: []KeyStatus{}}
	for _, k := range e.Entries() {
		s.Keys = append(s.Keys, keyStatus(&k))
	}
	s.usual = TargetStatus(e.target(&freshet.Request{}))
	e.last.mu.Lock()
	defer e.last.mu.Unlock()
	if s.Failing = e.last.missing(); s.Failing && trouble(e.last.kind) {
		s.missed = TargetStatus(e.last.at)
	}
	if !e.last.success.IsZero() {
		at := e.last.success
		s.LastSuccess = &at
	}
	if !e.last.failure.IsZero() {
		at := e.last.failure
		s.LastFailure = &at
		if e.last.row > 0 {
			s.LastError, s.LastHint = e.last.err.Error(), e.last.err.Hint
			if trouble(e.last.err.Kind) {
				s.failed = TargetStatus(e.last.target)
			}
		}
	}
	return s
}

func keyStatus(k *freshet.Entry) KeyStatus {
	s := KeyStatus{
		Key: k.KeyHash, Target: TargetStatus(k.Target), Lasts: round(k.Lasts), Wanted: k.Wanted, Pinned: k.Pinned,
		Stale: k.Stale, Rejected: k.Rejected, Refreshing: k.Refreshing, Failures: k.Failures, RetryIn: round(k.RetryIn),
	}
	if c := k.Credential; c != nil {
		s.Fingerprint = c.Fingerprint()
		if !c.Static() {
			at := c.Expires()
			s.ExpiresAt, s.Remaining = &at, c.Remaining().Seconds()
		}
		if at := k.RefreshAt; !at.IsZero() {
			s.RefreshAt, s.RefreshIn = &at, max(0, at.Sub(freshet.Now().Wall()).Seconds())
		}
	}
	if e := k.Err; e != nil {
		s.LastKind, s.LastError, s.LastHint = e.Kind, e.Error(), e.Hint
	}
	return s
}

// finish puts the keys in an order that stays, and leaves out what only who oversees the broker is told.
func (s *IdentityStatus) finish(oversees bool) {
	slices.SortFunc(s.Keys, func(a, b KeyStatus) int { return cmp.Compare(a.Key, b.Key) })
	for i := range s.Keys {
		if t := &s.Keys[i].Target; !oversees {
			t.Tenant, t.Client = "", ""
		}
	}
}

// maxUsers bounds how many doors an identity's status names.
const maxUsers = 20

// usage fills in who uses which identity, as far as that is known: who asks over the socket comes and goes.
func (b *Broker) usage(w *world, all estate) {
	by := make(map[string][]string)
	for _, name := range w.names {
		if from := w.entries[name].from; from != "" {
			by[from] = append(by[from], "identity "+name)
		}
	}
	b.mu.Lock()
	for d := range b.doors {
		for name := range *d.seats.Load() {
			by[name] = append(by[name], d.caller.name())
		}
	}
	b.mu.Unlock()
	for i := range all {
		users := by[all[i].Name]
		slices.Sort(users)
		users = slices.Compact(users)
		if more := len(users) - maxUsers; more > 0 {
			users = append(users[:maxUsers], fmt.Sprintf("%d more", more))
		}
		all[i].UsedBy = users
	}
}

// AuditLost is how many lines the audit log lost.
func (b *Broker) AuditLost() int64 { return b.audit.Lost() }

// Stats are the cache's figures.
func (b *Broker) Stats() freshet.Stats { return b.cache.Stats() }

// Each calls f with every identity's entries and the number of its retrievals that failed since one succeeded, in the order of
// names.
func (b *Broker) Each(f func(name string, entries []freshet.Entry, failures int)) {
	w := b.world.Load()
	for _, name := range w.names {
		e := w.entries[name]
		e.last.mu.Lock()
		failures := e.last.row
		e.last.mu.Unlock()
		f(name, e.Entries(), failures)
	}
}
