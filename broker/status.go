package broker

import (
	"time"

	"freshet.dev/freshet"
)

// Status is what an operator sees: never a secret.
type Status struct {
	Identities []IdentityStatus `json:"identities"`
	Entries    int              `json:"entries"`
	Bytes      int64            `json:"bytes"`
	Flights    int              `json:"flights"`
	AuditLost  int64            `json:"audit_lost"`
}

// IdentityStatus is one identity's part.
type IdentityStatus struct {
	Name        string      `json:"name"`
	Source      string      `json:"source"`
	From        string      `json:"from,omitempty"`
	Keys        []KeyStatus `json:"keys"`
	LastSuccess *time.Time  `json:"last_success,omitempty"`
	LastFailure *time.Time  `json:"last_failure,omitempty"`
	LastError   string      `json:"last_error,omitempty"` // of the last failure, if it came after the last success
	LastHint    string      `json:"last_hint,omitempty"`  // what to do about it
}

// KeyStatus is one key of an identity.
type KeyStatus struct {
	Key         string     `json:"key"` // first 16 hex digits of its SHA-256
	Fingerprint string     `json:"fingerprint,omitempty"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	Remaining   float64    `json:"remaining_seconds,omitempty"`
	RefreshAt   *time.Time `json:"refresh_at,omitempty"`
	RefreshIn   float64    `json:"refresh_in_seconds,omitempty"`
	Stale       bool       `json:"stale"`
	Rejected    bool       `json:"rejected"`
	Refreshing  bool       `json:"refreshing"`
	Failures    int        `json:"failures"`
}

// Status reads the state of the identities that the caller may use; of all, for the broker's own user and root. It takes
// O(keys).
func (b *Broker) Status(c Caller) Status {
	stats := b.cache.Stats()
	s := Status{Entries: stats.Entries, Bytes: stats.Bytes, Flights: stats.Flights, AuditLost: b.audit.Lost(), Identities: []IdentityStatus{}}
	w := b.world.Load()
	names := w.names
	if !b.Oversees(c) {
		names = b.names(w, c)
	}
	for _, name := range names {
		s.Identities = append(s.Identities, w.entries[name].status())
	}
	return s
}

func (e *entry) status() IdentityStatus {
	s := IdentityStatus{Name: e.Name(), Source: e.kind, From: e.from, Keys: []KeyStatus{}}
	for _, k := range e.Entries() {
		ks := KeyStatus{Key: k.KeyHash, Stale: k.Stale, Rejected: k.Rejected, Refreshing: k.Refreshing, Failures: k.Failures}
		if c := k.Credential; c != nil {
			ks.Fingerprint = c.Fingerprint()
			if !c.Static() {
				at := c.Expires()
				ks.ExpiresAt, ks.Remaining = &at, c.Remaining().Seconds()
			}
			if at := k.RefreshAt; !at.IsZero() {
				ks.RefreshAt, ks.RefreshIn = &at, max(0, at.Sub(freshet.Now().Wall()).Seconds())
			}
		}
		s.Keys = append(s.Keys, ks)
	}
	e.last.mu.Lock()
	defer e.last.mu.Unlock()
	if !e.last.success.IsZero() {
		at := e.last.success
		s.LastSuccess = &at
	}
	if !e.last.failure.IsZero() {
		at := e.last.failure
		s.LastFailure = &at
		if e.last.row > 0 {
			s.LastError, s.LastHint = e.last.err.Error(), e.last.err.Hint
		}
	}
	return s
}

// HandOuts is how many times each identity's credential has been handed out: identity name → count. It takes O(identities +
// doors).
func (b *Broker) HandOuts() map[string]int64 {
	b.mu.Lock() // a door that closes counts either for itself or for its identities: a counter must not go back
	defer b.mu.Unlock()
	w := b.world.Load()
	n := make(map[string]int64, len(w.entries))
	for name, e := range w.entries {
		n[name] = e.handedOut.Load()
	}
	for d := range b.doors {
		for name, s := range *d.seats.Load() {
			if w.entries[name] != nil {
				n[name] += s.n.Load()
			}
		}
	}
	return n
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
