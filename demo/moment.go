package demo

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"freshet.dev/client"
	"freshet.dev/freshet"
	"freshet.dev/lab"
)

// most is how many callers a moment has at most.
const most = 50

// momentLatency is how long the issuer takes meanwhile: somebody is to give up before it answers.
const momentLatency = time.Second

// cancelled has the first of n callers ask, the others join while its retrieval is under way, and the first give up. They are
// clients of x/oauth2, one each.
func (s *stage) cancelled(ctx context.Context, n int, newClient func() *clientcredentials.Config) (Moment, error) {
	s.cloud.Reset()
	m := Moment{Callers: n, Cancelled: 1}
	first, giveUp := context.WithCancel(ctx)
	defer giveUp()
	gaveUp := make(chan error, 1)
	go func() {
		_, err := newClient().Token(first)
		gaveUp <- err
	}()
	if err := s.asked(ctx, lab.OAuth); err != nil {
		return m, err
	}
	var joined, ended sync.WaitGroup
	var mu sync.Mutex
	for range n - 1 {
		joined.Add(1)
		ended.Go(func() {
			there := sync.OnceFunc(joined.Done)
			defer there()
			traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { there() }})
			if _, err := newClient().Token(traced); err == nil {
				mu.Lock()
				defer mu.Unlock()
				m.Served++
			}
		})
	}
	joined.Wait()
	giveUp()
	if <-gaveUp == nil { // the machine is so slow that it had been answered
		m.Cancelled = 0
		m.Served++
	}
	ended.Wait()
	m.IssuerCalls = s.calls()
	return m, ctx.Err()
}

// asked waits until an issuer has been asked.
func (s *stage) asked(ctx context.Context, issuer string) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	for s.cloud.Count(issuer).Requests == 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return freshet.AsError(ctx.Err())
		case <-late.C:
			return freshet.Errorf(freshet.Unavailable, "demo: a caller did not reach its issuer")
		}
	}
	return nil
}

// rejected has n callers, each of which a service has refused the same credential, ask for another.
func (s *stage) rejected(n int, another func() error) Moment {
	s.cloud.Reset()
	m := Moment{Callers: n}
	var mu sync.Mutex
	var ended sync.WaitGroup
	for range n {
		ended.Go(func() {
			if another() == nil {
				mu.Lock()
				defer mu.Unlock()
				m.Served++
			}
		})
	}
	ended.Wait()
	m.IssuerCalls = s.calls()
	return m
}

// moments shows both, without freshet and with it.
func (s *stage) moments(ctx context.Context, l *Ledger) error {
	// Connections of its own, which end here and not with the process.
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: transport})
	daemon, base, err := s.daemon(ctx)
	if err != nil {
		return err
	}
	defer daemon.end()
	alone := func() *clientcredentials.Config {
		secrets := s.cloud.Credentials()
		return &clientcredentials.Config{TokenURL: s.paths.OAuthToken, ClientID: secrets.ClientID, ClientSecret: secrets.ClientSecret}
	}
	brokered := func() *clientcredentials.Config {
		return &clientcredentials.Config{TokenURL: base + "/token", ClientID: identity, ClientSecret: s.door}
	}
	if err := s.giveUp(ctx, &l.Cancelled, alone, brokered); err != nil {
		return err
	}
	return s.refuse(ctx, &l.Rejected, alone)
}

// giveUp has one of some callers give up, on both sides.
func (s *stage) giveUp(ctx context.Context, m *Moments, alone, brokered func() *clientcredentials.Config) (err error) {
	defer s.progress.begin("one caller gives up", nothing)()
	if err := s.cloud.Set(lab.OAuth, lab.Settings{Latency: momentLatency}); err != nil {
		return err
	}
	n := min(most, s.cfg.Callers)
	if m.Without, err = s.cancelled(ctx, n, alone); err != nil {
		return err
	}
	m.With, err = s.cancelled(ctx, n, brokered)
	return err
}

// refuse has a service refuse what some callers hold, on both sides.
func (s *stage) refuse(ctx context.Context, m *Moments, alone func() *clientcredentials.Config) error {
	defer s.progress.begin("one credential is refused", nothing)()
	if err := s.cloud.Set(lab.OAuth, lab.Settings{Latency: latency}); err != nil {
		return err
	}
	n := min(most, s.cfg.Callers)
	m.Without = s.rejected(n, func() error {
		_, err := alone().Token(ctx) // with nobody to tell, a caller gets itself another
		return err
	})
	held, err := s.local(ctx, freshet.Request{})
	if err != nil {
		return err
	}
	m.With = s.rejected(n, func() error {
		_, err := s.local(ctx, freshet.Request{Rejected: held})
		return err
	})
	return ctx.Err()
}

// local asks the daemon's own API, by a client and a connection of its own, and returns the credential's fingerprint. It is an
// error if that is the version that was refused.
func (s *stage) local(ctx context.Context, req freshet.Request) (fingerprint string, err error) {
	c := client.New(client.Config{Socket: s.socket()})
	defer c.Close()
	a, err := c.Credential(ctx, identity, req)
	if err != nil {
		return "", err
	}
	fingerprint = a.Credential.Fingerprint()
	if fingerprint == req.Rejected {
		return "", freshet.Errorf(freshet.Bug, "demo: the refused version was served again")
	}
	return fingerprint, nil
}
