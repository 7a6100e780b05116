package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

func TestCancelOfTheLeaderHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		c := wrap(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		led := make(chan error, 1)
		go func() {
			_, err := c.GetToken(ctx, graph)
			led <- err
		}()
		synctest.Wait()
		followers := make(chan []caller, 1)
		go func() { followers <- crowd(10, direct(c, graph)) }()
		time.Sleep(500 * time.Millisecond)
		cancel()
		synctest.Wait()
		select {
		case err := <-led:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the leader got %v, want context.Canceled", err)
			}
		default:
			t.Error("the leader still waits after its cancel")
		}
		for _, got := range <-followers {
			if got.err != nil || got.took != time.Second {
				t.Errorf("a follower got error %v after %v, want a token after the second that the one retrieval takes", got.err, got.took)
			}
		}
		wantCalls(t, f, 1)
	})
}

func TestFollowerLeavesAtItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: 500 * time.Millisecond}
		c := wrap(t, f)
		go func() { _, _ = c.GetToken(context.Background(), graph) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := c.GetToken(ctx, graph)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != 30*time.Millisecond {
			t.Errorf("got %v after %v, want its deadline's error after 30ms", err, took)
		}
		time.Sleep(time.Second)
		wantCalls(t, f, 1)
	})
}

func TestTenantsDoNotDelayEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := make(chan struct{})
		f := &fake{takes: 50 * time.Millisecond}
		f.reply = func(n int64, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
			if o.TenantID == "slow" {
				<-slow
			}
			return f.token(n), nil
		}
		c := wrap(t, f)
		of := func(tenant string) policy.TokenRequestOptions {
			return policy.TokenRequestOptions{Scopes: graph.Scopes, TenantID: tenant}
		}
		mustGet(t, c, of("quick"))
		go func() { _, _ = c.GetToken(context.Background(), of("slow")) }()
		time.Sleep(time.Second)
		began := time.Now()
		mustGet(t, c, of("quick"))
		if took := time.Since(began); took != 0 {
			t.Errorf("a hit took %v while another tenant's token was retrieved", took)
		}
		close(slow)

		began = time.Now()
		done := make(chan error)
		for i := range 1000 {
			go func() {
				_, err := c.GetToken(context.Background(), of(fmt.Sprint("tenant-", i)))
				done <- err
			}()
		}
		for range 1000 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("1,000 cold tenants took %v, want the 50ms that one takes", took)
		}
		wantCalls(t, f, 1002)
		for i := range 1000 {
			mustGet(t, c, of(fmt.Sprint("tenant-", i)))
		}
		wantCalls(t, f, 1002)
	})
}

func TestCallersOfAFailingCredentialShareOneCall(t *testing.T) {
	for name, over := range map[string]func(c azcore.TokenCredential) func() (string, error){
		"direct":                  func(c azcore.TokenCredential) func() (string, error) { return direct(c, graph) },
		"under BearerTokenPolicy": func(c azcore.TokenCredential) func() (string, error) { return client(c, welcome) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{takes: 50 * time.Millisecond}
				f.fail(errDown)
				ask := over(wrap(t, f))
				for _, got := range crowd(100, ask) {
					if got.err == nil || got.took != 50*time.Millisecond {
						t.Fatalf("got error %v after %v, want one after 50ms", got.err, got.took)
					}
				}
				wantCalls(t, f, 1)
				time.Sleep(5 * time.Second)
				f.fail(nil)
				if _, err := ask(); err != nil {
					t.Errorf("after the recovery: %v", err)
				}
			})
		})
	}
	t.Run("BearerTokenPolicy alone repeats it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{takes: 50 * time.Millisecond}
			f.fail(errDown)
			crowd(100, client(f, welcome))
			if n := f.calls.Load(); n != 100 {
				t.Errorf("%d calls: freshet has less of an advantage than it says", n)
			}
		})
	})
}

func TestFailureThatIsRememberedMakesNoRetrieval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events atomic.Int64
		cache := freshet.NewCache(freshet.CacheConfig{Observe: func(freshet.Event) { events.Add(1) }})
		defer cache.Close(context.Background())
		f := &fake{takes: time.Second}
		f.fail(errDown)
		c, err := New(f, Config{Name: "mine", Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		_, want := c.GetToken(t.Context(), graph)
		for _, got := range crowd(100, client(c, welcome)) {
			if got.err == nil || got.took != 0 || !strings.Contains(got.err.Error(), want.Error()) || !strings.Contains(want.Error(), "identity mine (azure.fake)") {
				t.Fatalf("got %v after %v, want at once what the first got, %v", got.err, got.took, want)
			}
		}
		if wantCalls(t, f, 1); events.Load() != 1 {
			t.Errorf("%d retrievals are told of, want 1", events.Load())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.GetToken(ctx, graph); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who has left got %v", err)
		}
	})
}

func TestTokenInMemoryIsServedWhileAFailureIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		c := wrap(t, f)
		other := graph
		other.TenantID = "other"
		mustGet(t, c, graph)
		f.fail(errDown)
		time.Sleep(50 * time.Minute) // it is due: the first of these has it refreshed
		for range 5 * 60 {
			if _, err := c.GetToken(t.Context(), other); err == nil {
				t.Fatal("the other tenant's token was retrieved")
			}
			for range 3 {
				began := time.Now()
				if got := mustGet(t, c, graph); got.Token != "token-1" || time.Since(began) != 0 {
					t.Fatalf("got %s after %v, want at once what is in memory", got.Token, time.Since(began))
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
	})
}

func TestErrorsStayInspectable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := wrap(t, f)
		response := &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"7"}}}
		f.fail(fmt.Errorf("wrapped: %w", &AuthenticationFailedError{response}))
		_, err := c.GetToken(t.Context(), graph)
		var failed *AuthenticationFailedError
		var final interface{ NonRetriable() }
		if !errors.As(err, &failed) || failed.RawResponse != response || !errors.As(err, &final) {
			t.Errorf("%v hides the credential's error or that it is not to be retried", err)
		}
		if got := freshet.AsError(err); got.Kind != freshet.Unavailable || got.RetryAfter != 7*time.Second || !strings.Contains(got.Why, "429") {
			t.Errorf("got kind %q, retry after %v, %q; want what the answer said", got.Kind, got.RetryAfter, got.Why)
		}
		freshettest.LeakedSecrets(t, fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2-hunter2")

		f.fail(&unavailableError{})
		_, err = wrap(t, f).GetToken(t.Context(), graph)
		var unavailable credentialUnavailable
		if !errors.As(err, &unavailable) {
			t.Errorf("a chain would not know %v for a credential that is unavailable", err)
		}
	})
}

func TestFailuresAreOfAKind(t *testing.T) {
	response := func(status int) *http.Response { return &http.Response{StatusCode: status} }
	for name, test := range map[string]struct {
		err  error
		want freshet.Kind
	}{
		"denied":          {&AuthenticationFailedError{response(401)}, freshet.Denied},
		"azcore":          {&azcore.ResponseError{StatusCode: 403, RawResponse: response(403)}, freshet.Denied},
		"down":            {&AuthenticationFailedError{response(503)}, freshet.Unavailable},
		"no answer":       {&AuthenticationFailedError{}, freshet.Unavailable},
		"nil":             {(*AuthenticationFailedError)(nil), freshet.Unavailable},
		"embedded nil":    {&embedding{}, freshet.Unavailable},
		"plain":           {errDown, freshet.Unavailable},
		"freshet's own":   {fmt.Errorf("wrapped: %w", freshet.Errorf(freshet.LoginNeeded, "log in")), freshet.LoginNeeded},
		"several at once": {errors.Join(errDown, errDown), freshet.Unavailable},
	} {
		got := failure(test.err, &freshet.Request{})
		if got.Kind != test.want {
			t.Errorf("%s: got kind %q, want %q", name, got.Kind, test.want)
		}
		freshettest.LeakedSecrets(t, got.Error(), "hunter2-hunter2")
	}
}

func TestPanicOfTheCredentialIsAnError(t *testing.T) {
	for name, over := range map[string]func(c azcore.TokenCredential) func() (string, error){
		"direct":                  func(c azcore.TokenCredential) func() (string, error) { return direct(c, graph) },
		"under BearerTokenPolicy": func(c azcore.TokenCredential) func() (string, error) { return client(c, welcome) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{reply: func(int64, policy.TokenRequestOptions) (azcore.AccessToken, error) { panic(answerText) }}
				ask := over(wrap(t, f))
				for _, got := range crowd(10, ask) {
					if !errors.Is(got.err, freshet.Bug) {
						t.Fatalf("got %v, want an error of kind bug", got.err)
					}
					freshettest.LeakedSecrets(t, got.err.Error(), answerText)
				}
				f.reply = nil
				time.Sleep(5 * time.Second)
				if _, err := ask(); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		})
	}
	// In real time, since nothing ends the wait: no bubble could end.
	t.Run("BearerTokenPolicy alone hangs afterwards", func(t *testing.T) {
		f := &fake{reply: func(int64, policy.TokenRequestOptions) (azcore.AccessToken, error) { panic(answerText) }}
		ask := client(f, welcome)
		func() {
			defer func() { _ = recover() }()
			_, _ = ask()
		}()
		f.reply = nil
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			_, _ = ask()
		}()
		select {
		case <-answered:
			t.Error("a later caller is answered: freshet has no advantage here")
		case <-time.After(100 * time.Millisecond):
		}
	})
}

func TestValidTokenIsServedDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{refresh: 30 * time.Minute}
		c := wrap(t, f)
		ask := client(c, welcome)
		mustGet(t, c, graph)
		f.fail(errDown)
		for at := range 56 * 60 {
			if _, err := c.GetToken(t.Context(), graph); err != nil {
				t.Fatalf("after %ds: %v", at, err)
			}
			if _, err := ask(); err != nil {
				t.Fatalf("after %ds, through a pipeline: %v", at, err)
			}
			time.Sleep(time.Second)
		}
		if n := f.calls.Load(); n < 2 || n > 60 {
			t.Errorf("the credential was called %d times in 26 minutes of outage, want some, and no more than one in 30 s", n)
		}
	})
}

func TestNobodyWaitsForARefresh(t *testing.T) {
	// How many of 20 callers, every ten seconds for an hour and a half, waited for a credential that takes a second.
	count := func(t *testing.T, f *fake, ask func() (string, error)) (waited int) {
		f.takes = time.Second
		if _, err := ask(); err != nil {
			t.Fatal(err)
		}
		for range 9 * 60 {
			time.Sleep(10 * time.Second)
			for _, got := range crowd(20, ask) {
				if got.err != nil {
					t.Fatal(got.err)
				}
				if got.took > 0 {
					waited++
				}
			}
		}
		return waited
	}
	for name, test := range map[string]struct {
		over  func(t *testing.T, f *fake) func() (string, error)
		waits bool
	}{
		"wrapped": {func(t *testing.T, f *fake) func() (string, error) { return direct(wrap(t, f), graph) }, false},
		"wrapped, BearerTokenPolicy over": {func(t *testing.T, f *fake) func() (string, error) {
			return client(wrap(t, f), welcome)
		}, false},
		"BearerTokenPolicy alone": {func(t *testing.T, f *fake) func() (string, error) { return client(f, welcome) }, true},
	} {
		for _, refresh := range []time.Duration{0, 20 * time.Minute} {
			t.Run(fmt.Sprint(name, ", RefreshOn after ", refresh), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := &fake{refresh: refresh}
					waited := count(t, f, test.over(t, f))
					if (waited > 0) != test.waits {
						t.Errorf("%d callers waited for a refresh, want any: %v", waited, test.waits)
					}
					if n := f.calls.Load(); n < 2 || n > 6 {
						t.Errorf("the credential was called %d times in 90 minutes", n)
					}
				})
			})
		}
	}
}

// msal answers from its cache until the time to refresh has come.
func TestCredentialThatAnswersFromACacheIsAskedWhenItHasANewToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{lifetime: 24 * time.Hour, refresh: 12 * time.Hour}
		var held azcore.AccessToken
		f.reply = func(n int64, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
			if !time.Now().Before(held.RefreshOn) {
				held = f.token(n)
				held.RefreshOn = held.RefreshOn.Truncate(time.Second)
			}
			return held, nil
		}
		c := wrap(t, f)
		for range 4 * 24 * 3600 / 5 {
			mustGet(t, c, graph)
			time.Sleep(5 * time.Second)
		}
		if n := f.calls.Load(); n < 8 || n > 9 {
			t.Errorf("the credential was called %d times in 4 days, want one each 12 hours", n)
		}
	})
}

func TestPipelineGetsARefreshedTokenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second, refresh: 20 * time.Minute}
		ask := client(wrap(t, f), welcome)
		if _, err := ask(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for {
			time.Sleep(time.Second)
			if got, err := ask(); err != nil || got == "Bearer token-2" {
				break
			}
		}
		// RefreshOn, the second after it, and azcore's 30 s between attempts.
		if took := time.Since(began); took > 20*time.Minute+35*time.Second {
			t.Errorf("the next token was used after %v, want soon after 20m", took)
		}
	})
}

func TestTokenWithLittleLifeIsNotFetchedAtEveryCall(t *testing.T) {
	for _, left := range []time.Duration{2 * time.Minute, 4 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			end := time.Now().Add(left)
			f := &fake{reply: func(int64, policy.TokenRequestOptions) (azcore.AccessToken, error) {
				return azcore.AccessToken{Token: "token", ExpiresOn: end}, nil // from a cache that has nothing newer
			}}
			c := wrap(t, f)
			for range 100 {
				mustGet(t, c, graph)
				time.Sleep(100 * time.Millisecond)
			}
			wantCalls(t, f, 1)
		})
	}
}

func TestRefreshOnFollowsTheCredentials(t *testing.T) {
	for name, test := range map[string]struct {
		lifetime, refresh time.Duration
		earliest, latest  time.Duration // of RefreshOn
	}{
		"given":                 {24 * time.Hour, 10 * time.Hour, 10*time.Hour + 2*margin, 10*time.Hour + 2*margin},
		"none":                  {time.Hour, 0, 34 * time.Minute, 40*time.Minute + margin},
		"past":                  {time.Hour, -time.Minute, time.Second, 31 * time.Second},
		"after the end":         {time.Hour, 2 * time.Hour, 34 * time.Minute, 40*time.Minute + margin},
		"of a short life":       {time.Minute, 0, 20 * time.Second, 31 * time.Second},
		"of a very short life":  {3 * time.Second, 0, time.Second, 3 * time.Second},
		"of a life of a second": {1500 * time.Millisecond, 0, time.Second, 1500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				got := mustGet(t, wrap(t, &fake{lifetime: test.lifetime, refresh: test.refresh}), graph)
				if !got.ExpiresOn.Equal(began.Add(test.lifetime)) {
					t.Errorf("ExpiresOn is after %v, want %v", got.ExpiresOn.Sub(began), test.lifetime)
				}
				if on := got.RefreshOn.Sub(began); on < test.earliest || on > test.latest || on > test.lifetime {
					t.Errorf("RefreshOn is after %v, want between %v and %v", on, test.earliest, test.latest)
				}
			})
		})
	}
}

func TestEveryOptionTellsTokensApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		c := wrap(t, f)
		options := []policy.TokenRequestOptions{
			{Scopes: []string{"a"}},
			{Scopes: []string{"b"}},
			{Scopes: []string{"a", "b"}},
			{Scopes: []string{"ab"}},
			{Scopes: []string{"a"}, TenantID: "t"},
			{Scopes: []string{"a"}, EnableCAE: true},
		}
		// More than are remembered by their options alone, so that both ways of lookup are taken.
		for i := range 2 * maxRecent {
			options = append(options, policy.TokenRequestOptions{Scopes: []string{"a"}, TenantID: fmt.Sprint("t", i)})
		}
		tokens := make(map[string]int)
		for round := range 50 {
			for i, o := range options {
				got := mustGet(t, c, o).Token
				if was, ok := tokens[got]; ok && was != i || !ok && round > 0 {
					t.Fatalf("round %d: %s answers %v", round, got, o)
				}
				tokens[got] = i
			}
		}
		wantCalls(t, f, int64(len(options)))
		for i, o := range options {
			if asked := f.asked[i]; asked.TenantID != o.TenantID || asked.EnableCAE != o.EnableCAE || !slices.Equal(asked.Scopes, o.Scopes) {
				t.Errorf("asked for %v, the credential was asked for %v", o, asked)
			}
		}
		if got := mustGet(t, c, policy.TokenRequestOptions{Scopes: []string{"b", "a"}}).Token; tokens[got] != 2 {
			t.Errorf("the scopes in another order are answered by %s", got)
		}

		c = wrap(t, f)
		scopes := []string{"x"}
		first := mustGet(t, c, policy.TokenRequestOptions{Scopes: scopes}).Token
		scopes[0] = "y"
		if got := mustGet(t, c, policy.TokenRequestOptions{Scopes: scopes}).Token; got == first {
			t.Error("a caller that changes its scopes gets the token of those before")
		}
	})
}

func TestRejectedTokenIsReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		c := wrap(t, f)
		refused := mustGet(t, c, graph)
		time.Sleep(10 * time.Minute)
		for range 20 {
			if !c.Reject(refused) {
				t.Fatal("Reject does not know the token that is served")
			}
		}
		time.Sleep(2 * time.Second)
		if got := mustGet(t, c, graph); got.Token != "token-2" {
			t.Errorf("got %s, want the replacement", got.Token)
		}
		if c.Reject(refused) || c.Reject(azcore.AccessToken{}) {
			t.Error("Reject takes a token for served that is not")
		}
		wantCalls(t, f, 2)
	})
}

func TestNestedCredentialsAreNoCycle(t *testing.T) {
	mustGet(t, Wrap(Wrap(&fake{})), graph)
	inner := &again{}
	self := Wrap(inner)
	inner.cred = self
	if _, err := self.GetToken(t.Context(), graph); !errors.Is(err, freshet.Invalid) {
		t.Errorf("a credential that asks itself got %v, want an error of kind invalid, at once", err)
	}
}

type again struct{ cred azcore.TokenCredential }

func (a *again) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return a.cred.GetToken(ctx, o)
}

func TestCredentialPrintsNoSecret(t *testing.T) {
	c := Wrap(&fake{reply: func(int64, policy.TokenRequestOptions) (azcore.AccessToken, error) {
		return azcore.AccessToken{Token: "eyJhbGciOi-secret", ExpiresOn: time.Now().Add(time.Hour)}, nil
	}})
	o := graph
	o.Claims = `{"access_token":{"nbf":{"essential":true}}}`
	mustGet(t, c, o)
	mustGet(t, c, graph)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		for _, v := range []any{c, *c} {
			text := fmt.Sprintf(verb, v)
			freshettest.LeakedSecrets(t, text, "eyJhbGciOi-secret", o.Claims)
			if !strings.HasPrefix(text, "identity azure") {
				t.Errorf("with %s it prints as %q", verb, text)
			}
		}
	}
}

func TestWrapRefusesWhatItCannotWrap(t *testing.T) {
	cache := newCache(t)
	if _, err := New(nil, Config{}); !errors.Is(err, freshet.Invalid) {
		t.Errorf("nothing: got %v, want an error of kind invalid", err)
	}
	for i := range 2 {
		if _, err := New(&fake{}, Config{Name: "one", Cache: cache}); i == 1 && !errors.Is(err, freshet.Invalid) {
			t.Errorf("a name that is taken: got %v, want an error of kind invalid", err)
		}
	}
	if _, err := wrap(t, &fake{reply: func(int64, policy.TokenRequestOptions) (azcore.AccessToken, error) {
		return azcore.AccessToken{Token: "token"}, nil
	}}).GetToken(t.Context(), graph); !errors.Is(err, freshet.Malformed) {
		t.Errorf("a token without expiry: got %v, want an error of kind malformed", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Wrap(nil) does not panic")
		}
	}()
	Wrap(nil)
}
