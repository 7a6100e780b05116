package oauth2

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"golang.org/x/oauth2"
)

// refusing is an answer of a token endpoint in trouble; wait is its Retry-After.
func refusing(status int, wait string) error {
	return &oauth2.RetrieveError{Response: &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {wait}}}}
}

func TestRetryAfterHoldsForAllOfOneTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(t)
		one := func(name, client string) (*fake, *Source) {
			f := &fake{}
			s, err := New(f, Config{Name: name, Cache: cache, Target: freshet.Target{Host: "login.example", Client: client}})
			if err != nil {
				t.Fatal(err)
			}
			return f, s
		}
		throttled, first := one("first", "mine")
		same, second := one("second", "mine")
		other, third := one("third", "theirs")
		throttled.fail(refusing(429, "10"))
		if _, err := first.Token(); err == nil {
			t.Fatal("want the error")
		}
		time.Sleep(3 * time.Second)
		_, err := second.Token()
		e := freshet.AsError(err)
		if e == nil || e.Kind != freshet.Unavailable || e.Status != 429 || e.RetryAfter <= 6*time.Second || e.RetryAfter > 7*time.Second {
			t.Errorf("another identity of the client: got %v, %+v; want what is left of the 10 s, and why", err, e)
		}
		wantCalls(t, same, 0)
		mustToken(t, third)
		wantCalls(t, other, 1)
		throttled.fail(nil)
		time.Sleep(7 * time.Second)
		mustToken(t, second)
		wantCalls(t, throttled, 1)
		mustToken(t, first)
	})
}

// An http.Client gives its requests a deadline where it has a Timeout.
func TestDeadlineOfARequestIsWaitedForDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		s := wrap(t, f)
		f.fail(refusing(503, ""))
		time.AfterFunc(12*time.Second, func() { f.fail(nil) })
		client := &http.Client{Timeout: 90 * time.Second, Transport: s.Transport(server(func(string) *http.Response {
			return &http.Response{StatusCode: 200}
		}))}
		if status := get(t, client, "https://api.example/"); status != 200 {
			t.Errorf("a request that can wait got status %d", status)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		s := wrap(t, f)
		f.fail(refusing(503, "20"))
		for _, wait := range []time.Duration{0, 5 * time.Second} {
			ctx, cancel := context.WithCancel(t.Context())
			if wait > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), wait)
			}
			began := time.Now()
			_, err := s.TokenContext(ctx)
			if e := freshet.AsError(err); !errors.Is(err, freshet.Unavailable) || e.RetryAfter < 15*time.Second || time.Since(began) > time.Second {
				t.Errorf("who can wait %v got %v after %v, retry after %v; want a refusal at once, with its time", wait, err,
					time.Since(began), e.RetryAfter)
			}
			cancel()
		}
		wantCalls(t, f, 1)
	})
}
