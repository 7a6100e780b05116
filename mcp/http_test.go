package mcp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

func serve(t *testing.T, b *Bridge) string {
	t.Helper()
	s := httptest.NewServer(b.Handler(func(r *http.Request) string { return r.Header.Get("X-Caller") }))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}

// post sends a message as a client of streamable HTTP.
func post(t *testing.T, url, caller, session, version, body string) *http.Response {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("X-Caller", caller)
	if session != "" {
		r.Header.Set("Mcp-Session-Id", session)
	}
	if version != "" {
		r.Header.Set("Mcp-Protocol-Version", version)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

const hi = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"0"}}}`

func TestASessionIsItsCallersAlone(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	url := serve(t, b)
	resp := post(t, url, "one", "", "", hi)
	id := resp.Header.Get("Mcp-Session-Id")
	_, _ = io.Copy(io.Discard, resp.Body)
	if id == "" {
		t.Fatal("no session")
	}
	call := `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{}}}`
	if got := post(t, url, "one", id, legacyEra, call).StatusCode; got != 200 {
		t.Errorf("its own: got %d", got)
	}
	for what, caller := range map[string]string{"another's": "two", "nobody's": ""} {
		if got := post(t, url, caller, id, legacyEra, call).StatusCode; got != 404 {
			t.Errorf("%s: got %d, want 404", what, got)
		}
	}
	if got := post(t, url, "one", "invented", legacyEra, call).StatusCode; got != 404 {
		t.Errorf("an invented one: got %d, want 404", got)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		r, _ := http.NewRequestWithContext(t.Context(), method, url, nil)
		r.Header.Set("Mcp-Session-Id", id)
		r.Header.Set("Accept", "text/event-stream")
		r.Header.Set("X-Caller", "two")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 404 {
			t.Errorf("%s by another: got %d, want 404", method, resp.StatusCode)
		}
	}
	if got := post(t, url, "one", "", legacyEra, call).StatusCode; got != 400 {
		t.Errorf("a call without a session: got %d, want 400", got)
	}
}

// TestASessionThatEndsLeavesNothing deletes it, as agents do.
func TestASessionThatEndsLeavesNothing(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	for range 3 {
		s := connect(t, b, web_, legacyEra, nil)
		callText(t, s, "echo", nil)
		_ = s.Close()
	}
	eventually(t, "all ended", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.web.mu.Lock()
		defer b.web.mu.Unlock()
		return len(b.agents) == 0 && b.web.sum == 0 && len(b.web.byID) == 0 && len(b.web.count) == 0
	})
	if o.deletes.Load() != 3 {
		t.Errorf("%d upstream sessions ended, want 3", o.deletes.Load())
	}
}

func TestSessionsOfOneCallerAreBounded(t *testing.T) {
	o := newOrigin(t, modernEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	url := serve(t, b)
	b.web.mu.Lock()
	b.web.count["greedy"] = maxOfCaller
	b.web.mu.Unlock()
	resp := post(t, url, "greedy", "", "", hi)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %d", resp.StatusCode)
	}
	if got := post(t, url, "modest", "", "", hi).StatusCode; got != 200 {
		t.Errorf("another: got %d", got)
	}
}

// TestAStreamIsResumed breaks off an agent's stream during a call; the result is there for whoever asks for what came after the last
// event.
func TestAStreamIsResumed(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	url := serve(t, b)
	resp := post(t, url, "one", "", "", hi)
	id := resp.Header.Get("Mcp-Session-Id")
	_, _ = io.Copy(io.Discard, resp.Body)
	post(t, url, "one", id, legacyEra, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	resp = post(t, url, "one", id, legacyEra, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"slow","arguments":{}}}`)
	lines := bufio.NewScanner(resp.Body)
	last := ""
	for lines.Scan() && last == "" {
		if v, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			last = v
		}
	}
	eventually(t, "the tool runs", func() bool { return o.calls.Load() == 1 })
	resp.Body.Close()
	o.let()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	for k, v := range map[string]string{"Mcp-Session-Id": id, "Last-Event-Id": last, "X-Caller": "one", "Accept": "text/event-stream", "Mcp-Protocol-Version": legacyEra} {
		r.Header.Set(k, v)
	}
	var err error
	eventually(t, "the stream is free again", func() bool { // once the SDK has noticed that its reader left
		if resp, err = http.DefaultClient.Do(r); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusConflict {
			resp.Body.Close()
			return false
		}
		return true
	})
	defer resp.Body.Close()
	lines = bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"id":2`) && strings.Contains(lines.Text(), "late") {
			return
		}
	}
	t.Errorf("status %d: no result", resp.StatusCode)
}

// TestAStandingStreamThatBreaksIsOpenedAgain has an upstream end its stream of notifications often, which is no end of the session.
func TestAStandingStreamThatBreaksIsOpenedAgain(t *testing.T) {
	const news = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
	var ids []string
	var r round
	n := 0
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.next = roundTrip(func(req *http.Request) (*http.Response, error) {
		ids = append(ids, req.Header.Get("Last-Event-ID"))
		n++
		body := fmt.Sprintf("id: %d\ndata: %s\n\ndata: not a message\n\nid: 99\ndata: broken", n, news)
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
	})
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://x", nil)
	resp := r.listen(req)
	lines := bufio.NewScanner(resp.Body)
	var got []string
	for len(got) < 4 && lines.Scan() {
		if lines.Text() != "" {
			got = append(got, lines.Text())
		}
	}
	cancel()
	resp.Body.Close()
	if want := []string{"id: 1", "data: " + news, "id: 2", "data: " + news}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !slices.Equal(ids[:2], []string{"", "1"}) {
		t.Errorf("asked from %q", ids)
	}
}

// TestAddedLatency prints what a bridge adds to a call, against the SDK's own client without one.
func TestAddedLatency(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	direct, err := sdk.NewClient(&sdk.Implementation{Name: "agent"}, nil).Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: o.URL}, &sdk.ClientSessionOptions{ProtocolVersion: legacyEra})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	bridged := connect(t, b, stdio, legacyEra, nil)
	median := func(s *sdk.ClientSession) time.Duration {
		var took []time.Duration
		for range 100 {
			began := time.Now()
			callText(t, s, "echo", nil)
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	median(direct)
	median(bridged)
	d, m := median(direct), median(bridged)
	t.Logf("a call: %v directly, %v through a bridge over stdio: %v added", d, m, m-d)
}

func TestASessionThatIsDeletedEndsItsCalls(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	url := serve(t, b)
	resp := post(t, url, "one", "", "", hi)
	id := resp.Header.Get("Mcp-Session-Id")
	_, _ = io.Copy(io.Discard, resp.Body)
	post(t, url, "one", id, legacyEra, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"slow","arguments":{}}}`)
	eventually(t, "the tool runs", func() bool { return o.calls.Load() == 1 })
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, nil)
	r.Header.Set("Mcp-Session-Id", id)
	r.Header.Set("X-Caller", "one")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	eventually(t, "the tool is cancelled", func() bool { return len(o.ended) == 1 })
}
