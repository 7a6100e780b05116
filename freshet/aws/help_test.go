package aws

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"freshet.dev/freshet"
	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	secretKey    = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
	sessionToken = "FwoGZXIvYXdzEXAMPLEsessiontoken"
	answerText   = "the issuer's answer quotes hunter2-hunter2"
)

// fake is a provider whose every answer is another version.
type fake struct {
	takes    time.Duration // per retrieval
	lifetime time.Duration // 0: an hour
	calls    atomic.Int64
	reply    func(n int64) (aws.Credentials, error) // in place of the usual answer

	mu  sync.Mutex
	err error
}

func (f *fake) Retrieve(ctx context.Context) (aws.Credentials, error) {
	n := f.calls.Add(1)
	select {
	case <-time.After(f.takes):
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err()
	}
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	switch {
	case err != nil:
		return aws.Credentials{}, err
	case f.reply != nil:
		return f.reply(n)
	}
	return f.keys(n), nil
}

func (f *fake) keys(n int64) aws.Credentials {
	lifetime := f.lifetime
	if lifetime == 0 {
		lifetime = time.Hour
	}
	return aws.Credentials{
		AccessKeyID: fmt.Sprint("AKIA", n), SecretAccessKey: secretKey, SessionToken: sessionToken,
		Source: "fake", AccountID: "123456789012", CanExpire: true, Expires: time.Now().Add(lifetime),
	}
}

// fail makes the provider fail from now on; nil mends it.
func (f *fake) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// refusal is an error of an AWS API, as smithy's are.
type refusal struct{ code string }

func (r *refusal) Error() string     { return r.code + ": " + answerText }
func (r *refusal) ErrorCode() string { return r.code }

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

// wrap is a provider in a cache that ends with the test.
func wrap(t testing.TB, p aws.CredentialsProvider) *Provider {
	t.Helper()
	w, err := New(p, Config{Cache: newCache(t)})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return w
}

func mustRetrieve(t testing.TB, p aws.CredentialsProvider) aws.Credentials {
	t.Helper()
	keys, err := p.Retrieve(context.Background())
	if err != nil {
		t.Fatalf("Retrieve: %v", err)
	}
	return keys
}

func wantCalls(t testing.TB, f *fake, want int64) {
	t.Helper()
	if got := f.calls.Load(); got != want {
		t.Errorf("the provider was called %d times, want %d", got, want)
	}
}

// caller is what one of many callers at once got, and how long it took.
type caller struct {
	keys aws.Credentials
	err  error
	took time.Duration
}

// crowd has n callers ask at once.
func crowd(n int, p aws.CredentialsProvider) []caller {
	var wg sync.WaitGroup
	got := make([]caller, n)
	for i := range got {
		wg.Go(func() {
			began := time.Now()
			got[i].keys, got[i].err = p.Retrieve(context.Background())
			got[i].took = time.Since(began)
		})
	}
	wg.Wait()
	return got
}

// waited is how many took any time at all, and failed how many got an error.
func tally(got []caller) (waited, failed int) {
	for _, c := range got {
		if c.took > 0 {
			waited++
		}
		if c.err != nil {
			failed++
		}
	}
	return waited, failed
}
