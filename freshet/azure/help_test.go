package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"freshet.dev/freshet"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

const answerText = "the issuer's answer quotes hunter2-hunter2"

var graph = policy.TokenRequestOptions{Scopes: []string{"https://graph.example/.default"}, EnableCAE: true}

// fake is a credential whose every answer is another version.
type fake struct {
	takes    time.Duration // per retrieval
	lifetime time.Duration // 0: an hour
	refresh  time.Duration // RefreshOn, from the answer on; 0: none
	calls    atomic.Int64
	reply    func(n int64, o policy.TokenRequestOptions) (azcore.AccessToken, error) // in place of the usual answer

	mu    sync.Mutex
	err   error
	asked []policy.TokenRequestOptions
}

func (f *fake) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	n := f.calls.Add(1)
	f.mu.Lock()
	f.asked = append(f.asked, o)
	takes := f.takes
	f.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return azcore.AccessToken{}, ctx.Err()
		}
	}
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	switch {
	case err != nil:
		return azcore.AccessToken{}, err
	case f.reply != nil:
		return f.reply(n, o)
	}
	return f.token(n), nil
}

func (f *fake) token(n int64) azcore.AccessToken {
	lifetime := f.lifetime
	if lifetime == 0 {
		lifetime = time.Hour
	}
	t := azcore.AccessToken{Token: fmt.Sprintf("token-%d", n), ExpiresOn: time.Now().Add(lifetime)}
	if f.refresh != 0 {
		t.RefreshOn = time.Now().Add(f.refresh)
	}
	return t
}

// fail makes the credential fail from now on; nil mends it.
func (f *fake) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// slow makes retrievals take so long from now on.
func (f *fake) slow(takes time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.takes = takes
}

// claims are those that the credential was asked for, in order.
func (f *fake) claims() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, o := range f.asked {
		list = append(list, o.Claims)
	}
	return list
}

// AuthenticationFailedError is in the shape of azidentity's: not to be retried, with the answer in a field.
type AuthenticationFailedError struct{ RawResponse *http.Response }

func (*AuthenticationFailedError) Error() string { return answerText }
func (*AuthenticationFailedError) NonRetriable() {}

// embedding has the answer's field by way of a nil pointer.
type embedding struct{ *AuthenticationFailedError }

func (*embedding) Error() string { return answerText }

// credentialUnavailable is what ChainedTokenCredential looks for, in the shape of azidentity's.
type credentialUnavailable interface {
	error
	credentialUnavailable()
}

type unavailableError struct{}

func (*unavailableError) Error() string          { return answerText }
func (*unavailableError) NonRetriable()          {}
func (*unavailableError) credentialUnavailable() {}

var errDown = errors.New(answerText)

func newCache(t testing.TB) *freshet.Cache {
	t.Helper()
	c := freshet.NewCache(freshet.CacheConfig{})
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// wrap is a credential in a cache that ends with the test.
func wrap(t testing.TB, cred azcore.TokenCredential) *Credential {
	t.Helper()
	c, err := New(cred, Config{Cache: newCache(t)})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return c
}

func mustGet(t testing.TB, cred azcore.TokenCredential, o policy.TokenRequestOptions) azcore.AccessToken {
	t.Helper()
	tk, err := cred.GetToken(context.Background(), o)
	if err != nil {
		t.Fatalf("GetToken: %v", err)
	}
	return tk
}

func wantCalls(t testing.TB, f *fake, want int64) {
	t.Helper()
	if got := f.calls.Load(); got != want {
		t.Errorf("the credential was called %d times, want %d", got, want)
	}
}

// caller is what one of many callers at once got, and how long it took.
type caller struct {
	token string
	err   error
	took  time.Duration
}

// crowd has n callers ask at once.
func crowd(n int, ask func() (string, error)) []caller {
	var wg sync.WaitGroup
	got := make([]caller, n)
	for i := range got {
		wg.Go(func() {
			began := time.Now()
			got[i].token, got[i].err = ask()
			got[i].took = time.Since(began)
		})
	}
	wg.Wait()
	return got
}

// direct asks a credential.
func direct(cred azcore.TokenCredential, o policy.TokenRequestOptions) func() (string, error) {
	return func() (string, error) {
		tk, err := cred.GetToken(context.Background(), o)
		return tk.Token, err
	}
}

// client is a pipeline of azcore's, with its bearer token and retry policies, to a service.
func client(cred azcore.TokenCredential, serve service) func() (string, error) {
	bearer := runtime.NewBearerTokenPolicy(cred, graph.Scopes, nil)
	pipeline := runtime.NewPipeline("test", "v1", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}}, &policy.ClientOptions{Transport: serve})
	return func() (string, error) {
		req, err := runtime.NewRequest(context.Background(), http.MethodGet, "https://service.example/")
		if err != nil {
			return "", err
		}
		resp, err := pipeline.Do(req)
		if err != nil {
			return "", err
		}
		if resp.StatusCode != http.StatusOK {
			return "", fmt.Errorf("status %d", resp.StatusCode)
		}
		return resp.Request.Header.Get("Authorization"), nil
	}
}

// service answers requests by what a function says to the token they bring: "" accepts it, anything else is a challenge.
type service func(token string) (challenge string)

func (s service) Do(req *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}
	if challenge := s(req.Header.Get("Authorization")); challenge != "" {
		resp.StatusCode = http.StatusUnauthorized
		resp.Header.Set("WWW-Authenticate", challenge)
	}
	return resp, nil
}

func welcome(string) string { return "" }
