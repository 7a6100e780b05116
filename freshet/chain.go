package freshet

import (
	"context"
	"slices"
	"strings"
	"time"

	"freshet.dev/freshet/internal/clock"
)

type ancestryKey struct{}

// WithAncestry returns a context that carries the identities whose retrieval led here, outermost first. A source that starts
// a program hands them on, so that a program which asks freshet for the same identity fails at once instead of waiting for
// itself.
func WithAncestry(ctx context.Context, names ...string) context.Context {
	return context.WithValue(ctx, ancestryKey{}, slices.Clip(names))
}

// Ancestry returns what [WithAncestry] put into the context: read it, do not change it.
func Ancestry(ctx context.Context) []string {
	names, _ := ctx.Value(ancestryKey{}).([]string)
	return names
}

// reentered refuses a call that comes from within a retrieval of this identity, or of one it is made from: it would wait for
// itself.
func (id *Identity) reentered(ctx context.Context) error {
	ancestry := Ancestry(ctx)
	for i, name := range ancestry {
		at := slices.Index(id.ancestry, name)
		if at < 0 {
			continue
		}
		cycle := append(slices.Clone(ancestry[i:]), id.ancestry[:at+1]...)
		e := Errorf(Invalid, "its retrieval leads back to itself: %s", strings.Join(cycle, " → "))
		e.WithHint("the program that %s runs asks freshet for the same credential; give it another way to obtain one", name)
		return e.of(id)
	}
	return nil
}

// input answers an identity that is made from this one. A cached credential that is due is replaced first, and the old one
// used only if that fails; a fresh one is retrieved for this exchange alone and kept by nobody.
func (id *Identity) input(ctx context.Context, need Need) (*Credential, error) {
	req := need.Request
	if err := id.normalise(&req); err != nil {
		return nil, err
	}
	if need.Fresh {
		return id.single(ctx, req)
	}
	key := appendKey(nil, id, &req)
	a := &ask{id: id, key: string(key), hash: hashKey(id, key), wish: wish{minTTL: req.MinTTL, rejected: req.Rejected, input: true}}
	if s := id.cache.index.find(a.id, a.hash, key); s != nil {
		if ans, ok := s.hit(&a.wish); ok {
			return ans.Credential, nil
		}
	}
	_, ans, err := id.cache.wait(ctx, a)
	return ans.Credential, err
}

// single is one retrieval outside the cache, in its caller's goroutine and time: it counts as part of the caller's flight.
func (id *Identity) single(ctx context.Context, req Request) (*Credential, error) {
	if err := id.reentered(ctx); err != nil {
		return nil, err
	}
	c := id.cache
	ctx, cancel := context.WithTimeout(ctx, id.timeout)
	defer cancel()
	key := string(appendKey(nil, id, &req))
	p, no := c.governor.admit(id, id.target(key), true)
	for no != nil {
		now := clock.Now()
		wait := time.Duration(no.until - now.Mono)
		if !no.proving || tooLong(ctx, wait) {
			return nil, no.at(now).of(id)
		}
		select { // for what a probe finds out
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, AsError(ctx.Err()).of(id)
		}
		p, no = c.governor.admit(id, id.target(key), true)
	}
	defer c.leave(id, p)
	p.within = id.timeout
	failure := Errorf(Bug, "source ended its goroutine")
	defer func() { c.governor.report(p, failure) }()
	hard := time.AfterFunc(id.timeout, func() { c.governor.report(p, timedOut(id.timeout, context.DeadlineExceeded)) }) // a source may be deaf
	defer hard.Stop()
	e := Event{Identity: id.name, Kind: id.kind, Key: wholeKey(id, key), Reason: ReasonInput, Target: p.target, Started: Now()}
	cred, err := c.retrieve(WithAncestry(ctx, append(slices.Clip(Ancestry(ctx)), id.name)...), id, keyRequest(key, id), &e, p)
	if err != nil {
		err = AsError(err).of(id)
		e.Err = AsError(err)
	} else {
		e.Fingerprint, e.Expires = cred.reckon(), cred.Expires()
	}
	failure = e.Err
	c.observe(e)
	return cred, err
}
