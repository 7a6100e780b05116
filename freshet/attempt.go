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
	e := Event{Identity: id.name, Kind: id.kind, Key: wholeKey(id, f.slot.key), Reason: f.reason, Target: p.target, Started: Now()}
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

func (t *turnedBack) Error() string { return t.no.err.Error() }

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
	for {
		if id.deriver != nil {
			if err := c.resolve(ctx, id, &req, e, p); err != nil {
				return nil, err
			}
		}
		if err := c.acquire(ctx, &id.limit, p); err != nil {
			return nil, err
		}
		if worker && !p.worker {
			if err := c.resume(ctx, p); err != nil {
				return nil, err
			}
		}
		if req.Input == nil {
			break
		}
		if !clock.Now().Reached(req.Input.until()) {
			break
		}
		c.handBack(&id.limit, p) // it waited in line for longer than its input had left
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
		if failure := AsError(err); failure.throttles() {
			c.governor.report(p, failure) // before the next in line has this one's slot
		}
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

// resolve obtains the input of a retrieval. While it waits for that it holds no worker, and is nobody's probe.
func (c *Cache) resolve(ctx context.Context, id *Identity, req *Request, e *Event, p *permit) error {
	need, err := call(func() (Need, error) { return id.deriver.Needs(*req), nil })
	if err != nil {
		return err
	}
	c.governor.unprobe(p) // others may find out while this one waits
	if p.worker {
		c.yield(p)
	}
	input, err := id.from.input(ctx, need)
	if err != nil {
		return err
	}
	req.Input, e.Input, e.InputFingerprint = input, id.from.name, input.reckon()
	return nil
}

// usable refuses an answer that could not be handed out, or was not asked for.
func usable(cred *Credential, req *Request) error {
	if cred == nil || cred.credential == nil {
		return Errorf(Bug, "source returned neither a credential nor an error")
	}
	if clock.Now().Reached(cred.until()) {
		return Errorf(Malformed, "answer had expired already")
	}
	if req.Audience != "" {
		if audience := cred.Audience(); audience != nil && !slices.Contains(audience, req.Audience) {
			return Errorf(Malformed, "answer is a token for another audience than was asked for")
		}
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
