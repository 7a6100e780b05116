package issuer

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

var wanted = Wanted{"tenant", "scope"}

func TestTokenIsOfItsCallAndSaysWhatItIsFor(t *testing.T) {
	i := New()
	seen := make(map[string]bool)
	for n := range 100 {
		tok, err := i.Token(t.Context(), wanted)
		if err != nil {
			t.Fatal(err)
		}
		w, call, err := Read(tok.Secret)
		if err != nil || w != wanted || call != int64(n+1) || seen[tok.Secret] || len(tok.Secret) != size {
			t.Fatalf("call %d gave %d bytes for %v and call %d: %v", n+1, len(tok.Secret), w, call, err)
		}
		seen[tok.Secret] = true
		if got := tok.Expires.Sub(tok.Issued); got != time.Hour || !tok.RefreshAt.IsZero() {
			t.Fatalf("it lives for %v and is to be replaced at %v", got, tok.RefreshAt)
		}
	}
	if i.Calls() != 100 || i.Running() != 0 {
		t.Errorf("%d calls, %d running", i.Calls(), i.Running())
	}
	i.Reset()
	if i.Calls() != 0 {
		t.Errorf("%d calls after Reset", i.Calls())
	}
}

func TestOtherTextIsNoToken(t *testing.T) {
	for _, s := range []string{"", "a.b.c", header + ".%.c", header + ".e30", header + "..c"} {
		if _, _, err := Read(s); err == nil {
			t.Errorf("%q is read as a token", s)
		}
	}
}

func TestCallsTakeAsLongAsSetAndHeedTheirContext(t *testing.T) {
	i := New()
	i.SetTakes(20 * time.Millisecond)
	began := time.Now()
	if _, err := i.Token(t.Context(), wanted); err != nil || time.Since(began) < 20*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	i.SetTakes(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := i.Token(ctx, wanted); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestFailuresAndPanicsComeFromTokenCallsAlone(t *testing.T) {
	i := New()
	i.SetFail(&Refusal{Status: 503, Code: "temporarily_unavailable", RetryAfter: 3 * time.Second})
	if _, err := i.Token(t.Context(), wanted); err == nil {
		t.Error("got a token")
	}
	resp := post(t, i)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "3" {
		t.Errorf("got %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	if resp, err := i.RoundTrip(request(t, http.MethodGet, "/tenant/v2.0/.well-known/openid-configuration", "")); err != nil || resp.StatusCode != 200 {
		t.Errorf("discovery failed: %v", err)
	}
	if got := i.Calls(); got != 2 {
		t.Errorf("%d calls, want 2", got)
	}
	i.SetFail(nil)
	if resp := post(t, i); resp.StatusCode != 200 {
		t.Errorf("got %s", resp.Status)
	}
	i.SetPanics(true)
	defer func() {
		if recover() == nil {
			t.Error("it did not panic")
		}
		if i.Running() != 0 {
			t.Error("the call goes on")
		}
	}()
	_, _ = i.Token(t.Context(), wanted)
}

func post(t *testing.T, i *Issuer) *http.Response {
	t.Helper()
	resp, err := i.RoundTrip(request(t, http.MethodPost, "/tenant/oauth2/v2.0/token", "grant_type=client_credentials&scope=a"))
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func request(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+Host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}
