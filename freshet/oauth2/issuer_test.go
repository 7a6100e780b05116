package oauth2

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// endpoint is a token endpoint in memory.
type endpoint struct {
	status int // 0: it gives a token
	header http.Header
	body   string
	asked  int
}

func (e *endpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	_ = req.Body.Close()
	e.asked++
	resp := &http.Response{StatusCode: e.status, Header: http.Header{"Content-Type": {"application/json"}}, Request: req}
	for name, values := range e.header {
		resp.Header[name] = values
	}
	text := e.body
	if e.status == 0 {
		resp.StatusCode, text = 200, fmt.Sprintf(`{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, e.asked)
	}
	resp.Body = io.NopCloser(strings.NewReader(text))
	return resp, nil
}

// source is what x/oauth2 makes of a client of that endpoint.
func (e *endpoint) source(t *testing.T, style oauth2.AuthStyle) oauth2.TokenSource {
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: e})
	conf := clientcredentials.Config{ClientID: "client", ClientSecret: "secret", TokenURL: "https://login.example/token", AuthStyle: style}
	return conf.TokenSource(ctx)
}

func TestFailuresSayWhatTheEndpointAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
		for name, test := range map[string]struct {
			status int
			header http.Header
			body   string
			kind   freshet.Kind
			wait   time.Duration
		}{
			"seconds":           {429, http.Header{"Retry-After": {"7"}}, answerText, freshet.Unavailable, 7 * time.Second},
			"a date":            {503, http.Header{"Retry-After": {at(90 * time.Second)}}, "", freshet.Unavailable, 90 * time.Second},
			"by its own clock":  {503, http.Header{"Retry-After": {at(time.Hour)}, "Date": {at(59 * time.Minute)}}, "", freshet.Unavailable, time.Minute},
			"a date that is by": {503, http.Header{"Retry-After": {at(-time.Minute)}}, "", freshet.Unavailable, 0},
			"over an hour":      {429, http.Header{"Retry-After": {"7200"}}, "", freshet.Unavailable, time.Hour},
			"a date in a year":  {429, http.Header{"Retry-After": {at(365 * 24 * time.Hour)}}, "", freshet.Unavailable, time.Hour},
			"over all bounds":   {429, http.Header{"Retry-After": {"99999999999999999999"}}, "", freshet.Unavailable, time.Hour},
			"garbage":           {429, http.Header{"Retry-After": {"soon"}}, "", freshet.Unavailable, 0},
			"down":              {502, nil, answerText, freshet.Unavailable, 0},
			"denied":            {401, nil, `{"error":"invalid_client"}`, freshet.Denied, 0},
			"denied, it says":   {503, nil, `{"error":"invalid_client"}`, freshet.Unavailable, 0},
			"throttled":         {429, nil, `{"error":"invalid_request"}`, freshet.Unavailable, 0},
			"login":             {400, nil, `{"error":"invalid_grant"}`, freshet.LoginNeeded, 0},
		} {
			e := &endpoint{status: test.status, header: test.header, body: test.body}
			_, err := e.source(t, oauth2.AuthStyleInHeader).Token()
			got := failure(err)
			if got.Status != test.status || got.Kind != test.kind || got.RetryAfter != test.wait {
				t.Errorf("%s: got %+v of kind %q, status %d, retry after %v; want %q, %d, %v", name, err, got.Kind, got.Status, got.RetryAfter,
					test.kind, test.status, test.wait)
			}
		}
	})
}

func TestNestedFailureKeepsItsStatus(t *testing.T) {
	got := failure(fmt.Errorf("wrapped: %w", &freshet.Error{Kind: freshet.Unavailable, Status: 429}))
	if got.Status != 429 {
		t.Errorf("got status %d, want 429", got.Status)
	}
}

// What doc.go says of x/oauth2, which makes no other retry.
func TestEndpointIsAskedOncePerRetrievalIfAuthStyleIsSet(t *testing.T) {
	for style, want := range map[oauth2.AuthStyle]int{oauth2.AuthStyleInHeader: 1, oauth2.AuthStyleInParams: 1, oauth2.AuthStyleAutoDetect: 2} {
		e := &endpoint{status: 429}
		if _, err := wrap(t, e.source(t, style)).Token(); err == nil {
			t.Fatal("want the error")
		}
		if e.asked != want {
			t.Errorf("AuthStyle %v: the endpoint was asked %d times, want %d", style, e.asked, want)
		}
	}
}

func TestTarget(t *testing.T) {
	mine := freshet.Target{Host: "login.example", Client: "client"}
	for name, test := range map[string]struct{ given, want freshet.Target }{
		"none":       {freshet.Target{}, freshet.Target{Host: "name"}},
		"given":      {mine, mine},
		"of no host": {freshet.Target{Client: "client"}, freshet.Target{Host: "name", Client: "client"}},
	} {
		s, err := New(&fake{}, Config{Name: "name", Cache: newCache(t), Target: test.given})
		if err != nil {
			t.Fatal(err)
		}
		var of freshet.Targeter = s.s.inner
		if got := of.Target(freshet.Request{}); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}
