package broker

import (
	"cmp"
	"context"
	"sync"
	"time"

	"freshet.dev/freshet"
)

// lately is how long after a caller went without it is taken to ask again, counted from when it was told to come. A loop of a
// person's or a program's that tries again has done so by then.
const lately = time.Minute

// outcome is what was last seen of an identity's source, and of its callers.
type outcome struct {
	mu      sync.Mutex
	success time.Time
	failure time.Time
	err     *freshet.Error // of the last failure
	target  freshet.Target // that it was of
	row     int            // failures since the last success

	// missed is when a caller was last told that nothing is to be had, as its issuer fails or is left alone. A key of which
	// nothing is held, and whose issuer is not to be asked, is not in the cache: nothing else knows of it.
	missed freshet.Instant
	within time.Duration // from then it is taken to be asked for
	kind   freshet.Kind
	at     freshet.Target
}

func (o *outcome) set(e freshet.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e.Err == nil {
		o.success, o.row = e.Started.Wall(), 0
		if e.Target == o.at {
			o.missed = freshet.Instant{}
		}
	} else {
		o.row++
		o.failure, o.err, o.target = e.Started.Wall(), e.Err, e.Target
	}
}

// miss remembers a caller that went without, unless it is for what it asked, or gone.
func (e *entry) miss(ctx context.Context, req *freshet.Request, err error) {
	failure := freshet.AsError(err)
	if ctx.Err() != nil || failure.Kind == freshet.Invalid || failure.Kind == freshet.Denied {
		return
	}
	at := e.target(req)
	e.last.mu.Lock()
	defer e.last.mu.Unlock()
	e.last.missed, e.last.within, e.last.kind, e.last.at = freshet.Now(), failure.RetryAfter+lately, failure.Kind, at
}

// forgive forgets who went without: what they were told does not hold any more.
func (o *outcome) forgive() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.missed = freshet.Instant{}
}

// missing reports whether callers go without. o.mu is held.
func (o *outcome) missing() bool { return !o.missed.IsZero() && o.missed.Elapsed() < o.within }

// trouble reports whether a failure is the issuer's own, or of the way there, as those are that it is left alone for.
func trouble(k freshet.Kind) bool {
	return k == freshet.Unavailable || k == freshet.Malformed || k == freshet.Bug
}

// target is whom a request asks, and as whom.
func (e *entry) target(req *freshet.Request) freshet.Target {
	r := *req
	r.Tenant, r.Audience = cmp.Or(r.Tenant, e.defaults.Tenant), cmp.Or(r.Audience, e.defaults.Audience)
	if len(r.Scopes) == 0 {
		r.Scopes = e.defaults.Scopes
	}
	t := freshet.Target{Host: e.issuer, Tenant: r.Tenant}
	if asked := targetOf(e.source, r); asked.Host != "" {
		t = asked
	}
	return t
}

// targetOf is whom a source says that it asks; the zero Target if it does not.
func targetOf(s freshet.Source, req freshet.Request) (t freshet.Target) {
	defer func() { _ = recover() }() // a source's fault is told by its retrieval
	if targeter, ok := s.(freshet.Targeter); ok {
		t = targeter.Target(req)
	}
	return t
}
