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
	permit *permit
	within time.Duration // how long it may take; 0: as long as its identity says

	landed   bool // under slot.mu
	outdated bool // under slot.mu: what the source reads has changed since it began
	version  *version
	err      *Error

	// A held flight has not begun: with nothing to serve, its callers wait for the time when its issuer may be asked again. All
	// of it is under slot.mu.
	held     bool
	starts   int64    // monotonic
	cause    *refusal // why it cannot begin before
	waiters  int
	ancestry []string
	turned   bool // away: the issuer is not to be asked yet after all. Its callers decide anew
}

// ask is one caller's question, on its way past the hit path.
type ask struct {
	id   *Identity
	key  string
	hash uint64
	hold time.Duration // see [Request]
	wish
}

// patience is until when (monotonic) a caller can wait for a further attempt: its context's deadline, or else its hold from now
// on; 0 if it has neither.
func (a *ask) patience(ctx context.Context, now clock.Reading) int64 {
	if a.input {
		return 0 // whoever it is for is held, and not the flight that it is an input of
	}
	if ends, ok := ctx.Deadline(); ok {
		return now.Add(clock.Left(ends)).Mono
	}
	if a.hold > 0 {
		return now.Add(a.hold).Mono
	}
	return 0
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
	patience := a.patience(ctx, clock.Now())
	for {
		s := c.slot(a)
		if s == nil {
			return nil, Answer{}, a.id.errRemoved()
		}
		f, ans, err := s.join(ctx, a, patience)
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
			s.part(f)
			return s, Answer{}, leave(ctx, a.id)
		}
		if f.turned && clock.Now().Mono < patience {
			continue
		}
		ans, err = s.outcome(f, &a.wish)
		if e, ok := err.(*Error); ok && e.Kind == Unavailable && clock.Now().Mono+int64(e.RetryAfter) < patience && ctx.Err() == nil {
			continue // to be held, or told at once how long it takes
		}
		return s, ans, err
	}
}

// part counts a caller out that waited for a flight.
func (s *slot) part(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.waiters--; f.held && f.waiters == 0 && s.flight == f {
		s.id.cache.at(s, clock.Now().Mono) // which gives its place back
	}
}

// leave is the error of a caller whose own context has ended; the flight goes on without it.
func leave(ctx context.Context, id *Identity) error { return AsError(ctx.Err()).of(id) }

// join finds out under the lock what a caller is to do: take an answer after all, wait for a flight, or leave with an error.
func (s *slot) join(ctx context.Context, a *ask, patience int64) (*flight, Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil, Answer{}, errGone
	}
	s.used.Store(usedNow)
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
	// Who has something to fall back upon is not held; who is, waits with the others for one attempt.
	fallback := v != nil && reason != ReasonRejected
	if f := s.flight; f != nil {
		if f.held && fallback {
			return nil, v.answer(&a.wish, now), nil
		}
		if f.held && f.starts >= patience {
			return nil, Answer{}, f.cause.at(now)
		}
		f.waiters++
		return f, Answer{}, nil
	}
	no := s.launchLocked(v, reason, Ancestry(ctx), a.input, now)
	switch {
	case no == nil:
		s.flight.waiters++
	case fallback:
		return nil, v.answer(&a.wish, now), nil
	case no.err.Kind == Unavailable && no.until < patience:
		if crowded := s.holdFlightLocked(no, reason, Ancestry(ctx)); crowded != nil {
			return nil, Answer{}, crowded.at(now)
		}
		s.flight.waiters++
	default:
		return nil, Answer{}, no.at(now)
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

// launchLocked starts a flight for a caller, or says until when there is none: the last attempt is too short ago, its issuer is to
// be left alone, or too many are under way. s.mu is held; v is what is served, if that is valid.
func (s *slot) launchLocked(v *version, reason Reason, ancestry []string, input bool, now clock.Reading) *refusal {
	switch {
	case v == nil && now.Mono < s.again:
		return &refusal{s.err, s.again}
	case v != nil:
		if wait := s.holdLocked(v, reason, now); wait > 0 {
			return &refusal{&Error{Kind: Unavailable, Why: "this version was rejected, and it is too soon to ask its issuer again"}, now.Mono + int64(wait)}
		}
	}
	p, no := s.id.cache.governor.admit(s.id, s.id.target(s.key), input)
	if no != nil {
		return no
	}
	if v != nil {
		s.forced = now.Mono + int64(spacing(v.cred.life.lifetime))
	}
	s.id.cache.departLocked(s, &flight{slot: s, reason: reason, done: make(chan struct{}), permit: p, ancestry: ancestry})
	return nil
}

// departLocked begins a flight that was let go ahead.
func (c *Cache) departLocked(s *slot, f *flight) {
	s.flight = f
	s.busy.Store(true)
	go c.fly(f)
}

// holdFlightLocked makes a flight that begins once its issuer may be asked.
func (s *slot) holdFlightLocked(no *refusal, reason Reason, ancestry []string) *refusal {
	c := s.id.cache
	p, crowded := c.governor.reserve(s.id.target(s.key))
	if crowded != nil {
		return crowded
	}
	if !c.at(s, no.until) {
		go c.leave(s.id, p)
		return errClosed()
	}
	s.flight = &flight{slot: s, reason: reason, done: make(chan struct{}), permit: p, ancestry: ancestry, held: true, starts: no.until, cause: no}
	s.busy.Store(true)
	return nil
}

// takeOffLocked begins a held flight whose time has come. If everybody left there is none; if its issuer is still to be left
// alone, its callers find out how long, and are held anew or told.
func (c *Cache) takeOffLocked(s *slot, f *flight) {
	if f.waiters > 0 && c.governor.begin(s.id, f.permit) == nil {
		f.held = false
		go c.fly(f)
		return
	}
	s.turnAwayLocked(f)
	go c.leave(s.id, f.permit) // not under s.mu
}

// turnAwayLocked ends a held flight that does not begin.
func (s *slot) turnAwayLocked(f *flight) {
	f.turned = true
	f.err = f.cause.at(clock.Now()).of(s.id)
	s.flight = nil
	s.busy.Store(s.queued)
	close(f.done)
	s.id.cache.at(s, s.again)
}

// turnBack ends a flight that found its issuer blocked when it came to ask. Nothing was asked, so nothing failed.
func (c *Cache) turnBack(f *flight, no *refusal) {
	s := f.slot
	now := clock.Now()
	c.governor.report(f.permit, no.err)
	s.mu.Lock()
	if f.landed {
		s.late-- // its waiters were told that it took too long
		s.mu.Unlock()
		c.look(s, now)
		c.dispatch()
		return
	}
	f.landed, f.turned = true, true
	f.err = no.at(now).of(s.id)
	s.flight = nil
	s.busy.Store(s.queued)
	close(f.done)
	c.putOffLocked(s, no, now)
	if f.outdated {
		s.renewLocked(now)
	}
	s.mu.Unlock()
	c.dispatch()
}

// turnAway ends the slot's held flight, if it has one, as the cache closes.
func (s *slot) turnAway() {
	s.mu.Lock()
	f := s.flight
	held := f != nil && f.held
	if held {
		s.turnAwayLocked(f)
	}
	s.mu.Unlock()
	if held {
		s.id.cache.leave(s.id, f.permit)
	}
}

// grace is how much earlier than its waiters a source is told to stop, so that its own account of what took so long can still
// reach them.
func grace(timeout time.Duration) time.Duration { return min(500*time.Millisecond, timeout/20) }

// fly runs a flight, detached from whoever asked for it. Its waiters are released at the deadline even if the source ignores
// its context; a credential that such a source brings later is still kept.
func (c *Cache) fly(f *flight) {
	id, p := f.slot.id, f.permit
	defer c.leave(id, p)
	within := f.within
	if within == 0 {
		within = id.timeout
	}
	p.within = within
	ctx, cancel := context.WithTimeout(c.ctx, within-grace(within))
	defer cancel()
	hard := time.AfterFunc(within, func() {
		c.land(f, nil, timedOut(within, context.DeadlineExceeded), Event{})
	})
	defer hard.Stop()
	e := Event{Identity: id.name, Kind: id.kind, Key: Secret(f.slot.key), Reason: f.reason, Target: p.target, Started: Now()}
	// Deferred, because runtime.Goexit in a source (a test's FailNow, say) runs what is deferred and nothing else.
	cred, err := (*Credential)(nil), error(Errorf(Bug, "source ended its goroutine"))
	defer func() {
		if back, ok := errors.AsType[*turnedBack](err); ok && cred == nil {
			c.turnBack(f, back.no)
			return
		}
		c.land(f, cred, err, e)
	}()
	cred, err = c.obtain(WithAncestry(ctx, append(slices.Clip(f.ancestry), id.name)...), id, keyRequest(f.slot.key, id), &e, p)
}

// timedOut is the error of a retrieval that took too long.
func timedOut(after time.Duration, cause error) *Error {
	return &Error{Kind: Unavailable, Why: fmt.Sprintf("timed out after %v", after.Round(time.Millisecond)), Cause: cause}
}

// retryIn is when a 5xx is tried again within the flight that met it: most are a server among many that went away.
const retryIn = time.Second

// retrieve asks the source, and once more after a 5xx that does not say when to come again.
func (c *Cache) retrieve(ctx context.Context, id *Identity, req Request, e *Event, p *permit) (*Credential, error) {
	cred, err := c.attempt(ctx, id, req, e, p)
	if err == nil || !c.passing(ctx, id, AsError(err), p) {
		return cred, err
	}
	timer := time.NewTimer(retryIn)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, err
	}
	if c.governor.barred(id, p.target) != nil {
		return nil, err // others have found out more meanwhile
	}
	again, failure := c.attempt(ctx, id, req, e, p)
	if failure != nil && !p.asked.Load() {
		p.asked.Store(true) // the first time
		return nil, err
	}
	e.Retried = true
	return again, failure
}

// turnedBack is the error of a retrieval that was not made, since its issuer is to be left alone.
type turnedBack struct{ no *refusal }

func (t *turnedBack) Error() string   { return t.no.err.Error() }
func (t *turnedBack) Unwrap() []error { return []error{t.no.at(clock.Now())} }

// passing reports whether to ask again at once after an error of the issuer. A probe asks once.
func (c *Cache) passing(ctx context.Context, id *Identity, err *Error, p *permit) bool {
	if !p.asked.Load() || err.Kind != Unavailable || err.Status/100 != 5 || err.RetryAfter > 0 || len(p.probes) > 0 || tooLong(ctx, retryIn) {
		return false
	}
	return c.governor.barred(id, p.target) == nil
}

// attempt resolves the input, takes a slot of the identity's limit, and asks the source. Inputs come first: a flight that waits
// for one holds nothing that the input's own flight could need.
func (c *Cache) attempt(ctx context.Context, id *Identity, req Request, e *Event, p *permit) (*Credential, error) {
	worker := p.worker
	p.asked.Store(false)
	p.claims.Store(req.Claims != "")
	if id.deriver != nil {
		need, err := call(func() (Need, error) { return id.deriver.Needs(req), nil })
		if err != nil {
			return nil, err
		}
		c.governor.unprobe(p) // others may find out while this one waits
		if worker {
			c.yield(p)
		}
		input, err := id.from.input(ctx, need)
		if err != nil {
			return nil, err
		}
		req.Input, e.Input, e.InputFingerprint = input, id.from.name, input.fingerprint
	}
	if err := c.acquire(ctx, &id.limit, p); err != nil {
		return nil, err
	}
	if worker && !p.worker {
		if err := c.resume(ctx, p); err != nil {
			return nil, err
		}
	}
	// It may have waited, and others been told meanwhile to leave the issuer alone.
	if no := c.governor.ask(p); no != nil {
		return nil, &turnedBack{no}
	}
	asked := clock.Now()
	defer func() { c.release(&id.limit, p, time.Duration(clock.Now().Mono-asked.Mono)) }()
	cred, err := call(func() (*Credential, error) { return id.source.Retrieve(ctx, req) })
	e.Asked, e.Took = true, time.Duration(clock.Now().Mono-asked.Mono)
	if err != nil {
		if ctx.Err() != nil && c.ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return nil, timedOut(p.within, err)
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
	first := c.settle(f, cred, err, e.Identity == "", now)
	if first {
		// Waiters go last: who has an answer finds it accounted for, and told to the observer.
		defer close(f.done)
	}
	c.account(s)
	if cred != nil {
		c.answerPlain(s, cred, now)
	}
	c.look(s, now)
	c.dispatch()
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

// settle puts what a flight brought in force, and reports whether it is the first to do so. deadline tells that the source has
// not returned yet.
func (c *Cache) settle(f *flight, cred *Credential, err error, deadline bool, now clock.Reading) (first bool) {
	s := f.slot
	failure := AsError(err)
	c.governor.report(f.permit, failure)
	s.mu.Lock()
	defer s.mu.Unlock()
	first = !f.landed
	f.landed = true
	var v *version
	if cred != nil {
		v = s.publishLocked(cred, now)
	}
	switch {
	case first && deadline:
		s.late++
	case !first && !deadline:
		s.late--
	}
	if !first {
		return false
	}
	f.version = v
	s.flight = nil
	s.busy.Store(s.queued)
	if failure != nil {
		f.err = s.failLocked(now, failure.of(s.id))
		if f.err.Kind == Unavailable {
			// Who was not given a time is told when the next attempt can be.
			until := s.again
			if no := c.governor.barred(s.id, f.permit.target); no != nil {
				until = max(until, no.until)
			}
			f.err = (&refusal{f.err, until}).at(now)
		}
	}
	if f.outdated {
		s.renewLocked(now)
	}
	return true
}

// publishLocked makes cred the version served, unless a newer one is there already.
func (s *slot) publishLocked(cred *Credential, now clock.Reading) *version {
	old := s.cur.Load()
	if old != nil && old.cred.life.sent.Mono > cred.life.sent.Mono {
		s.next.Store(now.Mono + int64(spacing(cred.life.lifetime)))
		s.wanted = false
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
	s.failures, s.again, s.err, s.wanted = 0, 0, nil, false
	if !s.gone {
		s.cur.Store(v)
	}
	return v
}

// failLocked remembers a failure: the version still served is marked, and the next attempt comes after a backoff. It returns the
// error as it is remembered.
func (s *slot) failLocked(now clock.Reading, err *Error) *Error {
	s.failures++
	s.err = err
	var lifetime, left time.Duration
	if v := s.cur.Load(); v != nil && v.at(now) != expired {
		if v.at(now) != fresh || v.marks.Load()&(markRejected|markChanged) != 0 {
			v.marks.Or(markStale)
		}
		lifetime, left = v.cred.life.lifetime, now.Until(v.until)
	}
	silence := min(err.RetryAfter, longestSilence)
	switch err.Kind {
	case LoginNeeded:
		silence = max(silence, loginAgain)
	case Denied:
		silence = max(silence, deniedAgain)
	}
	s.next.Store(now.Mono + int64(max(backoff(lifetime, int(s.failures), left), silence)))
	if s.again = now.Mono + int64(max(again(int(s.failures)), silence)); err.Kind == Invalid {
		s.again = 0 // it is the request's failure, or the configuration's, and cost the issuer nothing
	}
	return err
}

// target is whom a retrieval of a key asks. A source that panics over it is asked as if it did not say.
func (id *Identity) target(key string) Target {
	req := keyRequest(key, id)
	if id.targeter != nil {
		if t, err := call(func() (Target, error) { return id.targeter.Target(req), nil }); err == nil && t.Host != "" {
			return t
		}
	}
	return Target{Host: id.issuer, Tenant: req.Tenant}
}
