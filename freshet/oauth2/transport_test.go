package oauth2

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
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
		return invalid()
	}
}

// invalid is an answer that calls the token invalid.
func invalid() *http.Response {
	return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {`Bearer realm="api", error="invalid_token"`}}}
}

func TestTransportReplacesWhatTheServerCallsInvalid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		s := wrap(t, f)
		mustToken(t, s)
		client := &http.Client{Transport: s.Transport(only("token-2"))}
		got := make(chan int, 20)
		for range cap(got) {
			go func() { got <- get(t, client, "https://api.example/") }()
		}
		for range cap(got) {
			if status := <-got; status != 200 {
				t.Errorf("got status %d, want 200 for the new token", status)
			}
		}
		wantCalls(t, f, 2)
	})
}

func TestTransportRejectsOnNothingElse(t *testing.T) {
	for name, answer := range map[string]*http.Response{
		"403":                    {StatusCode: 403, Header: invalid().Header},
		"401 of another scheme":  {StatusCode: 401, Header: http.Header{"Www-Authenticate": {`Basic realm="api"`}}},
		"401 without a word":     {StatusCode: 401},
		"401, insufficient":      {StatusCode: 401, Header: http.Header{"Www-Authenticate": {`Bearer error="insufficient_scope"`}}},
		"503":                    {StatusCode: 503},
		"200 with the challenge": {StatusCode: 200, Header: invalid().Header},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				sent := 0
				client := &http.Client{Transport: wrap(t, f).Transport(server(func(string) *http.Response {
					sent++
					return answer
				}))}
				if got := get(t, client, "https://api.example/"); got != answer.StatusCode || sent != 1 {
					t.Errorf("got status %d after %d requests, want the server's answer to one", got, sent)
				}
				synctest.Wait()
				wantCalls(t, f, 1)
			})
		})
	}
}

func TestTransportMakesARequestAgainOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		var sent []string
		s := wrap(t, f)
		client := &http.Client{Transport: s.Transport(server(func(token string) *http.Response {
			sent = append(sent, token)
			return invalid()
		}))}
		if got := get(t, client, "https://api.example/"); got != 401 {
			t.Errorf("got status %d, want the server's", got)
		}
		if want := []string{"Bearer token-1", "Bearer token-2"}; !slices.Equal(sent, want) {
			t.Errorf("the server was sent %q, want %q", sent, want)
		}
		if a, err := s.s.handle.Get(t.Context()); err != nil || !a.Rejected {
			t.Errorf("the second token is rejected: %v, %v; want it so", a.Rejected, err)
		}
		for range 300 { // who refuses every token costs a retrieval in 30 s, not one per request
			get(t, client, "https://api.example/")
			time.Sleep(100 * time.Millisecond)
		}
		if n := f.calls.Load(); n > 4 {
			t.Errorf("the source was called %d times in 30 s", n)
		}
	})
}

// taking is a server that reads what it is sent before it answers.
type taking struct {
	server
	bodies []string
	rests  []*rest
}

func (s *taking) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		text, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		_ = req.Body.Close()
		s.bodies = append(s.bodies, string(text))
	}
	resp, err := s.server.RoundTrip(req)
	s.rests = append(s.rests, &rest{Reader: strings.NewReader("rest")})
	resp.Body = s.rests[len(s.rests)-1]
	return resp, err
}

// rest is the body of an answer.
type rest struct {
	*strings.Reader
	closed bool
}

func (r *rest) Close() error {
	r.closed = true
	return nil
}

func TestTransportSendsTheBodyAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			body   io.Reader
			status int
			bodies []string
		}{
			"that can be had again":    {strings.NewReader("body"), 200, []string{"body", "body"}},
			"that can be had once":     {io.MultiReader(strings.NewReader("body")), 401, []string{"body"}},
			"of which there is none":   {nil, 200, nil},
			"that is said to be empty": {http.NoBody, 200, []string{"", ""}},
		} {
			s := wrap(t, &fake{})
			base := &taking{server: only("token-2")}
			req, err := http.NewRequest("POST", "https://api.example/", test.body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.Transport(base).RoundTrip(req)
			if err != nil || resp.StatusCode != test.status || !slices.Equal(base.bodies, test.bodies) {
				t.Fatalf("a body %s: got %v, %v after %q; want status %d after %q", name, resp, err, base.bodies, test.status, test.bodies)
			}
			for i, r := range base.rests {
				if last := i == len(base.rests)-1; r.closed == last || (r.Len() == 0) == last {
					t.Errorf("a body %s: answer %d of %d has %d bytes left, closed: %v", name, i+1, len(base.rests), r.Len(), r.closed)
				}
			}
			synctest.Wait()
			if got := mustToken(t, s); got.AccessToken != "token-2" {
				t.Errorf("a body %s: then got %q, want the refused one replaced", name, got.AccessToken)
			}
		}
	})
}

func TestTransportKeepsTheAnswerIfTheBodyCannotBeHadAgainAfterAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := &taking{server: only("token-2")}
		req, err := http.NewRequest("POST", "https://api.example/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		req.GetBody = func() (io.ReadCloser, error) { return nil, errDown }
		resp, err := wrap(t, &fake{}).Transport(base).RoundTrip(req)
		if err != nil || resp.StatusCode != 401 || base.rests[0].closed || base.rests[0].Len() == 0 {
			t.Errorf("got %v, %v; want the server's whole answer", resp, err)
		}
	})
}

func TestTransportKeepsTheAnswerWhileThereIsNoOtherToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		s := wrap(t, f)
		mustToken(t, s)
		f.fail(errDown)
		time.Sleep(10 * time.Minute)
		base := &taking{server: only("token-2")}
		client := &http.Client{Transport: s.Transport(base), Timeout: 50 * time.Second}
		for range 3 {
			began := time.Now()
			resp, err := client.Post("https://api.example/", "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			if took := time.Since(began); resp.StatusCode != 401 || string(text) != "rest" || err != nil || took > 2*time.Second {
				t.Errorf("got status %d, %q, %v after %v; want the server's whole answer at once", resp.StatusCode, text, err, took)
			}
			_ = resp.Body.Close()
			time.Sleep(time.Second)
		}
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
