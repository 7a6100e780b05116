package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"freshet.dev/proxy"
)

func TestProxiesRequestsAreCounted(t *testing.T) {
	m := New("v1")
	for _, e := range []proxy.Event{
		{Caller: "uid:1000", Status: 200, Took: 2 * time.Second, Signing: 20 * time.Microsecond},
		{Caller: "uid:1000", Status: 200, Took: time.Second, Signing: 30 * time.Microsecond, Rejections: 1, Replays: 1},
		{Caller: "secret", Status: 503, Replays: 2},
		{Status: 403, Refused: "AccessDenied"},
		{Caller: "secret", Refused: "left"},
		{Caller: "secret", Status: 999},
	} {
		e.Route, e.Identity = "openai", "prod"
		m.ObserveProxy(e)
	}
	check(t, scrape(t, m), map[string]string{
		`freshet_proxy_requests_total{code="200",route="openai"}`:               "2",
		`freshet_proxy_requests_total{code="503",route="openai"}`:               "1",
		`freshet_proxy_requests_total{code="403",route="openai"}`:               "1",
		`freshet_proxy_requests_total{code="left",route="openai"}`:              "1",
		`freshet_proxy_requests_total{code="other",route="openai"}`:             "1",
		`freshet_proxy_request_duration_seconds_count{route="openai"}`:          "6",
		`freshet_proxy_request_duration_seconds_sum{route="openai"}`:            "3",
		`freshet_proxy_signing_seconds_count{route="openai"}`:                   "2",
		`freshet_proxy_signing_seconds_bucket{route="openai",le="2.5e-05"}`:     "1",
		`freshet_proxy_replays_total{route="openai"}`:                           "3",
		`freshet_proxy_rejections_total{route="openai"}`:                        "1",
		`freshet_proxy_refusals_total{reason="AccessDenied",route="openai"}`:    "1",
		`freshet_proxy_refusals_total{reason="left",route="openai"}`:            "", // nobody was answered
		`freshet_proxy_requests_by_caller_total{caller="secret",route="openai"`: "", // over TCP
	})
	if text := scrape(t, m); strings.Contains(text, "uid:1000") || strings.Contains(text, "by_caller") {
		t.Error("a caller is named to who comes nobody knows how")
	}
	families, err := m.callers.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("the socket is told %d families of callers, %v", len(families), err)
	}
	var got []string
	for _, f := range families[0].Metric {
		got = append(got, fmt.Sprintf("%s %v", f.Label[0].GetValue(), f.Counter.GetValue()))
	}
	if want := "secret 3, uid:1000 2"; strings.Join(got, ", ") != want {
		t.Errorf("callers: got %s, want %s", strings.Join(got, ", "), want)
	}
}

func TestProxiesSeriesAreBounded(t *testing.T) {
	m := New("v1")
	for i := range maxRoutes + 50 {
		m.ObserveProxy(proxy.Event{Route: fmt.Sprint("r", i), Caller: "secret", Status: 200})
	}
	for i := range 1000 {
		m.ObserveProxy(proxy.Event{Route: "r0", Caller: fmt.Sprint("cert:\xff", i), Status: 100 + i, Refused: fmt.Sprint("why", i)})
	}
	text := scrape(t, m)
	for family, most := range map[string]int{
		"freshet_proxy_replays_total": maxRoutes + 1, "freshet_proxy_refusals_total": maxReasons + 1,
		"freshet_proxy_requests_total": maxRoutes + 1 + 500, "freshet_proxy_requests_by_caller_total": 0,
	} {
		if n := strings.Count(text, "\n"+family+"{"); n > most {
			t.Errorf("%s has %d series, want at most %d", family, n, most)
		}
	}
	check(t, text, map[string]string{`freshet_proxy_replays_total{route="other"}`: "0", `freshet_proxy_requests_total{code="200",route="other"}`: "50"})
	families, err := m.callers.Gather()
	if err != nil {
		t.Fatal(err)
	}
	callers := make(map[string]bool)
	for _, s := range families[0].Metric {
		callers[s.Label[0].GetValue()] = true
	}
	if len(callers) != maxCallers+1 || !callers["other"] {
		t.Errorf("%d callers are named, want %d and one for the others", len(callers), maxCallers)
	}
}
