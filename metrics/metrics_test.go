package metrics

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"freshet.dev/broker"
	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/proxy"
)

// issuer is a source that fails for the tenant "bad".
type issuer struct{ n atomic.Int64 }

func (*issuer) Varies() freshet.Fields { return freshet.FieldsAll }

func (s *issuer) Retrieve(_ context.Context, r freshet.Request) (*freshet.Credential, error) {
	n := s.n.Add(1)
	<-time.After(2 * time.Second)
	if r.Tenant == "bad" {
		return nil, freshet.Errorf(freshet.LoginNeeded, "log in")
	}
	return freshet.NewBearer(fmt.Sprint("planted-secret-", n), "", freshet.Validity{Lifetime: time.Hour})
}

// scrape is what the handler answers.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// value is a sample's value; "" if it is not there.
func value(text, sample string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, sample+" "); ok {
			return rest
		}
	}
	return ""
}

func start(t *testing.T, audit *broker.Audit) (*Metrics, *broker.Broker, broker.Caller) {
	t.Helper()
	m := New("v1.2.3")
	id := broker.Identity{IdentityConfig: freshet.IdentityConfig{Name: "id", Version: "1", Kind: "oauth2", Source: new(issuer)}}
	b, err := broker.New(broker.Config{Identities: []broker.Identity{id}, Cache: freshet.CacheConfig{Observe: m.Observe}, Audit: audit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	m.Read(b)
	return m, b, broker.Caller{Door: "planted-door", Peer: true, UID: 0, PID: 1}
}

func TestValuesAreRightAfterRetrievals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b, c := start(t, nil)
		door, err := b.OpenDoor(broker.Caller{Door: "session", ID: "1"}, []string{"id"})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			if _, err := b.Credential(t.Context(), c, "id", freshet.Request{Tenant: fmt.Sprint("planted-tenant-", i%3)}); err != nil {
				t.Fatal(err)
			}
			if _, err := door.Get(t.Context(), "id", freshet.Request{}); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = b.Credential(t.Context(), c, "id", freshet.Request{Tenant: "bad"})
		synctest.Wait()
		text := scrape(t, m)
		for sample, want := range map[string]string{
			`freshet_build_info{version="v1.2.3"}`:                                                         "1",
			`freshet_retrievals_total{identity="id",outcome="ok",reason="miss",source="oauth2"}`:           "4",
			`freshet_retrievals_total{identity="id",outcome="login_needed",reason="miss",source="oauth2"}`: "1",
			`freshet_retrieval_duration_seconds_count{source="oauth2"}`:                                    "5",
			`freshet_retrieval_duration_seconds_sum{source="oauth2"}`:                                      "10",
			`freshet_hand_outs_total{identity="id"}`:                                                       "12",
			`freshet_keys{identity="id",state="fresh"}`:                                                    "4",
			`freshet_keys{identity="id",state="stale"}`:                                                    "0",
			`freshet_cache_entries`:                                                                        "5", // a failure is remembered too
			`freshet_flights`:                                                                              "0",
			`freshet_refreshes`:                                                                            "0",
			`freshet_refreshes_waiting`:                                                                    "0",
			`freshet_retrieval_failures_in_a_row{identity="id"}`:                                           "1",
			`freshet_audit_lost_lines_total`:                                                               "0",
			`freshet_requests_total{identity="id",level="issuer"}`:                                         "4",
			`freshet_requests_total{identity="id",level="memory"}`:                                         "8",
			`freshet_refused_requests_total{identity="id",outcome="login_needed"}`:                         "1",
			`freshet_refused_requests_total{identity="id",outcome="unavailable"}`:                          "0",
			`freshet_refused_requests_total{identity="id",outcome="left"}`:                                 "0",
			`freshet_uncacheable_requests_total{identity="id",why="forced"}`:                               "0",
			`freshet_uncacheable_requests_total{identity="id",why="claims"}`:                               "0",
			`freshet_uncacheable_requests_total{identity="id",why="short"}`:                                "0",
			`freshet_stale_hand_outs_total{identity="id"}`:                                                 "0",
			// The first began to live 8 s ago: three more retrievals of 2 s, then the one that failed.
			`freshet_credential_remaining_seconds{identity="id"}`: "3592",
		} {
			if got := value(text, sample); got != want {
				t.Errorf("%s is %q, want %s", sample, got, want)
			}
		}
		door.Close()
		if got := value(scrape(t, m), `freshet_hand_outs_total{identity="id"}`); got != "12" {
			t.Errorf("after a door closed the hand-outs are %s: a counter must not go back", got)
		}
	})
}

func TestNamesAreConventional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b, c := start(t, nil)
		_, _ = b.Credential(t.Context(), c, "id", freshet.Request{})
		m.ObserveProxy(proxy.Event{Route: "openai", Status: 403, Refused: "path", Signing: time.Microsecond})
		synctest.Wait()
		families := regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(scrape(t, m), -1)
		for _, f := range families {
			name, typ := f[1], f[2]
			if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
				continue // the client library's own
			}
			if !regexp.MustCompile(`^freshet_[a-z_]+$`).MatchString(name) {
				t.Errorf("%s does not begin with freshet_", name)
			}
			if (typ == "counter") != strings.HasSuffix(name, "_total") {
				t.Errorf("%s is a %s: counters, and they alone, end in _total", name, typ)
			}
			if strings.Contains(name, "milli") || typ == "histogram" && !strings.HasSuffix(name, "_seconds") {
				t.Errorf("%s is not in base units", name)
			}
		}
	})
}

func TestMetricsNameNoTenantNoScopeAndNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b, c := start(t, nil)
		_, err := b.Credential(t.Context(), c, "id", freshet.Request{Tenant: "planted-tenant", Scopes: []string{"planted-scope"}, Audience: "planted-audience",
			Claims: `{"planted-claims":1}`})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		freshettest.LeakedSecrets(t, scrape(t, m), "planted-secret", "planted-tenant", "planted-scope", "planted-audience", "planted-claims", "planted-door")
	})
}

// TestMetricsAreListed keeps docs/operations.md and the families alike.
func TestMetricsAreListed(t *testing.T) {
	docs, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bfreshet_[a-z_]+`)
	listed := names.FindAllString(string(docs), -1)
	var told []string
	m := New("v1")
	all := append(slices.Clone(descs), byCaller)
	single := []prometheus.Collector{m.retrievals, m.durations, m.throttled, m.retried, m.reloaded, m.proxies.byCaller}
	for _, c := range slices.Concat(single, m.proxies.public(), m.bridges.all()) {
		ch := make(chan *prometheus.Desc, 1)
		c.Describe(ch)
		all = append(all, <-ch)
	}
	for _, d := range all {
		told = append(told, names.FindString(d.String()))
	}
	told = append(told, "freshet_build_info")
	for _, name := range told {
		if !slices.Contains(listed, name) {
			t.Errorf("docs/operations.md does not name %s", name)
		}
	}
	for _, name := range listed {
		if !slices.Contains(told, name) {
			t.Errorf("docs/operations.md names %s, which there is not", name)
		}
	}
}
