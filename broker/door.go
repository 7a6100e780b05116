package broker

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
)

// Door is one caller's standing way to identities that were granted to it: an endpoint's listener, a session. Policy is
// checked when it is opened, and again when the configuration changes; what it asks for by default is answered from a handle,
// without lock or allocation. What a door is given whose caller signs is recorded as such, and never leaves the process itself.
type Door struct {
	broker *Broker
	caller Caller
	opener Caller // who may use its identities; the zero Caller, if the configuration says so itself
	names  []string
	seats  atomic.Pointer[seats]
	requests
}

// seats are a door's places at its identities: identity name → seat. They are never changed, but replaced.
type seats map[string]*seat

// seat is a door's place at one identity.
type seat struct {
	entry  *entry
	handle *freshet.Handle
	tally  atomic.Pointer[tally] // of the version last handed out by default
	handed                       // hand-outs from memory that are not in the counts of its identity and caller yet
	row    *callerCount          // its caller's
	left   atomic.Bool           // it adds to those counts itself
}

// OpenDoor grants identities to whoever passes a door, such as the callers of a configured endpoint. Errors are those of
// [Broker.Credential]'s policy.
func (b *Broker) OpenDoor(c Caller, names []string) (*Door, error) {
	return b.openDoor(c, Caller{}, names)
}

// OpenDoorFor is OpenDoor for identities that opener may use, and hands on: once it may not, the door does not have them.
func (b *Broker) OpenDoorFor(opener, c Caller, names []string) (*Door, error) {
	w := b.world.Load()
	for _, name := range names {
		if _, err := b.lookup(w, opener, name); err != nil {
			return nil, err
		}
	}
	return b.openDoor(c, opener, names)
}

func (b *Broker) openDoor(c, opener Caller, names []string) (*Door, error) {
	c.Grants = slices.Clone(names)
	d := &Door{broker: b, caller: c, opener: opener, names: slices.Sorted(slices.Values(names))}
	d.seats.Store(new(seats))
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.world.Load() // under the lock, so that no change of it passes this door by
	for _, name := range names {
		if _, err := b.release(w, c, name); err != nil {
			return nil, err
		}
	}
	d.bind(w)
	b.doors[d] = struct{}{}
	return d, nil
}

// bind takes the door's seats in a world. Those at identities that it does not change are kept; an identity that is not there
// any more, or not for this door, has none. b.mu is held.
func (d *Door) bind(w *world) {
	old := *d.seats.Load()
	next := make(seats, len(d.names))
	for _, name := range d.names {
		e := w.entries[name]
		if e == nil || !e.policy.admits(d.caller) || d.opener.Door != "" && !d.broker.may(d.opener, e) {
			continue
		}
		s := old[name]
		if s == nil || s.entry.Identity != e.Identity {
			h, err := e.Handle(freshet.Request{})
			if err != nil {
				continue
			}
			s = &seat{entry: e, handle: h, row: d.broker.callers.row(counted(d.caller, d.opener), name)}
		}
		next[name] = s
	}
	d.seats.Store(&next)
	for name, s := range old {
		if next[name] != s {
			s.leave()
		}
	}
}

// leave ends the seat's part in the figures.
func (s *seat) leave() {
	s.left.Store(true)
	s.settle()
	if t := s.tally.Load(); t != nil {
		t.retired.Store(true)
	}
}

// settle puts the hand-outs into the counts of its identity and caller.
func (s *seat) settle() {
	n := s.memory.Swap(0)
	s.entry.counts.memory.Add(n)
	s.row.n.Add(n)
	s.entry.counts.stale.Add(s.stale.Swap(0))
}

// Close ends the door. Nothing may be asked of it afterwards.
func (d *Door) Close() {
	b := d.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, open := b.doors[d]; !open {
		return
	}
	delete(b.doors, d)
	for _, s := range *d.seats.Swap(new(seats)) {
		s.leave()
	}
	d.requests.retire()
}

// Names lists the door's identities, sorted.
func (d *Door) Names() []string { return slices.Clone(d.names) }

// Get hands out a credential of a granted identity.
func (d *Door) Get(ctx context.Context, name string, req freshet.Request) (freshet.Answer, error) {
	for {
		s, err := d.seat(name)
		if err != nil {
			return freshet.Answer{}, err
		}
		if !plain(&req) {
			return d.broker.hand(ctx, d.caller, s.row, name, req)
		}
		a, err := d.take(ctx, s, name, req.Hold)
		if now := (*d.seats.Load())[name]; err != nil && ctx.Err() == nil && now != nil && now.entry.Identity != s.entry.Identity {
			continue // what failed is not configured any more
		}
		if err != nil {
			s.entry.counts.failed(ctx, err)
		}
		return a, err
	}
}

// seat is the door's place at an identity.
func (d *Door) seat(name string) (*seat, error) {
	if s := (*d.seats.Load())[name]; s != nil {
		return s, nil
	}
	if slices.Contains(d.names, name) {
		return nil, freshet.Errorf(freshet.Denied, "identity %s: the configuration no longer lets this door have it", name)
	}
	return nil, freshet.Errorf(freshet.Invalid, "unknown identity").WithHint("this door serves another")
}

// Reject says that a service refused a version of a granted identity: see [Broker.Reject].
func (d *Door) Reject(name, fingerprint string) error {
	if _, err := d.seat(name); err != nil {
		return err
	}
	return d.broker.Reject(d.caller, name, fingerprint)
}

// take hands out what the identity of a seat serves by default.
func (d *Door) take(ctx context.Context, s *seat, name string, hold time.Duration) (freshet.Answer, error) {
	audit := d.broker.audit
	if err := audit.fit(); err != nil {
		return freshet.Answer{}, err
	}
	a, err := s.handle.GetHeld(ctx, hold)
	if err != nil {
		s.entry.miss(ctx, &freshet.Request{}, err)
		return freshet.Answer{}, err
	}
	if err := s.count(audit, d.caller, name, a.Credential.Fingerprint()); err != nil {
		return freshet.Answer{}, err
	}
	if a.Retrieved {
		s.entry.counts.retrieved(&freshet.Request{}, &a)
		s.row.n.Add(1)
		return a, nil
	}
	if s.hit(a.Stale); s.left.Load() {
		s.settle()
	}
	return a, nil
}

// plain reports whether a request asks for nothing but the identity's defaults. How long its caller bears to wait is no part of
// what it asks.
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
	if t != nil {
		t.retired.Store(false) // it may have been another door's, of the same endpoint
	}
	s.tally.Store(t)
	return err
}
