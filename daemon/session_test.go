package daemon

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"freshet.dev/broker"
	"freshet.dev/freshet"
)

// newSessions serves one static token to this process's user, and to one other.
func newSessions(t *testing.T) *Sessions {
	t.Helper()
	cfg := load(t, "identities: {id: {source: file, path: DIR/token, allow: {uids: [1, 2]}}}\n")
	b, err := Broker(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return &Sessions{Broker: b}
}

func TestSessionsOfOneUserAreBounded(t *testing.T) {
	s := newSessions(t)
	first, second := broker.Caller{Door: "socket", Peer: true, UID: 1}, broker.Caller{Door: "socket", Peer: true, UID: 2}
	var closers []func()
	for range maxSessions {
		o, err := s.Open(t.Context(), first, []string{"id"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		closers = append(closers, o.Close)
	}
	if _, err := s.Open(t.Context(), first, []string{"id"}, 0); !errors.Is(err, freshet.Unavailable) {
		t.Errorf("one more: got %v, want it refused", err)
	}
	o, err := s.Open(t.Context(), second, []string{"id"}, 0)
	if err != nil {
		t.Fatalf("another user: %v", err)
	}
	o.Close()
	closers[0]()
	if o, err = s.Open(t.Context(), first, []string{"id"}, 0); err != nil {
		t.Errorf("after one has ended: %v", err)
	} else {
		o.Close()
	}
	for _, c := range closers[1:] {
		c()
	}
	if _, err := s.Open(t.Context(), first, []string{"unknown"}, 0); err == nil || len(s.open) != 0 {
		t.Errorf("a session that could not be opened: got %v, and counts %v", err, s.open)
	}
}

// TestSessionOfEveryDialect opens sessions for identities of several kinds: each SDK is pointed at its own.
func TestSessionOfEveryDialect(t *testing.T) {
	cfg := load(t, `identities:
  az: {source: azure-cli, program: DIR/az}
  keys: {source: lab, type: aws}
  api: {source: lab, type: bearer}
`)
	az := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "az")
	script := "#!/bin/sh\necho '{\"accessToken\": \"tok\", \"expires_on\": 4000000000, \"tokenType\": \"Bearer\"}'\n"
	if err := os.WriteFile(az, []byte(strings.Replace(script, "4000000000", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10), 1)), 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := Broker(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	s := &Sessions{Broker: b}
	self := broker.Caller{Door: "socket", Peer: true, UID: uint32(os.Getuid())}
	const azure, aws, oauth = "IDENTITY_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "FRESHET_TOKEN_URL"
	for names, want := range map[string][]string{
		"az": {azure}, "keys": {aws}, "api": {oauth}, "az,keys": {azure, aws}, "az,api": {azure, oauth}, "az,keys,api": {azure, aws, oauth},
	} {
		o, err := s.Open(t.Context(), self, strings.Split(names, ","), 0)
		if err != nil {
			t.Fatalf("%s: %v", names, err)
		}
		env := o.Opened.Environment
		for _, v := range []string{azure, aws, oauth} {
			if _, got := env[v]; got != slices.Contains(want, v) {
				t.Errorf("%s: %s is there: %v", names, v, got)
			}
		}
		if client := env["FRESHET_CLIENT_ID"]; client != "" && client != "api" {
			t.Errorf("%s: the OAuth client is %s", names, client)
		}
		o.Close()
	}
}

// TestPathsAreRefusedInTheDialect asks for what no dialect answers, and for what an http.ServeMux would redirect.
func TestPathsAreRefusedInTheDialect(t *testing.T) {
	s := newSessions(t)
	o, err := s.Open(t.Context(), broker.Caller{Door: "socket", Peer: true, UID: 1}, []string{"id"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	base := strings.TrimSuffix(o.Opened.Environment["FRESHET_TOKEN_URL"], "/token")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for path, host := range map[string]string{"/": "", "//token": "", "/x/../token": "", "/token/": "", "/elsewhere": "example.com"} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := http.StatusNotFound
		if host != "" {
			req.Host, want = host, http.StatusForbidden
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != want || got != "application/json" {
			t.Errorf("%s: status %d and %q, want %d in JSON", path, resp.StatusCode, got, want)
		}
	}
}
