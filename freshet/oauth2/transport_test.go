package oauth2

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
)

// get makes a request and returns its status.
func get(t *testing.T, client *http.Client, url string) int {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// only accepts one token.
func only(token string) server {
	return func(got string) *http.Response {
		if got == "Bearer "+token {
			return &http.Response{StatusCode: 200}
		}
		return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {`Bearer realm="api", error="invalid_token"`}}}
	}
}

func TestTransportRejectsWhatTheServerCallsInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		client := &http.Client{Transport: wrap(t, f).Transport(only("token-2"))}
		if got := get(t, client, "https://api.example/"); got != 401 {
			t.Errorf("got status %d, want the server's answer", got)
		}
		synctest.Wait()
		if got := get(t, client, "https://api.example/"); got != 200 {
			t.Errorf("the next request: got status %d, want 200 for the new token", got)
		}
		wantCalls(t, f, 2)

		f = &fake{}
		client.Transport = wrap(t, f).Transport(server(func(string) *http.Response { return &http.Response{StatusCode: 403} }))
		get(t, client, "https://api.example/")
		client.Transport = wrap(t, f).Transport(server(func(string) *http.Response {
			return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {`Basic realm="api"`}}}
		}))
		f.calls.Store(0)
		get(t, client, "https://api.example/")
		synctest.Wait()
		wantCalls(t, f, 1)
	})
}

func TestTransportTakesNoTokenToAnotherHost(t *testing.T) {
	seen := make(map[string]string)
	base := roundTrip(func(req *http.Request) (*http.Response, error) {
		seen[req.URL.String()] = req.Header.Get("Authorization")
		next := map[string]string{
			"https://api.example/a":   "https://api.example/b",
			"https://api.example/b":   "https://other.example/c",
			"https://other.example/c": "https://other.example/d",
		}[req.URL.String()]
		resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: req}
		if next != "" {
			resp.StatusCode = 302
			resp.Header.Set("Location", next)
		}
		return resp, nil
	})
	get(t, &http.Client{Transport: wrap(t, &fake{}).Transport(base)}, "https://api.example/a")
	for url, want := range map[string]string{
		"https://api.example/a": "Bearer token-1", "https://api.example/b": "Bearer token-1",
		"https://other.example/c": "", "https://other.example/d": "",
	} {
		if got, ok := seen[url]; !ok || got != want {
			t.Errorf("%s was sent %q, want %q", url, got, want)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestTransportLeavesTheRequestAlone(t *testing.T) {
	tr := wrap(t, &fake{}).Transport(only("token-1"))
	req, err := http.NewRequest("GET", "https://api.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := tr.RoundTrip(req); err != nil || resp.StatusCode != 200 {
		t.Fatalf("got %v, %v", resp, err)
	}
	if len(req.Header) != 0 {
		t.Error("the caller's request was changed")
	}
}

// oauth2.NewClient has a ReuseTokenSource of its own, which has to come back before the token ends.
func TestNewClientGetsEveryRefreshedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		var last string
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: server(func(token string) *http.Response {
			last = token
			return &http.Response{StatusCode: 200}
		})})
		client := oauth2.NewClient(ctx, wrap(t, f))
		get(t, client, "https://api.example/")
		seen := map[string]time.Duration{last: 0}
		began := time.Now()
		for range 150 * 60 {
			time.Sleep(time.Second)
			before := time.Now()
			get(t, client, "https://api.example/")
			if took := time.Since(before); took != 0 {
				t.Fatalf("a request waited for %v", took)
			}
			if _, ok := seen[last]; !ok {
				seen[last] = time.Since(began)
			}
		}
		// 45 minutes of 60, less a jitter of at most 6, plus a moment to pick the new one up.
		for n, token := range []string{"Bearer token-1", "Bearer token-2", "Bearer token-3", "Bearer token-4"} {
			at, ok := seen[token]
			if latest := time.Duration(n)*(45*time.Minute+time.Second) + time.Duration(n)*2*renewal; !ok || at > latest {
				t.Errorf("%s was seen after %v, want by %v", token, at, latest)
			}
		}
	})
}
