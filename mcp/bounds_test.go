package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
	"freshet.dev/mcp/tools"
)

// talk is an agent over stdio, message by message.
type talk struct {
	t   *testing.T
	out net.Conn
	in  *json.Decoder
}

type spoken struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

func talkTo(t *testing.T, b *Bridge) *talk {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Serve(context.Background(), far, "uid 7")
	}()
	t.Cleanup(func() {
		_ = near.Close()
		<-done
	})
	a := &talk{t, near, json.NewDecoder(near)}
	a.say(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"0"}}}`)
	a.answer("0")
	a.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return a
}

func (a *talk) say(text string) {
	if _, err := io.WriteString(a.out, text+"\n"); err != nil {
		a.t.Error(err)
	}
}

// answer is the next answer to a request; what else is said meanwhile is not looked at.
func (a *talk) answer(id string) spoken {
	a.t.Helper()
	for {
		var m spoken
		if err := a.in.Decode(&m); err != nil {
			a.t.Fatal(err)
		}
		if string(m.ID) == id {
			return m
		}
	}
}

func TestAnAgentHasSoManyRequestsAtATime(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	a := talkTo(t, b)
	answers := make(chan spoken, 2*maxWorking)
	go func() {
		for {
			var m spoken
			if a.in.Decode(&m) != nil {
				return
			}
			answers <- m
		}
	}()
	for i := range maxWorking {
		a.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"slow","arguments":{}}}`, i+100))
	}
	eventually(t, "all of them are going on", func() bool { return o.calls.Load() == maxWorking })
	next := func(id string) spoken {
		t.Helper()
		select {
		case m := <-answers:
			if string(m.ID) != id {
				t.Fatalf("got an answer to %s, want one to %s", m.ID, id)
			}
			return m
		case <-time.After(20 * time.Second):
			t.Fatalf("no answer to %s", id)
		}
		panic("unreachable")
	}
	a.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow","arguments":{}}}`)
	if m := next("1"); !strings.Contains(string(m.Result), "too many requests at a time") || !strings.Contains(string(m.Result), `"isError":true`) {
		t.Errorf("call: got %s", m.Result)
	}
	a.say(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	if m := next("2"); m.Error == nil || !strings.Contains(m.Error.Message, "too many requests at a time") {
		t.Errorf("list: got %+v", m)
	}
	a.say(`{"jsonrpc":"2.0","id":3,"method":"ping"}`)
	if m := next("3"); m.Error != nil {
		t.Errorf("ping: got %+v", m.Error)
	}
	if n := o.calls.Load(); n != maxWorking {
		t.Errorf("%d calls have reached the upstream, want %d", n, maxWorking)
	}
	o.let()
	for range maxWorking {
		<-answers
	}
	a.say(`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"echo","arguments":{}}}`)
	if m := next("4"); m.Error != nil || strings.Contains(string(m.Result), "isError") {
		t.Errorf("afterwards: got %s %+v", m.Result, m.Error)
	}
}

func TestAnAgentListensSoOftenAtATime(t *testing.T) {
	b, _ := newBridge(t, Config{Upstreams: []Upstream{newOrigin(t, legacyEra).upstream(t)}})
	a, err := b.agent("uid 7", true)
	if err != nil {
		t.Fatal(err)
	}
	var over func()
	for range maxListening {
		var ok bool
		if over, ok = a.admit("subscriptions/listen"); !ok {
			t.Fatal("not let in")
		}
	}
	if _, ok := a.admit("subscriptions/listen"); ok {
		t.Errorf("more than %d", maxListening)
	}
	if _, ok := a.admit("tools/call"); !ok {
		t.Error("what listens keeps a call away")
	}
	over()
	if _, ok := a.admit("subscriptions/listen"); !ok {
		t.Error("one that has ended keeps its place")
	}
}

// TestACredentialThatCannotBeHadIsWaitedForOnce has an issuer that is down, which takes the route five seconds to find out.
func TestACredentialThatCannotBeHadIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits atomic.Int64
		u := Upstream{URL: &url.URL{Scheme: "https", Host: "mcp.example.com", Path: "/mcp"}, Profiles: []Profile{{Name: "main", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			waits.Add(1)
			select {
			case <-time.After(5 * time.Second):
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
			return nil, &freshet.Error{Kind: freshet.Unavailable, Identity: "prod", Why: "connection refused"}
		})}}}
		u.Policy = tools.Policy{ReadOnly: true}
		b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
		defer b.Close()
		began := time.Now()
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); _ = b.Serve(context.Background(), far, "uid 7") }()
		a := &talk{t, near, json.NewDecoder(near)}
		a.say(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"0"}}}`)
		a.answer("0")
		a.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		if m := a.answer("1"); m.Error == nil || !strings.Contains(m.Error.Message, "connection refused") {
			t.Errorf("list: got %+v", m)
		}
		a.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{}}}`)
		if m := a.answer("2"); !strings.Contains(string(m.Result), "connection refused") {
			t.Errorf("call: got %s", m.Result)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("took %v: want the one wait", took)
		}
		if n := waits.Load(); n != 1 {
			t.Errorf("%d waits, want 1", n)
		}
		time.Sleep(keptFailed)
		a.say(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{}}}`)
		a.answer("3")
		if n := waits.Load(); n < 2 {
			t.Error("it is not tried again")
		}
		_ = near.Close()
		<-done
	})
}

// TestACallOfALostSessionIsMadeAgain calls a tool that writes: the upstream says that it has no such session, and so has not begun.
func TestACallOfALostSessionIsMadeAgain(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	s := connect(t, b, stdio, legacyEra, nil)
	callText(t, s, "echo", nil)
	o.forget.Store(true)
	if got := callText(t, s, "write", nil); got != "written" {
		t.Errorf("got %q", got)
	}
	if o.calls.Load() != 2 || o.opened.Load() != 2 {
		t.Errorf("%d calls in %d sessions, want 2 in 2", o.calls.Load(), o.opened.Load())
	}
	o.hijack(func(w http.ResponseWriter, r *http.Request) bool { // none that lasts
		if r.Method != http.MethodPost {
			return false
		}
		data, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(data)))
		if !strings.Contains(string(data), `"tools/call"`) {
			return false
		}
		http.Error(w, "session not found", http.StatusNotFound)
		return true
	})
	if got := refusedText(t, s, "write", nil); !strings.Contains(got, "lost, and again") {
		t.Errorf("got %q", got)
	}
	if n := o.opened.Load(); n > 4 {
		t.Errorf("%d sessions", n)
	}
}

// TestACallBesideALostSessionIsNotMadeAgain has two calls on a session: one is told that there is no such session, and the other,
// which had begun, is not made twice.
func TestACallBesideALostSessionIsNotMadeAgain(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	s := connect(t, b, stdio, legacyEra, nil)
	callText(t, s, "echo", nil)
	beside := make(chan string, 1)
	go func() {
		r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: "slow"})
		if err != nil {
			beside <- err.Error()
			return
		}
		beside <- textOf(r)
	}()
	eventually(t, "it runs", func() bool { return o.calls.Load() == 2 })
	o.forget.Store(true)
	callText(t, s, "write", nil)
	o.let()
	<-beside
	if n := o.calls.Load(); n != 3 {
		t.Errorf("%d calls, want 3", n)
	}
}

func TestStructuredContentPassesDigitByDigit(t *testing.T) {
	const content = `{"id":9007199254740993,"f":1.0,"deep":[{"n":-12345678901234567890}]}`
	for _, kind := range []string{"application/json", "text/event-stream"} {
		t.Run(kind, func(t *testing.T) {
			u := raw(t, func(w http.ResponseWriter, method string, id json.RawMessage) {
				w.Header().Set("Content-Type", kind)
				text := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[],"structuredContent":%s}}`, id, content)
				if kind == "text/event-stream" {
					text = "data: " + text + "\n\n"
				}
				_, _ = io.WriteString(w, text)
			})
			b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
			a := talkTo(t, b)
			a.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{}}}`)
			if m := a.answer("1"); !strings.Contains(string(m.Result), `"structuredContent":`+content) {
				t.Errorf("got %s %+v", m.Result, m.Error)
			}
		})
	}
}

// TestASessionsEndIsNotWaitedForLong has an upstream that never answers the DELETE.
func TestASessionsEndIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &round{next: roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})}
		began := time.Now()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodDelete, "https://mcp.example.com/", nil)
		if _, err := r.RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v, want 1s", took)
		}
	})
}

func TestTheStandingStreamIsTriedAgain(t *testing.T) {
	for code, want := range map[int]bool{400: true, 401: true, 403: true, 404: false, 405: false, 408: true, 429: true, 500: true, 501: false, 503: true} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var gets atomic.Int64
				r := &round{next: roundTrip(func(*http.Request) (*http.Response, error) {
					gets.Add(1)
					return &http.Response{StatusCode: code, Header: http.Header{}, Body: http.NoBody}, nil
				})}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://mcp.example.com/", nil)
				resp, err := r.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if n := gets.Load(); n > 1 != want {
					t.Errorf("asked %d times", n)
				}
				cancel()
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			})
		})
	}
}

func TestACallersIdlestAgentMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := Upstream{URL: &url.URL{Scheme: "https", Host: "mcp.example.com"}, Profiles: []Profile{{Name: "main", Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, errLost
		})}}}
		b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
		defer b.Close()
		begin := func(caller string) string {
			t.Helper()
			_, id, err := b.web.begin(caller)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		other := begin("two")
		oldest := begin("one")
		time.Sleep(30 * time.Second)
		second := begin("one")
		for range maxOfCaller - 2 {
			begin("one")
		}
		if _, _, err := b.web.begin("one"); err == nil {
			t.Fatal("more than the bound, while nobody has been idle for long")
		}
		time.Sleep(31 * time.Second)
		begin("one")
		if b.web.session(oldest, "one") != nil || b.web.session(second, "one") == nil || b.web.session(other, "two") == nil {
			t.Error("another agent than the one that was idle the longest was ended")
		}
		if n := b.web.count["one"]; n != maxOfCaller {
			t.Errorf("%d agents, want %d", n, maxOfCaller)
		}
		if _, _, err := b.web.begin("one"); err == nil {
			t.Error("an agent that had been idle for less than a minute was ended")
		}
	})
}

// TestAResourceIsTheFirstUpstreams has the second list what the first has.
func TestAResourceIsTheFirstUpstreams(t *testing.T) {
	one, two := newOrigin(t, legacyEra), newOrigin(t, legacyEra)
	two.mcp.AddResource(&sdk.Resource{Name: "r", URI: "test://r"}, func(context.Context, *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
		return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{{URI: "test://r", Text: "the other's"}}}, nil
	})
	first, second := one.upstream(t), two.upstream(t)
	first.Name, second.Name = "a", "b"
	b, j := newBridge(t, Config{Upstreams: []Upstream{first, second}})
	updated := make(chan string, 10)
	s := connect(t, b, stdio, legacyEra, &sdk.ClientOptions{ResourceUpdatedHandler: func(_ context.Context, r *sdk.ResourceUpdatedNotificationRequest) { updated <- r.Params.URI }})
	for range 3 {
		if _, err := s.ListResources(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		r, err := s.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "test://r"})
		if err != nil || r.Contents[0].Text != "content" {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	if n := strings.Count(j.String(), "resource of the same address"); n != 1 {
		t.Errorf("logged %d times, want once: %s", n, j)
	}
	if err := s.Subscribe(t.Context(), &sdk.SubscribeParams{URI: "test://r"}); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	var a *agent
	for a = range b.agents {
	}
	b.mu.Unlock()
	a.updated(b.upstreams[1], "test://r")
	a.updated(b.upstreams[0], "test://r")
	select {
	case <-updated:
	case <-time.After(20 * time.Second):
		t.Fatal("no news")
	}
	a.mu.Lock()
	waits := len(a.fresh)
	a.mu.Unlock()
	if waits != 0 || len(updated) != 0 {
		t.Error("news of another upstream than the one that it was subscribed at")
	}
}

// TestAnOlderListDoesNotReplaceANewerOne has two lists whose answers come in the other order.
func TestAnOlderListDoesNotReplaceANewerOne(t *testing.T) {
	u := newOrigin(t, legacyEra).upstream(t)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
	a, err := b.agent("", false)
	if err != nil {
		t.Fatal(err)
	}
	up := b.upstreams[0]
	_, older, err := a.fetchTools(t.Context(), up)
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.link(up, &up.Profiles[0])
	if err != nil {
		t.Fatal(err)
	}
	a.changed(l, listTools)
	_, newer, err := a.fetchTools(t.Context(), up)
	if err != nil {
		t.Fatal(err)
	}
	a.learn(up, []*sdk.Tool{{Name: "x", Annotations: &sdk.ToolAnnotations{Title: "new"}}}, newer)
	a.learn(up, []*sdk.Tool{{Name: "x", Annotations: &sdk.ToolAnnotations{Title: "old"}}}, older)
	if got := a.known(up, "x").Annotations.Title; got != "new" {
		t.Errorf("got the %s one", got)
	}
	if a.index[up].stale() {
		t.Error("the newer one is not believed")
	}
	a.changed(l, listTools)
	if !a.index[up].stale() {
		t.Error("it is believed after the upstream has told that it is another")
	}
}

func TestTextsAreCutInWholeCharacters(t *testing.T) {
	for most := range 8 {
		if got := upTo("aé日x", most); !utf8.ValidString(got) || len(got) > most || !strings.HasPrefix("aé日x", got) {
			t.Errorf("%d: got %q", most, got)
		}
	}
	if got := upTo("aé日x", 7); got != "aé日x" {
		t.Errorf("got %q", got)
	}
}

// TestChangesAreToldOnceASecond has an upstream whose lists change all the time.
func TestChangesAreToldOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := Upstream{URL: &url.URL{Scheme: "https", Host: "mcp.example.com"}, Profiles: []Profile{{Name: "main", Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, &freshet.Error{Kind: freshet.Denied, Why: "not yet"}
		})}}}
		b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
		defer b.Close()
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); _ = b.Serve(context.Background(), far, "uid 7") }()
		a := &talk{t, near, json.NewDecoder(near)}
		a.say(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"0"}}}`)
		a.answer("0")
		a.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		var told atomic.Int64
		go func() {
			for {
				var m spoken
				if a.in.Decode(&m) != nil {
					return
				}
				if m.Method == "notifications/tools/list_changed" {
					told.Add(1)
				}
			}
		}()
		synctest.Wait()
		b.mu.Lock()
		var one *agent
		for one = range b.agents {
		}
		b.mu.Unlock()
		l, err := one.link(b.upstreams[0], &b.upstreams[0].Profiles[0])
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 { // of 10 s
			one.changed(l, listTools)
			time.Sleep(10 * time.Millisecond)
		}
		if n := told.Load(); n < 5 || n > 12 {
			t.Errorf("told %d times in 10 s", n)
		}
		_ = near.Close()
		<-done
	})
}

// TestAnIndexKeepsWhatACallNeeds has tools with long schemas and a pin.
func TestAnIndexKeepsWhatACallNeeds(t *testing.T) {
	tool := &sdk.Tool{Name: "x", Description: strings.Repeat("d", 1000), InputSchema: map[string]any{"type": "object", "properties": map[string]any{"profile": map[string]any{"type": "string"}}}}
	u := &upstream{Upstream: Upstream{Parameter: "profile", Profiles: []Profile{{Name: "a"}, {Name: "b"}}}}
	gist := u.gist(tool)
	if got, want := u.parameter(gist), u.parameter(tool); got != want || want != "freshet_profile" {
		t.Errorf("parameter: got %q, want %q", got, want)
	}
	if data, _ := json.Marshal(gist); len(data) > 200 || gist.Description != "" {
		t.Errorf("got %s", data)
	}
}
