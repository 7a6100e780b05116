package oauth2

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
	"golang.org/x/oauth2"
)

const (
	answerText   = "the issuer's answer quotes hunter2-hunter2"
	refreshToken = "refresh-9f8e7d6c5b4a"
)

// fake is a token source whose every answer is another version.
type fake struct {
	takes    time.Duration // per retrieval
	lifetime time.Duration // 0: an hour
	calls    atomic.Int64
	running  atomic.Int64
	peak     atomic.Int64
	reply    func(n int64) (*oauth2.Token, error) // in place of the usual answer

	mu  sync.Mutex
	err error
}

func (f *fake) Token() (*oauth2.Token, error) {
	n := f.calls.Add(1)
	f.peak.Store(max(f.peak.Load(), f.running.Add(1)))
	defer f.running.Add(-1)
	if f.takes > 0 {
		<-time.After(f.takes)
	}
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case f.reply != nil:
		return f.reply(n)
	}
	return f.token(n), nil
}

func (f *fake) token(n int64) *oauth2.Token {
	lifetime := f.lifetime
	if lifetime == 0 {
		lifetime = time.Hour
	}
	t := &oauth2.Token{
		AccessToken: fmt.Sprintf("token-%d", n), TokenType: "bearer", RefreshToken: refreshToken, Expiry: time.Now().Add(lifetime),
	}
	return t.WithExtra(map[string]any{"id_token": fmt.Sprintf("id-%d", n)})
}

// fail makes the source fail from now on; nil mends it.
func (f *fake) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

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

// wrap is a source in a cache that ends with the test.
func wrap(t testing.TB, src oauth2.TokenSource) *Source {
	t.Helper()
	w, err := New(src, Config{Cache: newCache(t)})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return w
}

func mustToken(t testing.TB, src oauth2.TokenSource) *oauth2.Token {
	t.Helper()
	tok, err := src.Token()
	if err != nil {
		t.Fatalf("Token: %v", err)
	}
	return tok
}

func wantCalls(t testing.TB, f *fake, want int64) {
	t.Helper()
	if got := f.calls.Load(); got != want {
		t.Errorf("the source was called %d times, want %d", got, want)
	}
}

// caller is what one of many callers at once got, and how long it took.
type caller struct {
	err  error
	took time.Duration
}

// crowd has n callers ask at once.
func crowd(n int, src oauth2.TokenSource) []caller {
	var wg sync.WaitGroup
	got := make([]caller, n)
	for i := range got {
		wg.Go(func() {
			began := time.Now()
			_, got[i].err = src.Token()
			got[i].took = time.Since(began)
		})
	}
	wg.Wait()
	return got
}

// server answers requests by what a function says to the token they bring.
type server func(token string) *http.Response

func (s server) RoundTrip(req *http.Request) (*http.Response, error) {
	resp := s(req.Header.Get("Authorization"))
	resp.Request = req
	resp.Body = http.NoBody
	return resp, nil
}
