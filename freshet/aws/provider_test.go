package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"github.com/aws/aws-sdk-go-v2/aws"
)

func TestCancelOfTheLeaderHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		p := wrap(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		led := make(chan error, 1)
		go func() {
			_, err := p.Retrieve(ctx)
			led <- err
		}()
		synctest.Wait()
		followers := make(chan []caller, 1)
		go func() { followers <- crowd(10, p) }()
		time.Sleep(500 * time.Millisecond)
		cancel()
		synctest.Wait()
		var canceled *aws.RequestCanceledError
		select {
		case err := <-led:
			if !errors.Is(err, context.Canceled) || !errors.As(err, &canceled) {
				t.Errorf("the leader got %v, want an aws.RequestCanceledError of context.Canceled", err)
			}
		default:
			t.Error("the leader still waits after its cancel")
		}
		got := <-followers
		for _, c := range got {
			if c.err != nil || c.took != time.Second {
				t.Errorf("a follower got error %v after %v, want keys after the second that the one retrieval takes", c.err, c.took)
			}
		}
		wantCalls(t, f, 1)
	})
}

func TestFollowerLeavesAtItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: 500 * time.Millisecond}
		p := wrap(t, f)
		go func() { _, _ = p.Retrieve(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := p.Retrieve(ctx)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != 30*time.Millisecond {
			t.Errorf("got %v after %v, want its deadline's error after 30ms", err, took)
		}
		time.Sleep(time.Second)
		wantCalls(t, f, 1)
	})
}

func TestProvidersOfOneCacheDoNotDelayEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(t)
		one := func(name string, f *fake) *Provider {
			p, err := New(f, Config{Name: name, Cache: cache})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		slow, quick := one("slow", &fake{takes: 2 * time.Second}), one("quick", &fake{})
		mustRetrieve(t, quick)
		go func() { _, _ = slow.Retrieve(context.Background()) }()
		synctest.Wait()
		began := time.Now()
		mustRetrieve(t, quick)
		if took := time.Since(began); took != 0 {
			t.Errorf("a hit took %v while another provider retrieved", took)
		}
		time.Sleep(3 * time.Second)

		began = time.Now()
		done := make(chan error)
		for i := range 1000 {
			p := one(fmt.Sprint("tenant-", i), &fake{takes: 50 * time.Millisecond})
			go func() {
				_, err := p.Retrieve(context.Background())
				done <- err
			}()
		}
		for range 1000 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("1,000 cold providers took %v, want the 50ms that one takes", took)
		}
	})
}

func TestCallersOfAFailingProviderShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: 50 * time.Millisecond}
		denied := &refusal{"AccessDenied"}
		f.fail(fmt.Errorf("operation error STS: AssumeRole, %w", denied))
		got := crowd(100, wrap(t, f))
		for _, c := range got {
			if c.err == nil || c.took != 50*time.Millisecond {
				t.Fatalf("got error %v after %v, want one after 50ms", c.err, c.took)
			}
		}
		wantCalls(t, f, 1)
		err := got[0].err
		if !errors.Is(err, denied) || !errors.Is(err, freshet.Denied) {
			t.Errorf("%v is neither of kind denied nor the provider's own", err)
		}
		if !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("%q does not name the code", err)
		}
		freshettest.LeakedSecrets(t, fmt.Sprintf("%v %+v %#v %q", err, err, err, err), "hunter2-hunter2", answerText)
	})
}

func TestFailuresAreOfAKind(t *testing.T) {
	for code, want := range map[string]freshet.Kind{
		"AccessDenied": freshet.Denied, "ExpiredToken": freshet.LoginNeeded, "Throttling": freshet.Unavailable,
		"SlowDown: hunter2-hunter2": freshet.Unavailable,
	} {
		err := failure(&refusal{code})
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want kind %q", code, err, want)
		}
		freshettest.LeakedSecrets(t, err.Error(), "hunter2-hunter2")
	}
	limited := &freshet.Error{Kind: freshet.Unavailable, Why: "throttled", Hint: "wait", RetryAfter: time.Minute}
	got, _ := errors.AsType[*freshet.Error](failure(fmt.Errorf("wrapped: %w", limited)))
	if got.RetryAfter != time.Minute || got.Hint != "wait" || got.Why != "throttled" {
		t.Errorf("of a freshet error it keeps %q, %q, %v", got.Why, got.Hint, got.RetryAfter)
	}
}

func TestPanicOfTheProviderIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: func(n int64) (aws.Credentials, error) { panic(answerText) }}
		p := wrap(t, f)
		for _, c := range crowd(10, p) {
			if !errors.Is(c.err, freshet.Bug) {
				t.Fatalf("got %v, want an error of kind bug", c.err)
			}
			freshettest.LeakedSecrets(t, c.err.Error(), answerText)
		}
		f.reply = nil
		time.Sleep(5 * time.Second)
		mustRetrieve(t, p)
	})
}

func TestValidKeysAreServedDuringAnOutage(t *testing.T) {
	// How many calls of one a second fail, from 15 to 4 minutes before the end.
	count := func(t *testing.T, f *fake, p aws.CredentialsProvider) (failed int) {
		mustRetrieve(t, p)
		time.Sleep(45 * time.Minute)
		f.fail(errDown)
		for range 11 * 60 {
			keys, err := p.Retrieve(context.Background())
			if err != nil {
				failed++
			} else if keys.CanExpire && !keys.Expires.After(time.Now()) {
				t.Fatalf("Expires is %v ago", time.Since(keys.Expires))
			}
			time.Sleep(time.Second)
		}
		return failed
	}
	t.Run("wrapped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{}
			if failed := count(t, f, wrap(t, f)); failed != 0 {
				t.Errorf("%d calls failed although the keys were valid", failed)
			}
			if n := f.calls.Load(); n > 30 {
				t.Errorf("the provider was called %d times in 11 minutes of outage, want no more than one in 30 s", n)
			}
		})
	})
	t.Run("an aws.CredentialsCache fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{}
			cache := aws.NewCredentialsCache(f, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 5 * time.Minute })
			if failed := count(t, f, cache); failed == 0 {
				t.Error("no call failed: freshet has no advantage here, and its documentation must not claim one")
			}
		})
	})
}

func TestNobodyWaitsForARefresh(t *testing.T) {
	// How many of 20 callers, every ten seconds for an hour and a half, waited for a provider that takes a second.
	count := func(t *testing.T, f *fake, p aws.CredentialsProvider) (all int) {
		f.takes = time.Second
		mustRetrieve(t, p)
		for range 9 * 60 {
			time.Sleep(10 * time.Second)
			waited, failed := tally(crowd(20, p))
			if all += waited; failed != 0 {
				t.Fatalf("%d failed", failed)
			}
		}
		return all
	}
	for name, test := range map[string]struct {
		over  func(t *testing.T, f *fake) aws.CredentialsProvider
		waits bool
	}{
		"wrapped":                        {func(t *testing.T, f *fake) aws.CredentialsProvider { return wrap(t, f) }, false},
		"wrapped, CredentialsCache over": {func(t *testing.T, f *fake) aws.CredentialsProvider { return aws.NewCredentialsCache(wrap(t, f)) }, false},
		"wrapped, CredentialsCache over with a window": {func(t *testing.T, f *fake) aws.CredentialsProvider {
			return aws.NewCredentialsCache(wrap(t, f), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 5 * time.Minute })
		}, false},
		"wrapped over a CredentialsCache": {func(t *testing.T, f *fake) aws.CredentialsProvider { return wrap(t, aws.NewCredentialsCache(f)) }, false},
		"a CredentialsCache alone":        {func(t *testing.T, f *fake) aws.CredentialsProvider { return aws.NewCredentialsCache(f) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				waited := count(t, f, test.over(t, f))
				if (waited > 0) != test.waits {
					t.Errorf("%d callers waited for a refresh, want any: %v", waited, test.waits)
				}
				if n := f.calls.Load(); n < 2 || n > 4 {
					t.Errorf("the provider was called %d times in 90 minutes of keys of one hour", n)
				}
			})
		})
	}
}

func TestKeysWithLittleLifeAreNotFetchedAtEveryCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(4 * time.Minute)
		f := &fake{}
		f.reply = func(int64) (aws.Credentials, error) {
			keys := f.keys(1) // from a cache that has nothing newer
			keys.Expires = end
			return keys, nil
		}
		p := wrap(t, f)
		for range 100 {
			mustRetrieve(t, p)
			time.Sleep(100 * time.Millisecond)
		}
		wantCalls(t, f, 1)
	})
}

func TestKeysKeepTheirFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := wrap(t, f)
		began := time.Now()
		got := mustRetrieve(t, p)
		if !got.CanExpire || !got.Expires.After(began) || got.Expires.After(began.Add(45*time.Minute)) || got.Expired() {
			t.Errorf("Expires is %v from now, want the time of the refresh, at 45 of 60 minutes or a little sooner", got.Expires.Sub(began))
		}
		want := f.keys(1)
		want.Expires = got.Expires
		if got != want {
			t.Errorf("got %s of %s in %s, want them as the provider gave them", got.AccessKeyID, got.Source, got.AccountID)
		}
		time.Sleep(50 * time.Minute)
		mustRetrieve(t, p)
		synctest.Wait()
		if got := mustRetrieve(t, p); got.AccessKeyID != "AKIA2" || got.Source != "fake" || got.AccountID != want.AccountID {
			t.Errorf("after the refresh: got %s of %q in %q", got.AccessKeyID, got.Source, got.AccountID)
		}
	})
}

func TestExpiresIsNeverPastNorAfterTheEnd(t *testing.T) {
	for _, lifetime := range []time.Duration{3 * time.Second, 30 * time.Second, 5 * time.Minute, 20 * time.Minute, time.Hour, 12 * time.Hour} {
		t.Run(lifetime.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{lifetime: lifetime}
				p := wrap(t, f)
				began := time.Now()
				mustRetrieve(t, p)
				f.fail(errDown)
				served := 0
				for range 1000 {
					keys, err := p.Retrieve(context.Background())
					if err != nil {
						break
					}
					if served++; !keys.Expires.After(time.Now()) || keys.Expires.After(began.Add(lifetime)) {
						t.Fatalf("after %v Expires is at %v", time.Since(began), keys.Expires.Sub(began))
					}
					time.Sleep(lifetime / 200)
				}
				least := 190
				if lifetime < 25*time.Second { // half a second before their end is too late
					least = 160
				}
				if served < least || served > 201 {
					t.Errorf("served in %d of 200 steps of the keys' life", served)
				}
			})
		})
	}
}

func TestKeysThatDoNotExpireAreRetrievedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.reply = func(int64) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: secretKey, Source: "env"}, nil
		}
		p := wrap(t, f)
		for range 10 {
			if got := mustRetrieve(t, p); got.CanExpire || !got.Expires.IsZero() || got.Expired() || got.Source != "env" {
				t.Fatalf("got keys that can expire: %v, at %v, of %s", got.CanExpire, got.Expires, got.Source)
			}
			time.Sleep(24 * time.Hour)
		}
		wantCalls(t, f, 1)
	})
}

func TestRejectedKeysAreReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		p := wrap(t, f)
		refused := mustRetrieve(t, p)
		time.Sleep(10 * time.Minute)
		for range 20 {
			if !p.Reject(refused) {
				t.Fatal("Reject does not know the keys that are served")
			}
		}
		got := mustRetrieve(t, p)
		if left := time.Until(got.Expires); got.AccessKeyID != refused.AccessKeyID || left > renewal || left <= 0 {
			t.Errorf("until there are others: got %s for %v, want the same for at most %v", got.AccessKeyID, left, renewal)
		}
		if got, err := p.Replace(t.Context(), refused); err != nil || got.AccessKeyID != "AKIA2" {
			t.Errorf("who waits for others got %s, %v", got.AccessKeyID, err)
		}
		if p.Reject(refused) {
			t.Error("Reject takes keys for served that were replaced")
		}
		if got := mustRetrieve(t, p); got.AccessKeyID != "AKIA2" {
			t.Errorf("got %s, want the replacement", got.AccessKeyID)
		}
		wantCalls(t, f, 2)
	})
}

func TestRejectReachesThroughACredentialsCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := wrap(t, aws.NewCredentialsCache(f)) // as config makes one
		over := aws.NewCredentialsCache(p)
		refused := mustRetrieve(t, over)
		time.Sleep(10 * time.Minute)
		p.Reject(refused)
		synctest.Wait()
		over.Invalidate()
		if got := mustRetrieve(t, over); got.AccessKeyID != "AKIA2" {
			t.Errorf("got %s, want others than were refused", got.AccessKeyID)
		}
		over.Invalidate() // and once more, for nothing
		mustRetrieve(t, over)
		wantCalls(t, f, 2)
	})
}

// instance is a provider like ec2rolecreds.Provider: its keys go on past their end while it has no others.
type instance struct{ fake }

func (*instance) ProviderSources() []aws.CredentialSource {
	return []aws.CredentialSource{aws.CredentialSourceIMDS}
}

func (*instance) HandleFailToRefresh(_ context.Context, keys aws.Credentials, err error) (aws.Credentials, error) {
	if !keys.CanExpire {
		return aws.Credentials{}, err
	}
	if keys.Expires.Before(time.Now().Add(5 * time.Minute)) {
		keys.Expires = time.Now().Add(10 * time.Minute)
	}
	return keys, nil
}

func TestKeysOfAnInstanceOutliveAnOutage(t *testing.T) {
	for name, over := range map[string]func(t *testing.T, i *instance) aws.CredentialsProvider{
		"bare":                 func(_ *testing.T, i *instance) aws.CredentialsProvider { return aws.NewCredentialsCache(i) },
		"wrapped":              func(t *testing.T, i *instance) aws.CredentialsProvider { return wrap(t, i) },
		"wrapped, cache over":  func(t *testing.T, i *instance) aws.CredentialsProvider { return aws.NewCredentialsCache(wrap(t, i)) },
		"wrapped over a cache": func(t *testing.T, i *instance) aws.CredentialsProvider { return wrap(t, aws.NewCredentialsCache(i)) },
		"wrapped between two caches": func(t *testing.T, i *instance) aws.CredentialsProvider {
			return aws.NewCredentialsCache(wrap(t, aws.NewCredentialsCache(i)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := &instance{}
				p := over(t, i)
				ask := func(n int) (failed int) {
					for range n {
						if _, err := p.Retrieve(t.Context()); err != nil {
							failed++
						}
						time.Sleep(30 * time.Second)
					}
					return failed
				}
				ask(60)
				i.fail(errDown)
				if failed := ask(240); failed != 0 {
					t.Errorf("%d of 240 calls in 2 hours of outage failed", failed)
				}
				if n := i.calls.Load(); n > 60 {
					t.Errorf("the provider was called %d times", n)
				}
				i.fail(nil)
				if failed := ask(60); failed != 0 {
					t.Errorf("%d of 60 calls after the outage failed", failed)
				}
				if got, n := mustRetrieve(t, p).AccessKeyID, i.calls.Load(); got == "AKIA1" {
					t.Errorf("got %s after %d calls, half an hour after the outage", got, n)
				}
			})
		})
	}
}

func TestNobodyWaitsWhileAnInstancesKeysAreExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &instance{fake{takes: 5 * time.Second}}
		p := wrap(t, i)
		mustRetrieve(t, p)
		i.fail(errDown)
		for range 3 * 360 {
			time.Sleep(10 * time.Second)
			began := time.Now()
			mustRetrieve(t, p)
			if took := time.Since(began); took != 0 {
				t.Fatalf("a caller waited for %v", took)
			}
		}
	})
}

// role is a provider whose keys are made from an instance's, and which has nothing to extend them with.
type role struct{ fake }

func (*role) ProviderSources() []aws.CredentialSource {
	return []aws.CredentialSource{aws.CredentialSourceIMDS, aws.CredentialSourceSTSAssumeRole}
}

func TestRoleOfAnInstanceIsRefreshedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &role{}
		p := wrap(t, aws.NewCredentialsCache(r))
		mustRetrieve(t, p)
		time.Sleep(50 * time.Minute)
		mustRetrieve(t, p)
		synctest.Wait()
		if got := mustRetrieve(t, p); got.AccessKeyID != "AKIA2" {
			t.Errorf("got %s ten minutes before the end, want the next ones", got.AccessKeyID)
		}
	})
}

func TestReplacementThatIsDueItselfExpiresInTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := wrap(t, f)
		refused := mustRetrieve(t, p)
		time.Sleep(10 * time.Minute)
		if _, err := p.Replace(t.Context(), refused); err != nil {
			t.Fatal(err)
		}
		f.fail(errDown)
		time.Sleep(50 * time.Minute)
		got, err := p.Replace(t.Context(), refused)
		if left := time.Until(got.Expires); err != nil || got.AccessKeyID != "AKIA2" || left <= 0 || left > renewal {
			t.Errorf("got %s, %v, which Expires in %v", got.AccessKeyID, err, left)
		}
	})
}

func TestNestedProvidersAreNoCycle(t *testing.T) {
	inner := Wrap(&fake{})
	outer := Wrap(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) { return inner.Retrieve(ctx) }))
	mustRetrieve(t, outer)

	var self *Provider
	self = Wrap(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) { return self.Retrieve(ctx) }))
	if _, err := self.Retrieve(t.Context()); !errors.Is(err, freshet.Invalid) {
		t.Errorf("a provider that asks itself got %v, want an error of kind invalid, at once", err)
	}
}

func TestWindowOfACredentialsCacheLeavesExpiresAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := wrap(t, &fake{})
		over := aws.NewCredentialsCache(p, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 50 * time.Minute })
		want := mustRetrieve(t, p).Expires
		if got := mustRetrieve(t, over).Expires; !got.Equal(want) {
			t.Errorf("Expires is %v earlier: the cache would ask at every call", want.Sub(got))
		}
	})
}

type sourced struct{ fake }

func (*sourced) ProviderSources() []aws.CredentialSource {
	return []aws.CredentialSource{aws.CredentialSourceSSO}
}

func TestTheSDKSeesTheWrappedProvider(t *testing.T) {
	if !aws.IsCredentialsProvider(Wrap(aws.AnonymousCredentials{}), (*aws.AnonymousCredentials)(nil)) {
		t.Error("anonymous credentials are not known for such")
	}
	p := Wrap(&sourced{})
	if aws.IsCredentialsProvider(p, (*aws.AnonymousCredentials)(nil)) || !aws.IsCredentialsProvider(p, (*Provider)(nil)) ||
		!aws.IsCredentialsProvider(p, (*sourced)(nil)) {
		t.Error("a provider is taken for another")
	}
	if got := p.ProviderSources(); len(got) != 1 || got[0] != aws.CredentialSourceSSO {
		t.Errorf("ProviderSources: got %v", got)
	}
	if got := Wrap(&fake{}).ProviderSources(); len(got) != 0 {
		t.Errorf("ProviderSources of one that has none: got %v", got)
	}
}

func TestProviderPrintsNoSecret(t *testing.T) {
	p := Wrap(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return (&fake{}).keys(1), nil }))
	mustRetrieve(t, p)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		for _, v := range []any{p, *p} {
			if text := fmt.Sprintf(verb, v); !strings.HasPrefix(text, "identity aws") {
				t.Errorf("with %s it prints as %q", verb, text)
			}
		}
		freshettest.LeakedSecrets(t, fmt.Sprintf(verb, aws.Config{Credentials: p}), secretKey, sessionToken)
	}
}

func TestWrapRefusesWhatItCannotWrap(t *testing.T) {
	cache := newCache(t)
	for name, test := range map[string]struct {
		p   aws.CredentialsProvider
		cfg Config
	}{"nothing": {nil, Config{}}, "a name that is taken": {&fake{}, Config{Name: "one", Cache: cache}}} {
		if name != "nothing" {
			if _, err := New(test.p, test.cfg); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := New(test.p, test.cfg); !errors.Is(err, freshet.Invalid) {
			t.Errorf("%s: got %v, want an error of kind invalid", name, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Wrap(nil) does not panic")
		}
	}()
	Wrap(nil)
}

func TestProviderThatIgnoresItsContextKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p, err := New(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			<-release
			return (&fake{}).keys(7), nil
		}), Config{Cache: newCache(t), Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = p.Retrieve(t.Context())
		if took := time.Since(began); !errors.Is(err, freshet.Unavailable) || took != 5*time.Second {
			t.Errorf("got %v after %v, want an error after the 5s of its Timeout", err, took)
		}
		close(release)
		synctest.Wait()
		if got := mustRetrieve(t, p); got.AccessKeyID != "AKIA7" || got.Source != "fake" {
			t.Errorf("what came late is %s of %q", got.AccessKeyID, got.Source)
		}
	})
}
