package freshet

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// flight is one retrieval of one key, and what its waiters share. Its fields are written before done is closed.
type flight struct {
	slot   *slot
	reason Reason
	done   chan struct{}

	landed   bool // under slot.mu
	outdated bool // under slot.mu: what the source reads has changed since it began
	version  *version
	err      *Error
}

// ask is one caller's question, on its way past the hit path.
type ask struct {
	id   *Identity
	key  string
	hash uint64
	wish
}

var errGone = errors.New("evicted")

// wait answers what memory could not: it joins the key's flight, or starts it, and waits as long as the caller can.
func (c *Cache) wait(ctx context.Context, a *ask) (*slot, Answer, error) {
	if ctx.Err() != nil {
		return nil, Answer{}, leave(ctx, a.id)
	}
	if err := a.id.reentered(ctx); err != nil {
		return nil, Answer{}, err
	}
	for {
		s := c.slot(a)
		if s == nil {
			return nil, Answer{}, a.id.errRemoved()
		}
		f, ans, err := s.join(ctx, a)
		switch {
		case err == errGone:
			continue
		case err != nil:
			c.drop(s)
			return nil, Answer{}, AsError(err).of(a.id)
		case f == nil:
			return s, ans, nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return s, Answer{}, leave(ctx, a.id)
		}
		ans, err = s.outcome(f, &a.wish)
		return s, ans, err
	}
}

// leave is the error of a caller whose own context has ended; the flight goes on without it.
func leave(ctx context.Context, id *Identity) error { return AsError(ctx.Err()).of(id) }

// join finds out under the lock what a caller is to do: take an answer after all, wait for a flight, or leave with an error.
func (s *slot) join(ctx context.Context, a *ask) (*flight, Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil, Answer{}, errGone
	}
	s.used.Store(true)
	now := clock.Now()
	v := s.cur.Load()
	if v != nil && v.at(now) == expired {
		v = nil
	}
	reason := ReasonMiss
	if v != nil {
		if v.grants(&a.wish, now) {
			return nil, v.answer(&a.wish, now), nil // published since the hit path looked
		}
		reason = s.forceLocked(v, &a.wish)
	}
	if s.flight != nil {
		return s.flight, Answer{}, nil
	}
	if v != nil {
		if wait := s.holdLocked(v, reason, now); wait > 0 {
			if reason == ReasonRejected {
				return nil, Answer{}, &Error{Kind: Unavailable, Why: "this version was rejected, and it is too soon to ask its issuer again",
					RetryAfter: wait}
			}
			return nil, v.answer(&a.wish, now), nil
		}
		s.forced = now.Mono + int64(spacing(v.cred.life.lifetime))
	}
	if err := s.launchLocked(reason, Ancestry(ctx), a.input); err != nil {
		if v != nil && reason != ReasonRejected {
			return nil, v.answer(&a.wish, now), nil
		}
		return nil, Answer{}, err
	}
	return s.flight, Answer{}, nil
}

// forceLocked says why a version that is valid will not do, and marks it if that is because it was refused.
func (s *slot) forceLocked(v *version, w *wish) Reason {
	switch {
	case w.rejected == v.cred.fingerprint:
		v.marks.Or(markRejected)
		return ReasonRejected
	case w.input:
		return ReasonInput
	}
	return ReasonMinTTL
}

// holdLocked is how long a valid version may not be replaced at a caller's wish: retrievals of one key are apart, whether
// they fail, are forced by rejections, or bring again and again less life than was asked for.
func (s *slot) holdLocked(v *version, reason Reason, now clock.Reading) time.Duration {
	until := s.next.Load()
	if reason != ReasonInput {
		until = max(until, s.forced)
	}
	if reason == ReasonMinTTL {
		until = max(until, v.cred.life.sent.Mono+int64(spacing(v.cred.life.lifetime)))
	}
	return time.Duration(until - now.Mono)
}

// outcome is what a caller gets of the flight it waited for.
func (s *slot) outcome(f *flight, w *wish) (Answer, error) {
	now := clock.Now()
	if f.err == nil {
		switch v := f.version; {
		case w.rejected == v.cred.fingerprint:
			e := &Error{Kind: Unavailable, Why: "its issuer gave the rejected credential again", RetryAfter: spacing(v.cred.life.lifetime)}
			return Answer{}, e.of(s.id)
		case v.at(now) != expired:
			a := v.answer(w, now)
			a.Retrieved = true
			return a, nil
		}
	}
	// A credential that is still valid is served while its replacement fails, but never to who rejected it.
	if v := s.cur.Load(); v != nil && v.at(now) != expired && (w.rejected == "" || w.rejected != v.cred.fingerprint) {
		return v.answer(w, now), nil
	}
	if f.err == nil {
		return Answer{}, Errorf(Malformed, "credential expired before it could be handed out").of(s.id)
	}
	return Answer{}, f.err
}

// launchLocked starts a flight; s.mu is held. It refuses when too many are under way.
func (s *slot) launchLocked(reason Reason, ancestry []string, input bool) error {
	c := s.id.cache
	if err := c.governor.admit(s.id.issuer, input); err != nil {
		return err
	}
	f := &flight{slot: s, reason: reason, done: make(chan struct{})}
	s.flight = f
	s.flying.Store(true)
	go c.fly(f, ancestry)
	return nil
}

// grace is how much earlier than its waiters a source is told to stop, so that its own account of what took so long can still
// reach them.
func grace(timeout time.Duration) time.Duration { return min(500*time.Millisecond, timeout/20) }

// fly runs a flight, detached from whoever asked for it. Its waiters are released at the deadline even if the source ignores
// its context; a credential that such a source brings later is still kept.
func (c *Cache) fly(f *flight, ancestry []string) {
	id := f.slot.id
	defer c.governor.leave(id.issuer)
	ctx, cancel := context.WithTimeout(c.ctx, id.timeout-grace(id.timeout))
	defer cancel()
	hard := time.AfterFunc(id.timeout, func() {
		c.land(f, nil, Errorf(Unavailable, "timed out after %v", id.timeout), Event{})
	})
	defer hard.Stop()
	e := Event{Identity: id.name, Kind: id.kind, Key: Secret(f.slot.key), Reason: f.reason, Target: Target{Host: id.issuer}, Started: Now()}
	// Deferred, because runtime.Goexit in a source (a test's FailNow, say) runs what is deferred and nothing else.
	cred, err := (*Credential)(nil), error(Errorf(Bug, "source ended its goroutine"))
	defer func() { c.land(f, cred, err, e) }()
	cred, err = c.obtain(WithAncestry(ctx, append(slices.Clip(ancestry), id.name)...), id, keyRequest(f.slot.key, id), &e)
}

// retrieve resolves the input, takes a slot of the identity's limit, and asks the source. Inputs come first: a flight that
// waits for one holds nothing that the input's own flight could need.
func (c *Cache) retrieve(ctx context.Context, id *Identity, req Request, e *Event) (*Credential, error) {
	if id.deriver != nil {
		need, err := call(func() (Need, error) { return id.deriver.Needs(req), nil })
		if err != nil {
			return nil, err
		}
		input, err := id.from.input(ctx, need)
		if err != nil {
			return nil, err
		}
		req.Input, e.Input, e.InputFingerprint = input, id.from.name, input.fingerprint
	}
	if err := id.limit.acquire(ctx); err != nil {
		return nil, err
	}
	defer id.limit.release()
	asked := clock.Now()
	cred, err := call(func() (*Credential, error) { return id.source.Retrieve(ctx, req) })
	e.Asked, e.Took = true, time.Duration(clock.Now().Mono-asked.Mono)
	if err != nil {
		if ctx.Err() != nil && c.ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return nil, &Error{Kind: Unavailable, Why: fmt.Sprintf("timed out after %v", id.timeout), Cause: err}
		}
		return nil, err
	}
	if err := usable(cred, &req); err != nil {
		return nil, err
	}
	return cred, nil
}

// usable refuses an answer that could not be handed out, or was not asked for.
func usable(cred *Credential, req *Request) error {
	if cred == nil || cred.credential == nil {
		return Errorf(Bug, "source returned neither a credential nor an error")
	}
	switch p := schedule(cred.life, 0); {
	case p.at(clock.Now()) == expired:
		return Errorf(Malformed, "answer had expired already")
	case req.Audience != "" && cred.audience != nil && !slices.Contains(cred.audience, req.Audience):
		return Errorf(Malformed, "answer is a token for another audience than was asked for")
	}
	return nil
}

// call runs a source's code, and turns a panic into an error: it is one retrieval's failure, not the process's. The value of
// the panic is not shown, since it may hold anything.
func call[T any](f func() (T, error)) (t T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = Errorf(Bug, "source panicked with a %T%s", r, panicSite())
		}
	}()
	return f()
}

// panicSite is " at FILE:LINE" of the innermost frame that panicked outside the runtime, while a panic is being recovered.
func panicSite() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if f.File != "" && !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf(" at %s:%d", f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line)
		}
		if !more {
			return ""
		}
	}
}

// land ends a flight: it publishes what came, releases the waiters, and tells the observer. Only the first call for a flight
// does; of a later one, from a source that outlived the deadline, the credential alone is kept.
func (c *Cache) land(f *flight, cred *Credential, err error, e Event) {
	s := f.slot
	now := clock.Now()
	s.mu.Lock()
	first := !f.landed
	f.landed = true
	var v *version
	if cred != nil {
		v = s.publishLocked(cred, now)
	}
	switch deadline := e.Identity == ""; {
	case first && deadline:
		s.late++
	case !first && !deadline:
		s.late--
	}
	if first {
		f.version = v
		s.flight = nil
		s.flying.Store(false)
		if err != nil {
			f.err = AsError(err).of(s.id)
			s.failLocked(now, f.err)
		}
		if f.outdated {
			s.renewLocked(now)
		}
	}
	s.mu.Unlock()
	if first {
		// Waiters go last: who has an answer finds it accounted for, and told to the observer.
		defer close(f.done)
	}
	c.account(s)
	if e.Identity == "" {
		return // the deadline's own landing; the retrieval reports when it ends
	}
	e.Removed = c.removed(s.id)
	if e.Late = !first; cred != nil {
		e.Fingerprint, e.Expires = cred.fingerprint, cred.Expires()
	}
	if err != nil {
		e.Err = AsError(err).of(s.id)
	}
	c.observe(e)
}

// publishLocked makes cred the version served, unless a newer one is there already.
func (s *slot) publishLocked(cred *Credential, now clock.Reading) *version {
	old := s.cur.Load()
	if old != nil && old.cred.life.sent.Mono > cred.life.sent.Mono {
		s.next.Store(now.Mono + int64(spacing(cred.life.lifetime)))
		return old
	}
	v := newVersion(cred, old, s.id.refreshAt, now)
	if old != nil && old.cred.fingerprint == cred.fingerprint {
		v.marks.Store(old.marks.Load() & markRejected)
	}
	s.next.Store(0)
	if v.marks.Load() != 0 || v.at(now) != fresh {
		// What came would be replaced at once, and the next would be no better.
		s.next.Store(now.Mono + int64(spacing(cred.life.lifetime)))
	}
	s.failures = 0
	if !s.gone {
		s.cur.Store(v)
	}
	return v
}

// failLocked remembers a failure: the version still served is marked, and the next background attempt comes after a backoff.
func (s *slot) failLocked(now clock.Reading, err *Error) {
	s.failures++
	var lifetime time.Duration
	if v := s.cur.Load(); v != nil {
		if v.at(now) != fresh || v.marks.Load()&(markRejected|markChanged) != 0 {
			v.marks.Or(markStale)
		}
		lifetime = v.cred.life.lifetime
	}
	s.next.Store(now.Mono + int64(max(backoff(lifetime, s.failures), min(err.RetryAfter, time.Hour))))
}
