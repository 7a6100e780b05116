package metrics

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"freshet.dev/broker"
	"freshet.dev/freshet"
)

// said are issuers as a scrape tells them.
type said struct {
	hosts   *labels
	runways []broker.Runway
	states  []freshet.IssuerState
}

func (s said) Describe(ch chan<- *prometheus.Desc) { reader{}.Describe(ch) }

func (s said) Collect(ch chan<- prometheus.Metric) { channel(ch).issuers(s.hosts, s.runways, s.states) }

// check compares samples of a scrape; one that is to be "" is not to be there.
func check(t *testing.T, text string, want map[string]string) {
	t.Helper()
	for sample, want := range want {
		if got := value(text, sample); got != want {
			t.Errorf("%s is %q, want %q", sample, got, want)
		}
	}
}

func TestIssuersAreToldByHost(t *testing.T) {
	m := New("v1")
	block := freshet.Errorf(freshet.Unavailable, "answered 429")
	m.registry.MustRegister(said{&m.hosts, []broker.Runway{
		{Identity: "id", Seconds: 600, Known: true}, {Identity: "unwanted"},
		{Issuer: "login.example", Seconds: 600, Known: true}, {Issuer: "quiet.example"},
	}, []freshet.IssuerState{
		{Target: freshet.Target{Host: "login.example", Tenant: "planted-tenant-a", Client: "planted-client"}, Flights: 2, Failures: 1},
		{Target: freshet.Target{Host: "login.example"}, Whole: true, Flights: 3, Waiting: 3},
		{Target: freshet.Target{Host: "login.example", Tenant: "planted-tenant-b"}, Block: block, RetryIn: 40 * time.Second, Failures: 4, Flights: 1},
		{Target: freshet.Target{Host: "login.example", Tenant: "planted-tenant-c"}, Block: block, RetryIn: 20 * time.Second, Failures: 3},
		{Target: freshet.Target{Host: "probed.example"}, Block: block, Flights: 1},
	}})
	text := scrape(t, m)
	check(t, text, map[string]string{
		`freshet_runway_seconds{identity="id"}`:                         "600",
		`freshet_runway_seconds{identity="unwanted"}`:                   "", // nobody would notice
		`freshet_issuer_runway_seconds{host="login.example"}`:           "600",
		`freshet_issuer_runway_seconds{host="quiet.example"}`:           "",
		`freshet_issuer_blocked{host="login.example"}`:                  "1",
		`freshet_issuer_blocked{host="quiet.example"}`:                  "0",
		`freshet_issuer_blocked{host="probed.example"}`:                 "1",
		`freshet_issuer_block_remaining_seconds{host="login.example"}`:  "40",
		`freshet_issuer_block_remaining_seconds{host="probed.example"}`: "0",
		`freshet_issuer_failures_in_a_row{host="login.example"}`:        "4",
		`freshet_issuer_flights{host="login.example"}`:                  "3",
		`freshet_issuer_waiting{host="login.example"}`:                  "3",
		`freshet_issuer_waiting{host="quiet.example"}`:                  "0",
	})
	if strings.Contains(text, "planted-") {
		t.Error("a tenant or client is named")
	}
}

func TestThrottlesAndRetriesAreCountedByHost(t *testing.T) {
	m := New("v1")
	at := func(host string, e freshet.Event) {
		e.Identity, e.Target, e.Asked = "id", freshet.Target{Host: host, Tenant: "planted-tenant", Client: "planted-client"}, true
		m.Observe(e)
	}
	at("well.example", freshet.Event{})
	at("busy.example", freshet.Event{Err: &freshet.Error{Kind: freshet.Unavailable, Status: 429}})
	at("busy.example", freshet.Event{Err: &freshet.Error{Kind: freshet.Unavailable, Status: 503, RetryAfter: time.Second}})
	at("busy.example", freshet.Event{Err: &freshet.Error{Kind: freshet.Unavailable, Status: 503}, Retried: true})
	at("busy.example", freshet.Event{Retried: true})
	// Refused by what holds already, it was not answered again.
	m.Observe(freshet.Event{Target: freshet.Target{Host: "busy.example"}, Err: &freshet.Error{Kind: freshet.Unavailable, Status: 429, RetryAfter: time.Minute}})
	text := scrape(t, m)
	check(t, text, map[string]string{
		`freshet_issuer_throttled_total{host="well.example"}`: "0",
		`freshet_issuer_retries_total{host="well.example"}`:   "0",
		`freshet_issuer_throttled_total{host="busy.example"}`: "2",
		`freshet_issuer_retries_total{host="busy.example"}`:   "2",
	})
	if strings.Contains(text, "planted-") {
		t.Error("a tenant or client is named")
	}
}

func TestHostsAreBounded(t *testing.T) {
	m := New("v1")
	s := said{hosts: &m.hosts}
	for i := range maxHosts + 50 {
		host := fmt.Sprintf("h%d.example", i)
		m.Observe(freshet.Event{Asked: true, Retried: true, Target: freshet.Target{Host: host}})
		s.states = append(s.states, freshet.IssuerState{Target: freshet.Target{Host: host}, Whole: true, Waiting: 1})
		s.runways = append(s.runways, broker.Runway{Issuer: host, Seconds: float64(1000 - i), Known: true})
	}
	m.registry.MustRegister(s)
	text := scrape(t, m)
	check(t, text, map[string]string{
		`freshet_issuer_retries_total{host="h0.example"}`: "1", `freshet_issuer_retries_total{host="other"}`: "50",
		`freshet_issuer_waiting{host="h0.example"}`: "1", `freshet_issuer_waiting{host="other"}`: "50",
		`freshet_issuer_runway_seconds{host="h0.example"}`: "1000", `freshet_issuer_runway_seconds{host="other"}`: "695",
	})
	if n := strings.Count(text, "\nfreshet_issuer_waiting{"); n != maxHosts+1 {
		t.Errorf("%d hosts are told of, want %d and one for the others", n, maxHosts)
	}
}

func TestUncacheableStaleAndRefusedRequestsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b, c := start(t, nil)
		var a freshet.Answer
		for _, r := range []freshet.Request{{}, {Claims: `{"a":1}`}, {MinTTL: time.Minute, Tenant: "cold"}, {}} {
			var err error
			if a, err = b.Credential(t.Context(), c, "id", r); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Reject(c, "id", a.Credential.Fingerprint()); err != nil {
			t.Fatal(err)
		}
		c.PID++ // another program of the same user, which has rejected nothing
		if a, err := b.Credential(t.Context(), c, "id", freshet.Request{}); err != nil || !a.Stale {
			t.Fatalf("stale %v, %v", a.Stale, err)
		}
		check(t, scrape(t, m), map[string]string{
			`freshet_requests_total{identity="id",level="issuer"}`:           "3",
			`freshet_requests_total{identity="id",level="memory"}`:           "2",
			`freshet_uncacheable_requests_total{identity="id",why="claims"}`: "1",
			`freshet_uncacheable_requests_total{identity="id",why="forced"}`: "1",
			`freshet_uncacheable_requests_total{identity="id",why="short"}`:  "0",
			`freshet_stale_hand_outs_total{identity="id"}`:                   "1",
			`freshet_pinned_missing{identity="id"}`:                          "",
		})
	})
}

// TestCallersAreNamedOnTheSocketAlone scrapes one handler over a Unix socket and over TCP.
func TestCallersAreNamedOnTheSocketAlone(t *testing.T) {
	m := New("v1")
	now := freshet.SourceFunc(func(context.Context, freshet.Request) (*freshet.Credential, error) {
		return freshet.NewBearer("planted-secret", "", freshet.Validity{Lifetime: time.Hour})
	})
	id := broker.Identity{IdentityConfig: freshet.IdentityConfig{Name: "id", Version: "1", Kind: "test", Source: now}}
	b, err := broker.New(broker.Config{Identities: []broker.Identity{id}, Owner: 1234})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.Background())
	m.Read(b)
	if _, err := b.Credential(t.Context(), broker.Caller{Door: "socket", Peer: true, UID: 1234}, "id", freshet.Request{}); err != nil {
		t.Fatal(err)
	}
	for network, address := range map[string]string{"unix": filepath.Join(t.TempDir(), "s"), "tcp": "127.0.0.1:0"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: m.Handler()}
		go func() { _ = server.Serve(l) }()
		defer server.Close()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
		}}}
		resp, err := client.Get("http://freshet/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d, %v: %s", network, resp.StatusCode, err, body)
		}
		check(t, string(body), map[string]string{
			`freshet_hand_outs_total{identity="id"}`:                                    "1",
			`freshet_hand_outs_by_caller_total{caller="socket:uid:1234",identity="id"}`: map[string]string{"unix": "1"}[network],
		})
		if named := strings.Contains(string(body), "uid:1234"); named != (network == "unix") {
			t.Errorf("%s: a caller is named: %v", network, named)
		}
	}
	if strings.Contains(scrape(t, m), "uid:1234") {
		t.Error("a caller is named to who comes nobody knows how")
	}
}
