package broker

import (
	"context"
	"slices"
	"sync/atomic"

	"freshet.dev/freshet"
)

// Door is one caller's standing way to identities that were granted to it: an endpoint's listener, a session. Policy is
// checked when it is opened; what it asks for by default is then answered from a handle, without lock or allocation.
type Door struct {
	broker *Broker
	caller Caller
	seats  map[string]*seat // identity name → seat; never changed
}

// seat is a door's place at one identity.
type seat struct {
	entry  *entry
	handle *freshet.Handle
	tally  atomic.Pointer[tally] // of the version last handed out by default
	n      atomic.Int64          // hand-outs, since the door was opened
}

// OpenDoor grants identities to a caller. Errors are those of [Broker.Credential]'s policy.
func (b *Broker) OpenDoor(c Caller, names []string) (*Door, error) {
	c.Grants = slices.Clone(names)
	d := &Door{broker: b, caller: c, seats: make(map[string]*seat, len(names))}
	for _, name := range names {
		e, err := b.release(c, name)
		if err != nil {
			return nil, err
		}
		h, err := e.Handle(freshet.Request{})
		if err != nil {
			return nil, err
		}
		d.seats[name] = &seat{entry: e, handle: h}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doors[d] = struct{}{}
	return d, nil
}

// Close ends the door's part in the figures. Nothing may be asked of it afterwards.
func (d *Door) Close() {
	b := d.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, open := b.doors[d]; !open {
		return
	}
	delete(b.doors, d)
	for _, s := range d.seats {
		s.entry.handedOut.Add(s.n.Load())
		if t := s.tally.Load(); t != nil {
			t.retired.Store(true)
		}
	}
}

// Names lists the door's identities, sorted.
func (d *Door) Names() []string {
	names := make([]string, 0, len(d.seats))
	for name := range d.seats {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Get hands out a credential of a granted identity.
func (d *Door) Get(ctx context.Context, name string, req freshet.Request) (freshet.Answer, error) {
	s := d.seats[name]
	if s == nil {
		return freshet.Answer{}, freshet.Errorf(freshet.Invalid, "unknown identity").WithHint("this door serves another")
	}
	if !plain(&req) {
		return d.broker.Credential(ctx, d.caller, name, req)
	}
	audit := d.broker.audit
	if err := audit.fit(); err != nil {
		return freshet.Answer{}, err
	}
	a, err := s.handle.Get(ctx)
	if err != nil {
		return freshet.Answer{}, err
	}
	if err := s.count(audit, d.caller, name, a.Credential.Fingerprint()); err != nil {
		return freshet.Answer{}, err
	}
	s.n.Add(1)
	return a, nil
}

// plain reports whether a request asks for nothing but the identity's defaults.
func plain(r *freshet.Request) bool {
	return r.Tenant == "" && len(r.Scopes) == 0 && r.Audience == "" && r.Claims == "" && !r.CAE && r.Subject == "" &&
		r.MinTTL == 0 && r.Rejected == ""
}

// count records a hand-out: its version's first with a line, the others in a tally of the door's own.
func (s *seat) count(a *Audit, c Caller, name, fingerprint string) error {
	if a == nil {
		return nil
	}
	if t := s.tally.Load(); t != nil && t.fingerprint == fingerprint && t.add() {
		return a.fit()
	}
	t, err := a.tally(handOutKey(c, name, fingerprint), c.PID)
	s.tally.Store(t)
	return err
}
