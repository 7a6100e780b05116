package client

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/corpus"
	"freshet.dev/internal/wire"
)

// reply is a daemon that answers every request with the same.
type reply struct {
	status int
	body   []byte
}

func (r reply) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: r.status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(r.body)), Request: req}, nil
}

// FuzzReply has a daemon answer with anything. It holds that every call ends in an answer that keeps its promises or in an error of
// a known kind, and that what is not the daemon's own way of saying something is not shown.
func FuzzReply(f *testing.F) {
	for _, golden := range corpus.Of(f, "../format/json/testdata/*.json") {
		f.Add(200, []byte(golden))
	}
	f.Add(200, []byte(`{"id":"1","environment":{"FRESHET_SOCKET":"/s","LD_PRELOAD":"x"},"types":{"a":"bearer"}}`+"\n"))
	f.Add(200, []byte(`{"version":"v1","identities":[{"name":"a"}]}`))
	f.Add(404, []byte(`{"type":"about:blank","status":404,"detail":"unknown identity","kind":"invalid request","why":"unknown identity"}`))
	f.Add(503, []byte(`{"detail":"x","retry_after":1e300}`))
	f.Add(502, []byte("<html>planted-secret"))
	f.Add(302, []byte(`planted-secret`))
	f.Add(204, []byte(""))
	f.Add(200, []byte(`{"type":"planted-secret","expires_at":"planted-secret"}`))
	kinds := []freshet.Kind{freshet.Invalid, freshet.LoginNeeded, freshet.Denied, freshet.Unavailable, freshet.Malformed, freshet.Bug}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 999 {
			return // net/http does not pass those on
		}
		c := New(Config{Socket: "/fuzz/none"})
		c.http = &http.Client{Transport: reply{status, body}, CheckRedirect: c.http.CheckRedirect}
		failed := func(err error) {
			e, ok := err.(*freshet.Error)
			if !ok || !slices.Contains(kinds, e.Kind) || e.RetryAfter < 0 || e.RetryAfter > 24*time.Hour {
				t.Fatalf("%d %q: %#v", status, body, err)
			}
			var p wire.Problem
			said := status/100 != 2 && json.NewDecoder(bytes.NewReader(body)).Decode(&p) == nil && p.Detail != ""
			if !said && strings.Contains(e.Error()+e.Hint, "planted-secret") {
				t.Errorf("%d %q: %v", status, body, err)
			}
		}
		a, err := c.Credential(t.Context(), "id", freshet.Request{})
		if (a.Credential == nil) == (err == nil) {
			t.Fatalf("%d %q: %v and %v", status, body, a.Credential, err)
		}
		if err != nil {
			failed(err)
		} else if a.Credential.Remaining() <= 0 || status/100 != 2 {
			t.Errorf("%d %q: %v", status, body, a.Credential)
		}
		if s, err := c.Status(t.Context()); err != nil {
			failed(err)
		} else if s == nil || status/100 != 2 {
			t.Errorf("%d %q: %v", status, body, s)
		}
		if err := c.Reject(t.Context(), "id", "0"); err != nil {
			failed(err)
		} else if status/100 != 2 {
			t.Errorf("%d is a success", status)
		}
		if r, err := c.OpenProxy(t.Context(), wire.Proxy{Identity: "id"}); err != nil {
			failed(err)
		} else {
			if line, _, whole := bytes.Cut(body, []byte("\n")); !whole || !json.Valid(line) || status/100 != 2 {
				t.Errorf("%d %q opens a route", status, body)
			}
			r.Wait()
			_ = r.Close()
		}
		s, err := c.OpenSession(t.Context(), []string{"id"}, time.Second)
		if err != nil {
			failed(err)
			return
		}
		if line, _, whole := bytes.Cut(body, []byte("\n")); !whole || !json.Valid(line) {
			t.Errorf("%q opens a session", body)
		}
		s.Wait()
		_ = s.Close()
	})
}

// FuzzPath holds that a name ends up in the one place of a path that is for it.
func FuzzPath(f *testing.F) {
	for _, name := range []string{"id", "", ".", "..", "a/b", "a?b#c", "%2f", "\r\n", "\x00", "/", "a//b", "ü"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		path, err := pathOf(name, "credential")
		if err != nil {
			if freshet.AsError(err).Kind != freshet.Invalid {
				t.Errorf("%q: %v", name, err)
			}
			return
		}
		got := ""
		mux := http.NewServeMux()
		mux.HandleFunc("POST /v1/identities/{name}/credential", func(_ http.ResponseWriter, r *http.Request) { got = r.PathValue("name") })
		req, err := http.NewRequest("POST", "http://freshet"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if mux.ServeHTTP(httptest.NewRecorder(), req); got != name {
			t.Errorf("%q is asked for as %q", name, got)
		}
	})
}
