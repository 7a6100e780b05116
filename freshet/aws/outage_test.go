package aws

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

func TestRetryAfterHoldsForAllOfOneTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(t)
		one := func(name, client string) (*fake, *Provider) {
			f := &fake{}
			p, err := New(f, Config{Name: name, Cache: cache, Target: freshet.Target{Host: "sts.example", Client: client}})
			if err != nil {
				t.Fatal(err)
			}
			return f, p
		}
		throttled, first := one("first", "mine")
		same, second := one("second", "mine")
		other, third := one("third", "theirs")
		throttled.fail(answer(400, http.Header{"X-Amz-Retry-After": {"10000"}}, &refusal{"Throttling"}))
		if _, err := first.Retrieve(t.Context()); err == nil {
			t.Fatal("want the error")
		}
		time.Sleep(3 * time.Second)
		_, err := second.Retrieve(t.Context())
		e := freshet.AsError(err)
		if e == nil || e.Kind != freshet.Unavailable || e.Status != 429 || e.RetryAfter <= 6*time.Second || e.RetryAfter > 7*time.Second {
			t.Errorf("another identity of the client: got %v, %+v; want what is left of the 10 s, and why", err, e)
		}
		wantCalls(t, same, 0)
		mustRetrieve(t, third)
		wantCalls(t, other, 1)
		throttled.fail(nil)
		time.Sleep(7 * time.Second)
		mustRetrieve(t, second)
		wantCalls(t, throttled, 1)
		mustRetrieve(t, first)
	})
}

func TestDeadlineOfACallerIsWaitedForDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := wrap(t, f)
		f.fail(answer(503, nil, &refusal{"ServiceUnavailable"}))
		time.AfterFunc(12*time.Second, func() { f.fail(nil) })
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		if _, err := p.Retrieve(ctx); err != nil {
			t.Errorf("who can wait got %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := wrap(t, f)
		f.fail(answer(503, http.Header{"Retry-After": {"20"}}, errDown))
		for _, wait := range []time.Duration{0, 5 * time.Second} {
			ctx, cancel := context.WithCancel(t.Context())
			if wait > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), wait)
			}
			began := time.Now()
			_, err := p.Retrieve(ctx)
			if e := freshet.AsError(err); !errors.Is(err, freshet.Unavailable) || e.RetryAfter < 15*time.Second || time.Since(began) > time.Second {
				t.Errorf("who can wait %v got %v after %v, retry after %v; want a refusal at once, with its time", wait, err,
					time.Since(began), e.RetryAfter)
			}
			cancel()
		}
		wantCalls(t, f, 1)
	})
}
