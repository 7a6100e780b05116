package freshet

import (
	"context"
	"errors"
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
	hash uint32
	hold time.Duration // see [Request]
	wish
}

// patience is until when (monotonic) a caller can wait.
type patience struct {
	attempt int64 // for a further attempt: its context's deadline or its hold from now on, whichever is sooner; 0 if it has neither
	probe   int64 // for what a probe finds out that is under way
}

// suffices reports whether a caller can wait until a refusal ends.
func (p patience) suffices(no *refusal, until int64) bool {
	return until < p.attempt || no.proving && until < p.probe
}

func (a *ask) patience(ctx context.Context, now clock.Reading) (p patience) {
	if a.hold > 0 {
		p.attempt = now.Add(a.hold).Mono
	}
	if ends, ok := ctx.Deadline(); ok {
		if left := now.Add(clock.Left(ends)).Mono; a.hold <= 0 || left < p.attempt {
			p.attempt = left
		}
	}
	p.probe = p.attempt
	if a.input {
		p.attempt = 0 // whoever it is for is held, and not the flight that it is an input of
	}
	return p
}

var errGone = errors.New("evicted")

// wait answers what memory could not: it joins the key's flight, or starts it, and waits as long as the caller can.
func (c *Cache) wait(ctx context.Context, a *ask) (*slot, Answer, error) {
	if ctx.Err() != nil {
		s := c.index.find(a.id, a.hash, []byte(a.key))
		ans, err := s.atItsEnd(ctx, a)
		return s, ans, err
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
			if ans.Due || ans.Rejected {
				s.refresh(clock.Now()) // as a hit does: a handle's first call may find what nobody has asked for lately
			}
			return s, ans, nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			s.part(f)
			ans, err := s.atItsEnd(ctx, a)
			return s, ans, err
		}
		if now := clock.Now().Mono; f.turned && patience.suffices(f.cause, now) {
			continue
		}
		ans, err = s.outcome(f, &a.wish)
		if e, ok := err.(*Error); ok && e.Kind == Unavailable && clock.Now().Mono+int64(e.RetryAfter) < patience.attempt && ctx.Err() == nil {
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

// atItsEnd is what a caller gets whose own context has ended; the flight goes on without it. Less life than it asked for is more
// than none: it is told that it is short. s may be nil.
func (s *slot) atItsEnd(ctx context.Context, a *ask) (Answer, error) {
	if s != nil && !a.input {
		now := clock.Now()
		if v := s.cur.Load(); v != nil && v.at(now) != expired && !v.named(a.rejected) {
			return v.answer(&a.wish, now), nil
		}
	}
	return Answer{}, AsError(ctx.Err()).of(a.id)
}

// join finds out under the lock what a caller is to do: take an answer after all, wait for a flight, or leave with an error.
func (s *slot) join(ctx context.Context, a *ask, patience patience) (*flight, Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil, Answer{}, errGone
	}
	s.use()
	now := clock.Now()
	v := s.cur.Load()
	if v != nil && v.at(now) == expired {
		v = nil
	}
	reason := ReasonMiss
	if v != nil {
		if v.grants(&a.wish, s.id.refreshAt, now) {
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
		if f.held && !patience.suffices(f.cause, f.starts) {
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
	case (no.err.Kind == Unavailable || no.proving) && patience.suffices(no, no.until):
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
	case v.named(w.rejected):
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
	until := s.past().next.Load()
	if reason != ReasonInput {
		until = max(until, s.past().forced)
	}
	if reason == ReasonMinTTL {
		until = max(until, v.cred.sent.Mono+int64(spacing(v.cred.lifetime)))
	}
	return time.Duration(until - now.Mono)
}

// outcome is what a caller gets of the flight it waited for.
func (s *slot) outcome(f *flight, w *wish) (Answer, error) {
	now := clock.Now()
	if f.err == nil {
		switch v := f.version; {
		case v.named(w.rejected):
			e := &Error{Kind: Unavailable, Why: "its issuer gave the rejected credential again", RetryAfter: spacing(v.cred.lifetime)}
			return Answer{}, e.of(s.id)
		case v.at(now) != expired:
			a := v.answer(w, now)
			a.Retrieved = true
			return a, nil
		}
	}
	// A credential that is still valid is served while its replacement fails, but never to who rejected it.
	if v := s.cur.Load(); v != nil && v.at(now) != expired && !v.named(w.rejected) {
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
	case v == nil && now.Mono < s.past().again:
		return &refusal{err: s.past().err, until: s.past().again}
	case v != nil:
		if wait := s.holdLocked(v, reason, now); wait > 0 {
			return &refusal{err: &Error{Kind: Unavailable, Why: "this version was rejected, and it is too soon to ask its issuer again"}, until: now.Mono + int64(wait)}
		}
	}
	p, no := s.id.cache.governor.admit(s.id, s.id.target(s.key), input)
	if no != nil {
		return no
	}
	if v != nil {
		s.troubleLocked().forced = now.Mono + int64(spacing(v.cred.lifetime))
	}
	s.id.cache.departLocked(s, &flight{slot: s, reason: reason, done: make(chan struct{}), permit: p, ancestry: ancestry})
	return nil
}

// departLocked begins a flight that was let go ahead.
func (c *Cache) departLocked(s *slot, f *flight) {
	s.flight = f
	s.setBusy(true)
	go c.fly(f)
}
