package broker

import (
	"context"
	"sync"

	"freshet.dev/freshet"
)

// Credential hands a credential to a caller: policy first, then the cache. Errors are [*freshet.Error]s.
func (b *Broker) Credential(ctx context.Context, c Caller, name string, req freshet.Request) (freshet.Answer, error) {
	return b.hand(ctx, c, nil, name, req)
}

// hand is Credential for a caller whose hand-outs of that identity are counted in row; nil has it looked up.
func (b *Broker) hand(ctx context.Context, c Caller, row *callerCount, name string, req freshet.Request) (freshet.Answer, error) {
	for {
		w := b.world.Load()
		a, err := b.credential(ctx, w, c, row, name, req)
		if err != nil && ctx.Err() == nil && w.replaced(b.world.Load(), name) {
			continue // what failed is not configured any more
		}
		if e := w.entries[name]; e != nil && err != nil {
			e.counts.failed(ctx, err)
		}
		return a, err
	}
}

func (b *Broker) credential(ctx context.Context, w *world, c Caller, row *callerCount, name string, req freshet.Request) (freshet.Answer, error) {
	e, err := b.release(w, c, name)
	if err != nil {
		return freshet.Answer{}, err
	}
	if field, err := e.policy.allows(name, &e.defaults, &req); err != nil {
		b.audit.deny(c, name, field)
		return freshet.Answer{}, err
	}
	if err := b.audit.fit(); err != nil {
		return freshet.Answer{}, err
	}
	if len(c.Ancestry) > 0 {
		ctx = freshet.WithAncestry(ctx, c.Ancestry...)
	}
	if req.Rejected != "" {
		if !isFingerprint(req.Rejected) {
			return freshet.Answer{}, noFingerprint(name)
		}
		if err := b.mayReject(c, name, req.Rejected); err != nil {
			return freshet.Answer{}, err
		}
		b.refused.add(c, req.Rejected)
		b.audit.rejection(c, name, req.Rejected, e.Serves(req.Rejected))
	}
	a, err := e.Get(ctx, req)
	if err == nil && a.Rejected && req.Rejected == "" && b.refused.has(c, a.Credential.Fingerprint()) {
		// This caller rejected that very version before: it is not given it again, though others are.
		req.Rejected = a.Credential.Fingerprint()
		a, err = e.Get(ctx, req)
	}
	if err != nil {
		e.miss(ctx, &req, err)
		return freshet.Answer{}, err
	}
	if err := b.audit.handOut(c, name, a.Credential.Fingerprint()); err != nil {
		return freshet.Answer{}, err
	}
	if a.Retrieved {
		e.counts.retrieved(&req, &a)
	} else {
		e.counts.hit(a.Stale)
	}
	if row == nil {
		row = b.callers.row(c.name(), name)
	}
	row.n.Add(1)
	return a, nil
}

// release finds an identity whose credential the caller's door may have.
func (b *Broker) release(w *world, c Caller, name string) (*entry, error) {
	e, err := b.lookup(w, c, name)
	if err != nil {
		return nil, err
	}
	if !e.policy.admits(c) {
		b.audit.deny(c, name, "release")
		return nil, &freshet.Error{
			Kind: freshet.Denied, Why: "identity " + name + ": its credential is never handed out (release: false)",
			Hint: "it serves as another identity's from:, and signs requests of configured proxies", Cause: ErrWithheld,
		}
	}
	return e, nil
}

// Reject says that a service refused a version: see [freshet.Identity.Reject]. A version that is not served now, because a
// newer one has replaced it, is no error: what the caller wanted has happened.
func (b *Broker) Reject(c Caller, name, fingerprint string) error {
	w := b.world.Load()
	e := w.entries[name]
	if e == nil || !b.Oversees(c) {
		var err error
		if e, err = b.lookup(w, c, name); err != nil {
			return err
		}
	}
	if !isFingerprint(fingerprint) {
		return noFingerprint(name)
	}
	if err := b.mayReject(c, name, fingerprint); err != nil {
		return err
	}
	b.refused.add(c, fingerprint)
	served := e.Reject(fingerprint)
	b.audit.rejection(c, name, fingerprint, served)
	return nil
}

func noFingerprint(name string) error {
	return freshet.Errorf(freshet.Invalid, "identity %s: a fingerprint is 32 hex digits", name).
		WithHint("freshet token %s --format json shows it", name)
}

func isFingerprint(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// refusals remembers which caller rejected which version, so that who rejected it is not given it again. It is bounded: the
// oldest are forgotten, which costs their callers one more rejection.
type refusals struct {
	mu   sync.Mutex
	set  map[refusal]struct{}
	ring []refusal // in order of arrival, for forgetting
	next int
}

// refusal names one process, not its user: one program that rejects in error must not leave its user's others without a
// credential while the issuer is down.
type refusal struct {
	caller      string
	pid         int
	fingerprint string
}

const maxRefusals = 1024

func (r *refusals) add(c Caller, fingerprint string) {
	if len(c.Grants) > 0 {
		return // a door stands for many: that a service refused one of them must not leave the others without
	}
	k := refusal{c.name(), c.PID, fingerprint}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.set[k]; ok {
		return
	}
	if r.set == nil {
		r.set = make(map[refusal]struct{})
	}
	if len(r.ring) < maxRefusals {
		r.ring = append(r.ring, k)
	} else {
		delete(r.set, r.ring[r.next])
		r.ring[r.next] = k
		r.next = (r.next + 1) % maxRefusals
	}
	r.set[k] = struct{}{}
}

func (r *refusals) has(c Caller, fingerprint string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.set[refusal{c.name(), c.PID, fingerprint}]
	return ok
}
