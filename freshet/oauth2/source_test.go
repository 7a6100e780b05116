package oauth2

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"golang.org/x/oauth2"
)

func TestCancelOfTheLeaderHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		s := wrap(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		led := make(chan error, 1)
		go func() {
			_, err := s.TokenContext(ctx)
			led <- err
		}()
		synctest.Wait()
		followers := make(chan []caller, 1)
		go func() { followers <- crowd(10, s) }()
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
		for _, c := range <-followers {
			if c.err != nil || c.took != time.Second {
				t.Errorf("a follower got error %v after %v, want a token after the second that the one retrieval takes", c.err, c.took)
			}
		}
		wantCalls(t, f, 1)
	})
}

func TestFollowerLeavesAtItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: 500 * time.Millisecond}
		s := wrap(t, f)
		go func() { _, _ = s.Token() }()
		synctest.Wait()
		client := &http.Client{Transport: s.Transport(server(func(string) *http.Response { return &http.Response{StatusCode: 200} }))}
		ask := func() (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, "GET", "https://api.example/", strings.NewReader("body"))
			began := time.Now()
			resp, err := client.Do(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			return time.Since(began), err
		}
		if took, err := ask(); !errors.Is(err, context.DeadlineExceeded) || took != 30*time.Millisecond {
			t.Errorf("a request got %v after %v, want its deadline's error after 30ms", err, took)
		}
		time.Sleep(time.Second)
		if took, err := ask(); err != nil || took != 0 {
			t.Errorf("a request got %v after %v, want the token that was retrieved meanwhile", err, took)
		}
		wantCalls(t, f, 1)

		// Contrast: a client of x/oauth2 has its request wait for the token whatever its deadline says.
		client = oauth2.NewClient(context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{
			Transport: server(func(string) *http.Response { return &http.Response{StatusCode: 200} }),
		}), &fake{takes: 500 * time.Millisecond})
		if took, _ := ask(); took != 500*time.Millisecond {
			t.Errorf("oauth2.NewClient alone: the request took %v: freshet has no advantage here", took)
		}
	})
}

func TestSourcesOfOneCacheDoNotDelayEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(t)
		one := func(name string, f *fake) *Source {
			s, err := New(f, Config{Name: name, Cache: cache})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		slow, quick := one("slow", &fake{takes: 2 * time.Second}), one("quick", &fake{})
		mustToken(t, quick)
		go func() { _, _ = slow.Token() }()
		synctest.Wait()
		began := time.Now()
		mustToken(t, quick)
		if took := time.Since(began); took != 0 {
			t.Errorf("a hit took %v while another source retrieved", took)
		}
		time.Sleep(3 * time.Second)

		began = time.Now()
		done := make(chan error)
		for i := range 1000 {
			s := one(fmt.Sprint("tenant-", i), &fake{takes: 50 * time.Millisecond})
			go func() {
				_, err := s.Token()
				done <- err
			}()
		}
		for range 1000 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("1,000 cold sources took %v, want the 50ms that one takes", took)
		}
	})
}

func TestCallersOfAFailingSourceShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: 50 * time.Millisecond}
		refused := &oauth2.RetrieveError{
			Response: &http.Response{StatusCode: 401, Status: "401 Unauthorized"}, Body: []byte(answerText),
			ErrorCode: "invalid_client", ErrorDescription: answerText,
		}
		f.fail(fmt.Errorf("wrapped: %w", refused))
		s := wrap(t, f)
		got := crowd(100, s)
		for _, c := range got {
			if c.err == nil || c.took != 50*time.Millisecond {
				t.Fatalf("got error %v after %v, want one after 50ms", c.err, c.took)
			}
		}
		wantCalls(t, f, 1)
		err := got[0].err
		if !errors.Is(err, freshet.Denied) || !errors.Is(err, refused) || !strings.Contains(err.Error(), "invalid_client") {
			t.Errorf("%v is not the source's own, of kind denied, that names the code", err)
		}
		freshettest.LeakedSecrets(t, fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2-hunter2")

		// One after the other, as a ReuseTokenSource lets them in.
		for range 100 {
			if _, err := s.Token(); err == nil {
				t.Fatal("want the error")
			}
		}
		wantCalls(t, f, 1)
		time.Sleep(31 * time.Second)
		f.fail(nil)
		mustToken(t, s)
	})
}

func TestFailureThatIsRememberedMakesNoRetrieval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events atomic.Int64
		cache := freshet.NewCache(freshet.CacheConfig{Observe: func(freshet.Event) { events.Add(1) }})
		defer cache.Close(context.Background())
		f := &fake{takes: time.Second}
		f.fail(errDown)
		s, err := New(f, Config{Name: "mine", Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		_, want := s.Token()
		if !strings.Contains(fmt.Sprint(want), "identity mine (oauth2.fake)") {
			t.Errorf("%v does not say whose it is", want)
		}
		client := &http.Client{Transport: s.Transport(nil)}
		for range 100 { // as a ReuseTokenSource lets them in
			began := time.Now()
			_, err := s.Token()
			if err == nil || err.Error() != want.Error() || time.Since(began) != 0 {
				t.Fatalf("got %v after %v, want at once what the first got, %v", err, time.Since(began), want)
			}
			if _, err := client.Get("https://api.example/"); !errors.Is(err, errDown) || time.Since(began) != 0 {
				t.Fatalf("a request got %v after %v, want that error at once", err, time.Since(began))
			}
		}
		if wantCalls(t, f, 1); events.Load() != 1 {
			t.Errorf("%d retrievals are told of, want 1", events.Load())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.TokenContext(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who has left got %v", err)
		}
	})
}

func TestTokenInMemoryIsServedWhileAFailureIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		s := wrap(t, f)
		mustToken(t, s)
		f.fail(errDown)
		time.Sleep(50 * time.Minute) // it is due: the first of these has it refreshed
		for range 5 * 60 * 10 {
			began := time.Now()
			if got := mustToken(t, s); got.AccessToken != "token-1" || time.Since(began) != 0 {
				t.Fatalf("got %q after %v, want at once what is in memory", got.AccessToken, time.Since(began))
			}
			time.Sleep(100 * time.Millisecond)
		}
		if f.calls.Load() < 2 {
			t.Error("no refresh failed")
		}
	})
}

func TestCallersBehindAReuseTokenSourceDoNotRepeatAFailure(t *testing.T) {
	// In real time: who waits for a mutex holds a bubble's clock.
	const callers = 50
	count := func(f *fake, src oauth2.TokenSource) int64 {
		f.fail(errDown)
		for _, c := range crowd(callers, oauth2.ReuseTokenSource(nil, src)) {
			if c.err == nil {
				t.Fatal("want the error")
			}
		}
		return f.calls.Load()
	}
	f := &fake{takes: 300 * time.Millisecond}
	if n := count(f, wrap(t, f)); n > 3 {
		t.Errorf("wrapped: %d callers made %d calls, want one, or a few on a busy machine", callers, n)
	}
	f = &fake{takes: time.Millisecond}
	if n := count(f, f); n != callers {
		t.Errorf("a ReuseTokenSource alone makes %d calls for %d callers: freshet has less of an advantage than it says", n, callers)
	}
}

func TestFailuresAreOfAKind(t *testing.T) {
	response := func(status int) *http.Response {
		return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"7"}}}
	}
	for name, test := range map[string]struct {
		err  error
		want freshet.Kind
		wait time.Duration
	}{
		"login":     {&oauth2.RetrieveError{Response: response(400), ErrorCode: "invalid_grant"}, freshet.LoginNeeded, 7 * time.Second},
		"throttled": {&oauth2.RetrieveError{Response: response(429), Body: []byte(answerText)}, freshet.Unavailable, 7 * time.Second},
		"own words": {&oauth2.RetrieveError{Response: response(400), ErrorCode: answerText}, freshet.Unavailable, 7 * time.Second},
		"plain":     {errDown, freshet.Unavailable, 0},
		"nested":    {fmt.Errorf("wrapped: %w", &freshet.Error{Kind: freshet.Denied, Why: "no", RetryAfter: time.Minute}), freshet.Denied, time.Minute},
	} {
		got := failure(test.err)
		if got.Kind != test.want || got.RetryAfter != test.wait {
			t.Errorf("%s: got kind %q, retry after %v; want %q, %v", name, got.Kind, got.RetryAfter, test.want, test.wait)
		}
		freshettest.LeakedSecrets(t, got.Error(), "hunter2-hunter2")
	}
}

func TestPanicOfTheSourceIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: func(int64) (*oauth2.Token, error) { panic(answerText) }}
		s := wrap(t, f)
		for _, c := range crowd(10, s) {
			if !errors.Is(c.err, freshet.Bug) {
				t.Fatalf("got %v, want an error of kind bug", c.err)
			}
			freshettest.LeakedSecrets(t, c.err.Error(), answerText)
		}
		f.reply = nil
		time.Sleep(5 * time.Second)
		mustToken(t, s)

		defer func() {
			if recover() == nil {
				t.Error("a ReuseTokenSource alone survives: freshet has no advantage here")
			}
		}()
		_, _ = oauth2.ReuseTokenSource(nil, &fake{reply: func(int64) (*oauth2.Token, error) { panic(answerText) }}).Token()
	})
}

func TestValidTokenIsServedDuringAnOutage(t *testing.T) {
	// How many calls of one a second fail, from 15 to 4 minutes before the end.
	count := func(t *testing.T, f *fake, src oauth2.TokenSource) (failed int) {
		mustToken(t, src)
		time.Sleep(45 * time.Minute)
		f.fail(errDown)
		for range 11 * 60 {
			tok, err := src.Token()
			if err != nil {
				failed++
			} else if !tok.Valid() {
				t.Fatalf("the token's Expiry is in %v", time.Until(tok.Expiry))
			}
			time.Sleep(time.Second)
		}
		return failed
	}
	for name, test := range map[string]struct {
		over  func(t *testing.T, f *fake) oauth2.TokenSource
		fails bool
	}{
		"wrapped": {func(t *testing.T, f *fake) oauth2.TokenSource { return wrap(t, f) }, false},
		"wrapped, ReuseTokenSource over": {func(t *testing.T, f *fake) oauth2.TokenSource {
			return oauth2.ReuseTokenSource(nil, wrap(t, f))
		}, false},
		"a ReuseTokenSource alone": {func(t *testing.T, f *fake) oauth2.TokenSource {
			return oauth2.ReuseTokenSourceWithExpiry(nil, f, 5*time.Minute)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				if failed := count(t, f, test.over(t, f)); (failed > 0) != test.fails {
					t.Errorf("%d calls failed although the token was valid, want any: %v", failed, test.fails)
				}
				if n := f.calls.Load(); !test.fails && n > 30 {
					t.Errorf("the source was called %d times in 11 minutes of outage, want no more than one in 30 s", n)
				}
			})
		})
	}
}

func TestNobodyWaitsForARefresh(t *testing.T) {
	// How many calls of one in ten seconds, for an hour and a half, waited for a source that takes a second.
	count := func(t *testing.T, f *fake, src oauth2.TokenSource) (waited int) {
		f.takes = time.Second
		mustToken(t, src)
		for range 9 * 60 {
			time.Sleep(10 * time.Second)
			began := time.Now()
			mustToken(t, src)
			if time.Since(began) > 0 {
				waited++
			}
		}
		return waited
	}
	for name, test := range map[string]struct {
		over  func(t *testing.T, f *fake) oauth2.TokenSource
		waits bool
	}{
		"wrapped": {func(t *testing.T, f *fake) oauth2.TokenSource { return wrap(t, f) }, false},
		"wrapped, ReuseTokenSource over": {func(t *testing.T, f *fake) oauth2.TokenSource {
			return oauth2.ReuseTokenSource(nil, wrap(t, f))
		}, false},
		"wrapped over a ReuseTokenSource": {func(t *testing.T, f *fake) oauth2.TokenSource {
			return wrap(t, oauth2.ReuseTokenSource(nil, f))
		}, false},
		"a ReuseTokenSource alone": {func(t *testing.T, f *fake) oauth2.TokenSource { return oauth2.ReuseTokenSource(nil, f) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				waited := count(t, f, test.over(t, f))
				if (waited > 0) != test.waits {
					t.Errorf("%d calls waited for a refresh, want any: %v", waited, test.waits)
				}
				if n := f.calls.Load(); n < 2 || n > 4 {
					t.Errorf("the source was called %d times in 90 minutes of tokens of one hour", n)
				}
			})
		})
	}
}

func TestTokenWithLittleLifeIsNotFetchedAtEveryCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(4 * time.Minute)
		f := &fake{}
		f.reply = func(int64) (*oauth2.Token, error) { // from a cache that has nothing newer
			return &oauth2.Token{AccessToken: "token", Expiry: end}, nil
		}
		s := wrap(t, f)
		for range 100 {
			mustToken(t, s)
			time.Sleep(100 * time.Millisecond)
		}
		wantCalls(t, f, 1)
	})
}

func TestTokenOfAReuseTokenSourceIsUsedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		held := &oauth2.Token{AccessToken: "held", RefreshToken: refreshToken, Expiry: time.Now().Add(30 * time.Minute)}
		s := wrap(t, oauth2.ReuseTokenSource(held, f))
		if got := mustToken(t, s); got.AccessToken != "held" {
			t.Errorf("got %q, want the one that the source held", got.AccessToken)
		}
		wantCalls(t, f, 0)
		time.Sleep(25 * time.Minute)
		mustToken(t, s)
		synctest.Wait()
		if got := mustToken(t, s); got.AccessToken != "token-1" {
			t.Errorf("got %q five minutes before the end, want the next one", got.AccessToken)
		}
	})
}

func TestCallersGetCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wrap(t, &fake{})
		first := mustToken(t, s)
		if first.RefreshToken != "" {
			t.Error("the refresh token is handed out")
		}
		if first.AccessToken != "token-1" || first.Type() != "Bearer" || first.TokenType != "bearer" || first.Extra("id_token") != "id-1" || !first.Valid() {
			t.Errorf("got type %q, extra %v, valid %v; want them as the source gave them", first.TokenType, first.Extra("id_token"), first.Valid())
		}
		*first = oauth2.Token{AccessToken: "changed"}
		if got := mustToken(t, s); got.AccessToken != "token-1" || got.Extra("id_token") != "id-1" {
			t.Error("a caller's change of its token is seen by others")
		}
		time.Sleep(50 * time.Minute)
		mustToken(t, s)
		synctest.Wait()
		if got := mustToken(t, s); got.AccessToken != "token-2" || got.Extra("id_token") != "id-2" {
			t.Errorf("after the refresh: got %q with extra %v", got.AccessToken, got.Extra("id_token"))
		}
	})
}

func TestExpiryIsTheTimeOfTheRefresh(t *testing.T) {
	for _, lifetime := range []time.Duration{30 * time.Second, 5 * time.Minute, time.Hour, 12 * time.Hour} {
		t.Run(lifetime.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{lifetime: lifetime}
				s := wrap(t, f)
				began := time.Now()
				if got := mustToken(t, s).Expiry.Sub(began); got > lifetime*3/4+early {
					t.Errorf("Expiry is after %v, want it early of the refresh's time by 10s", got)
				}
				f.fail(errDown)
				served := 0
				for range 1000 {
					tok, err := s.Token()
					if err != nil {
						break
					}
					served++
					if tok.Expiry.After(began.Add(lifetime)) || !tok.Expiry.After(time.Now()) {
						t.Fatalf("after %v Expiry is at %v", time.Since(began), tok.Expiry.Sub(began))
					}
					if left := lifetime - time.Since(began); left > early && !tok.Valid() {
						t.Fatalf("a token with %v left is not valid", left)
					}
					time.Sleep(lifetime / 200)
				}
				if served < 190 || served > 201 {
					t.Errorf("served in %d of 200 steps of the token's life", served)
				}
			})
		})
	}
}

func TestLifeOfATokenWithoutExpiry(t *testing.T) {
	jwt := func(payload string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	synctest.Test(t, func(t *testing.T) {
		soon := time.Now().Add(20 * time.Minute)
		for name, test := range map[string]struct {
			token oauth2.Token
			cfg   Config
			want  time.Duration // 0: none
		}{
			"none":                     {oauth2.Token{AccessToken: "opaque"}, Config{}, 0},
			"none, but two dots":       {oauth2.Token{AccessToken: "a.b.c"}, Config{}, 0},
			"configured":               {oauth2.Token{AccessToken: "opaque"}, Config{Lifetime: 10 * time.Minute}, 10 * time.Minute},
			"expires_in":               {oauth2.Token{AccessToken: "opaque", ExpiresIn: 60}, Config{Lifetime: 10 * time.Minute}, time.Minute},
			"a JWT's exp":              {oauth2.Token{AccessToken: jwt(fmt.Sprintf(`{"exp":%d}`, soon.Unix()))}, Config{Lifetime: 10 * time.Minute}, 20 * time.Minute},
			"a JWT without exp":        {oauth2.Token{AccessToken: jwt(`{"sub":"x"}`)}, Config{}, 0},
			"its own, whatever a JWT":  {oauth2.Token{AccessToken: jwt(`{"exp":1}`), Expiry: soon}, Config{}, 20 * time.Minute},
			"its own, over expires_in": {oauth2.Token{AccessToken: "opaque", ExpiresIn: 60, Expiry: soon}, Config{}, 20 * time.Minute},
		} {
			test.cfg.Cache = newCache(t)
			s, err := New(oauth2.StaticTokenSource(&test.token), test.cfg)
			if err != nil {
				t.Fatal(err)
			}
			a, err := s.s.handle.Get(t.Context())
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := a.Credential.Lifetime(); got != test.want {
				t.Errorf("%s: got a lifetime of %v, want %v", name, got, test.want)
			}
			if got := mustToken(t, s).Expiry; got.IsZero() != (test.want == 0) {
				t.Errorf("%s: got Expiry %v", name, got)
			}
		}
		for name, token := range map[string]*oauth2.Token{
			"expired": {AccessToken: "opaque", Expiry: time.Now().Add(-time.Second)}, "an expired JWT": {AccessToken: jwt(`{"exp":1}`)},
			"empty": {Expiry: soon}, "no": nil, "of a century": {AccessToken: "opaque", ExpiresIn: 1 << 62},
		} {
			if tok, err := wrap(t, oauth2.StaticTokenSource(token)).Token(); !errors.Is(err, freshet.Malformed) {
				t.Errorf("%s token: got %v, %v; want an error of kind malformed", name, tok, err)
			}
		}
	})
}

func TestRejectedTokenIsReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		s := wrap(t, oauth2.ReuseTokenSource(nil, f)) // as Config.TokenSource returns
		refused := mustToken(t, s)
		time.Sleep(10 * time.Minute)
		for range 20 {
			if !s.Reject(refused) {
				t.Fatal("Reject does not know the token that is served")
			}
		}
		got := mustToken(t, s)
		if left := time.Until(got.Expiry); got.AccessToken != refused.AccessToken || left > early+renewal || !got.Valid() {
			t.Errorf("until there is another: got %q for %v, want the same for at most %v", got.AccessToken, left, early+renewal)
		}
		if got, err := s.Replace(t.Context(), refused); err != nil || got.AccessToken != "token-2" {
			t.Errorf("who waits for another got %v, %v", got, err)
		}
		if s.Reject(refused) || s.Reject(nil) || s.Reject(&oauth2.Token{}) {
			t.Error("Reject takes a token for served that is not")
		}
		if got := mustToken(t, s); got.AccessToken != "token-2" {
			t.Errorf("got %q, want the replacement", got.AccessToken)
		}
		wantCalls(t, f, 2)
	})
}

func TestRetrievalsDoNotOverlapThoughOneOutlivesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: 8 * time.Second}
		s, err := New(f, Config{Cache: newCache(t), Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := s.Token(); !errors.Is(err, freshet.Unavailable) || time.Since(began) != 5*time.Second {
			t.Errorf("got %v after %v, want an error after the 5s of its Timeout", err, time.Since(began))
		}
		time.Sleep(5 * time.Second)
		if got := mustToken(t, s); got.AccessToken != "token-1" || got.Extra("id_token") != "id-1" {
			t.Errorf("got %q with extra %v, want what came late", got.AccessToken, got.Extra("id_token"))
		}
		if n := f.peak.Load(); n != 1 {
			t.Errorf("%d calls of the source ran at once", n)
		}
		time.Sleep(10 * time.Second)
	})
}

func TestSourcePrintsNoSecret(t *testing.T) {
	s := Wrap(&fake{})
	tok := mustToken(t, s)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		for _, v := range []any{s, *s} {
			text := fmt.Sprintf(verb, v)
			freshettest.LeakedSecrets(t, text, refreshToken)
			if strings.Contains(text, tok.AccessToken) || !strings.HasPrefix(text, "identity oauth2") {
				t.Errorf("with %s it prints as %q", verb, text)
			}
		}
	}
}

func TestNestedSourcesAreNoCycle(t *testing.T) {
	mustToken(t, Wrap(Wrap(&fake{})))
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
	defer func() {
		if recover() == nil {
			t.Error("Wrap(nil) does not panic")
		}
	}()
	Wrap(nil)
}
