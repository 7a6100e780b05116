// Package issuer is an issuer of tokens in memory: no socket, no connection, and an answer after as long as it is told to take. What
// a case then measures is what its subjects do around a call, and they all have the same issuer.
//
// It is asked by a function, as sources of most libraries are ([Issuer.Token]), or over HTTP without a network, by the libraries
// that bring their own requests ([Issuer.RoundTrip]).
package issuer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Issuer answers every token call with a new token. Its methods may be called by many goroutines.
type Issuer struct {
	calls, running atomic.Int64

	mu      sync.Mutex
	with    settings
	closers []func()
}

// settings are how a call is answered: those that it began under.
type settings struct {
	takes     time.Duration
	discovery time.Duration
	lifetime  time.Duration
	refreshIn time.Duration
	fail      error
	panics    bool
}

// New returns an issuer that answers at once, with tokens that live for an hour.
func New() *Issuer { return &Issuer{with: settings{lifetime: time.Hour}} }

// SetTakes is how long a token call takes, whatever comes of it. A caller whose context ends leaves at once.
func (i *Issuer) SetTakes(d time.Duration) { i.set(func(s *settings) { s.takes = d }) }

// SetDiscoveryTakes is how long an answer to discovery takes; 0 unless set, so that token calls alone are compared.
func (i *Issuer) SetDiscoveryTakes(d time.Duration) { i.set(func(s *settings) { s.discovery = d }) }

// SetLifetime is how long tokens live.
func (i *Issuer) SetLifetime(d time.Duration) { i.set(func(s *settings) { s.lifetime = d }) }

// SetRefreshIn is when the issuer wishes a token replaced, after it was issued; 0: it does not say.
func (i *Issuer) SetRefreshIn(d time.Duration) { i.set(func(s *settings) { s.refreshIn = d }) }

// SetFail has token calls fail; nil: they work. A [*Refusal] is an answer over HTTP, any other error a broken connection.
func (i *Issuer) SetFail(err error) { i.set(func(s *settings) { s.fail = err }) }

// SetPanics has token calls panic in their caller.
func (i *Issuer) SetPanics(on bool) { i.set(func(s *settings) { s.panics = on }) }

func (i *Issuer) set(change func(*settings)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(&i.with)
}

func (i *Issuer) settings() settings {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.with
}

// Calls is how many token calls were begun since [New] or Reset. Discovery does not count.
func (i *Issuer) Calls() int64 { return i.calls.Load() }

// Reset sets the count of calls to zero. How they are answered stays as it was set.
func (i *Issuer) Reset() { i.calls.Store(0) }

// Running is how many token calls are under way.
func (i *Issuer) Running() int64 { return i.running.Load() }

// OnClose has f called by Close, last come first served.
func (i *Issuer) OnClose(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closers = append(i.closers, f)
}

// Close ends what was put in front of the issuer and has something to end.
func (i *Issuer) Close() {
	i.mu.Lock()
	closers := i.closers
	i.closers = nil
	i.mu.Unlock()
	for n := len(closers) - 1; n >= 0; n-- {
		closers[n]()
	}
}

// Token is a token call.
func (i *Issuer) Token(ctx context.Context, w Wanted) (Token, error) {
	n := i.calls.Add(1)
	i.running.Add(1)
	defer i.running.Add(-1)
	with := i.settings()
	issued := time.Now()
	if err := wait(ctx, with.takes); err != nil {
		return Token{}, err
	}
	if with.panics {
		panic("the issuer's client panics")
	}
	if with.fail != nil {
		return Token{}, with.fail
	}
	t := Token{Issued: issued, Expires: issued.Add(with.lifetime)}
	if with.refreshIn > 0 {
		t.RefreshAt = issued.Add(with.refreshIn)
	}
	t.Secret = secret(w, n, t.Expires)
	return t, nil
}

// wait waits for a time, or for a context's end.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
