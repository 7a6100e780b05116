package azure

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// refusing is an answer of an issuer in trouble; wait is its Retry-After.
func refusing(status int, wait string) error {
	return &AuthenticationFailedError{&http.Response{StatusCode: status, Header: http.Header{"Retry-After": {wait}}}}
}

func TestRetryAfterHoldsForAllOfOneTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(t)
		one := func(name, client string) (*fake, *Credential) {
			f := &fake{}
			c, err := New(f, Config{Name: name, Cache: cache, Target: freshet.Target{Host: "login.example", Client: client}})
			if err != nil {
				t.Fatal(err)
			}
			return f, c
		}
		throttled, first := one("first", "mine")
		same, second := one("second", "mine")
		other, third := one("third", "theirs")
		throttled.fail(refusing(429, "10"))
		if _, err := first.GetToken(t.Context(), graph); err == nil {
			t.Fatal("want the error")
		}
		time.Sleep(3 * time.Second)
		_, err := second.GetToken(t.Context(), graph)
		e := freshet.AsError(err)
		if e == nil || e.Kind != freshet.Unavailable || e.Status != 429 || e.RetryAfter <= 6*time.Second || e.RetryAfter > 7*time.Second {
			t.Errorf("another identity of the client: got %v, %+v; want what is left of the 10 s, and why", err, e)
		}
		wantCalls(t, same, 0)
		mustGet(t, third, graph)
		wantCalls(t, other, 1)
		elsewhere := graph
		elsewhere.TenantID = "elsewhere"
		mustGet(t, second, elsewhere)
		throttled.fail(nil)
		time.Sleep(7 * time.Second)
		mustGet(t, second, graph)
		wantCalls(t, throttled, 1)
		mustGet(t, first, graph)
	})
}

// A client of azcore passes its request's context on.
func TestDeadlineOfARequestIsWaitedForDuringAnOutage(t *testing.T) {
	for name, over := range map[string]func(c azcore.TokenCredential) func(context.Context) error{
		"direct": func(c azcore.TokenCredential) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := c.GetToken(ctx, graph)
				return err
			}
		},
		"under BearerTokenPolicy": func(c azcore.TokenCredential) func(context.Context) error {
			bearer := runtime.NewBearerTokenPolicy(c, graph.Scopes, nil)
			pipeline := runtime.NewPipeline("test", "v1", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}},
				&policy.ClientOptions{Transport: service(welcome)})
			return func(ctx context.Context) error {
				req, err := runtime.NewRequest(ctx, http.MethodGet, "https://service.example/")
				if err == nil {
					_, err = pipeline.Do(req)
				}
				return err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				ask := over(wrap(t, f))
				f.fail(&AuthenticationFailedError{&http.Response{StatusCode: 503}})
				time.AfterFunc(12*time.Second, func() { f.fail(nil) })
				ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
				defer cancel()
				done := make(chan error)
				for range 20 {
					go func() { done <- ask(ctx) }()
				}
				for range 20 {
					if err := <-done; err != nil {
						t.Errorf("who can wait got %v", err)
					}
				}
				if n := f.calls.Load(); n < 2 || n > 20 {
					t.Errorf("the credential was called %d times for all", n)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := wrap(t, f)
		f.fail(refusing(503, "20"))
		for _, wait := range []time.Duration{0, 5 * time.Second} {
			ctx, cancel := context.WithCancel(t.Context())
			if wait > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), wait)
			}
			began := time.Now()
			_, err := c.GetToken(ctx, graph)
			if e := freshet.AsError(err); !errors.Is(err, freshet.Unavailable) || e.RetryAfter < 15*time.Second || time.Since(began) > time.Second {
				t.Errorf("who can wait %v got %v after %v, retry after %v; want a refusal at once, with its time", wait, err,
					time.Since(began), e.RetryAfter)
			}
			cancel()
		}
		wantCalls(t, f, 1)
	})
}
