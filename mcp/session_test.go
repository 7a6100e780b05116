package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

func toolsChanged(c chan struct{}) func(context.Context, *sdk.ToolListChangedRequest) {
	return func(context.Context, *sdk.ToolListChangedRequest) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func TestALostSessionIsOpenedAnewOnce(t *testing.T) {
	for _, how := range []front{stdio, web_} {
		t.Run(string(how), func(t *testing.T) {
			o := newOrigin(t, legacyEra)
			var levels, subscriptions atomic.Int64
			o.mcp.AddReceivingMiddleware(func(next sdk.MethodHandler) sdk.MethodHandler {
				return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
					switch method {
					case "logging/setLevel":
						levels.Add(1)
					case "resources/subscribe":
						subscriptions.Add(1)
					}
					return next(ctx, method, r)
				}
			})
			b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
			s := connect(t, b, how, legacyEra, nil)
			names(t, s)
			if err := s.SetLoggingLevel(t.Context(), &sdk.SetLoggingLevelParams{Level: "error"}); err != nil {
				t.Fatal(err)
			}
			if err := s.Subscribe(t.Context(), &sdk.SubscribeParams{URI: "test://r"}); err != nil {
				t.Fatal(err)
			}
			o.forget.Store(true)
			if got := callText(t, s, "echo", map[string]any{"a": 1}); got != `{"a":1}` { // known to read
				t.Errorf("got %s", got)
			}
			if o.opened.Load() != 2 || o.calls.Load() != 1 {
				t.Errorf("%d sessions, %d calls: want 2, 1", o.opened.Load(), o.calls.Load())
			}
			if levels.Load() != 2 || subscriptions.Load() != 2 {
				t.Errorf("the level was set %d times, the resource subscribed to %d times: want 2, 2", levels.Load(), subscriptions.Load())
			}
			o.forget.Store(true)
			if got := callText(t, s, "write", nil); got != "written" { // 404: it was not taken
				t.Errorf("got %q", got)
			}
			if o.calls.Load() != 2 {
				t.Errorf("%d calls, want 2", o.calls.Load())
			}
			if o.opened.Load() != 3 {
				t.Errorf("%d sessions, want 3", o.opened.Load())
			}
		})
	}
}

func TestASessionThatIsLostTwiceIsAnError(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	s := connect(t, b, stdio, legacyEra, nil)
	names(t, s)
	status(o, "tools/list", 404, "", "")
	_, err := s.ListTools(t.Context(), &sdk.ListToolsParams{})
	if e := wireError(t, err); !strings.Contains(e.Message, "lost, and again") {
		t.Errorf("got %q", e.Message)
	}
	if o.opened.Load() != 2 {
		t.Errorf("%d sessions, want 2", o.opened.Load())
	}
}

// TestAnOlderServersWordForALostSession is what servers of the TypeScript SDK say: 400, and why.
func TestAnOlderServersWordForALostSession(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	s := connect(t, b, stdio, legacyEra, nil)
	names(t, s)
	var once sync.Once
	o.hijack(func(w http.ResponseWriter, r *http.Request) (did bool) {
		if r.Method == http.MethodPost && r.Header.Get("Mcp-Session-Id") != "" {
			once.Do(func() {
				did = true
				w.WriteHeader(400)
				fmt.Fprint(w, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}`)
			})
		}
		return did
	})
	names(t, s)
	if o.opened.Load() != 2 {
		t.Errorf("%d sessions, want 2", o.opened.Load())
	}
}

// TestAnAnswerThatBreaksOffIsAskedForAgain breaks a stream off before its result. What reads is done again, what writes is not, and
// the calls beside it go on.
func TestAnAnswerThatBreaksOffIsAskedForAgain(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	s := connect(t, b, stdio, legacyEra, nil)
	names(t, s)
	beside := make(chan string, 1)
	go func() { beside <- callText(t, s, "slow", nil) }()
	eventually(t, "the other runs", func() bool { return o.calls.Load() == 1 })
	var left atomic.Int64
	o.hijack(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || left.Add(-1) < 0 {
			return false
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, ": nothing\n\n")
		return true
	})
	left.Store(1)
	if got := callText(t, s, "echo", map[string]any{"a": 1}); got != `{"a":1}` {
		t.Errorf("got %s", got)
	}
	left.Store(1)
	if got := refusedText(t, s, "write", nil); !strings.Contains(got, "not known whether the tool has run") {
		t.Errorf("got %q", got)
	}
	o.let()
	if got := <-beside; got != "late" {
		t.Errorf("beside: got %q", got)
	}
	if o.opened.Load() != 1 {
		t.Errorf("%d sessions, want 1", o.opened.Load())
	}
}

func TestAnAgentThatHangsUpEndsItsUpstreamSessions(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- b.Serve(context.Background(), far, "me") }()
	client := sdk.NewClient(&sdk.Implementation{Name: "agent"}, nil)
	s, err := client.Connect(t.Context(), &sdk.IOTransport{Reader: near, Writer: near}, &sdk.ClientSessionOptions{ProtocolVersion: legacyEra})
	if err != nil {
		t.Fatal(err)
	}
	callText(t, s, "echo", nil)
	_ = near.Close()
	if err := <-done; err != nil {
		t.Errorf("got %v, want a plain end", err)
	}
	if o.deletes.Load() != 1 {
		t.Errorf("%d sessions ended at the upstream, want 1", o.deletes.Load())
	}
	_ = s.Close()
}

// TestWhatWasAskedBeforeTheEndIsAnswered is an agent that writes its requests, says no more, and reads.
func TestWhatWasAskedBeforeTheEndIsAnswered(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	in := strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"0"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"a":1}}}
`)
	var out journal
	if err := b.Serve(t.Context(), struct {
		*strings.Reader
		*journal
		closer
	}{in, &out, closer{}}, "me"); err != nil {
		t.Errorf("got %v", err)
	}
	for _, want := range []string{`"id":1`, `"id":2`, `{\"a\":1}`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %s, want %s in it", out.String(), want)
		}
	}
}

type closer struct{}

func (closer) Close() error { return nil }

func TestServeEndsWithItsContext(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, far, "me") }()
	client := sdk.NewClient(&sdk.Implementation{Name: "agent"}, nil)
	s, err := client.Connect(t.Context(), &sdk.IOTransport{Reader: near, Writer: near}, &sdk.ClientSessionOptions{ProtocolVersion: legacyEra})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = s.CallTool(t.Context(), &sdk.CallToolParams{Name: "slow"}) }()
	eventually(t, "the tool runs", func() bool { return o.calls.Load() == 1 })
	cancel()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
	if o.deletes.Load() != 1 {
		t.Errorf("%d sessions ended at the upstream, want 1", o.deletes.Load())
	}
	_ = s.Close()
	b.Close()
	if err := b.Serve(t.Context(), far, "me"); err == nil {
		t.Error("a closed bridge serves")
	}
}

func TestAPoolOfUpstreamSessions(t *testing.T) {
	o := newOrigin(t, legacyEra)
	u := o.upstream(t)
	u.Sessions = 3
	b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
	s := connect(t, b, stdio, legacyEra, nil)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() { callText(t, s, "slow", nil) })
	}
	eventually(t, "all run", func() bool { return o.calls.Load() == 6 })
	o.let()
	all.Wait()
	if o.opened.Load() != 3 {
		t.Errorf("%d sessions, want 3", o.opened.Load())
	}
}

// TestAFloodOfNotificationsIsBounded has an upstream tell more than an agent takes, which reads nothing.
func TestAFloodOfNotificationsIsBounded(t *testing.T) {
	o := newOutbox(newTestLog(t))
	ctx, cancel := context.WithCancel(t.Context())
	stuck := make(chan struct{})
	var sent atomic.Int64
	o.put(1, func() { <-stuck })
	done := make(chan struct{})
	go func() { defer close(done); o.run(ctx) }()
	for range 100_000 {
		o.put(100, func() { sent.Add(1) })
	}
	o.mu.Lock()
	n := len(o.queue)
	o.mu.Unlock()
	if n > maxNotices {
		t.Errorf("%d are kept", n)
	}
	o.put(2<<20, func() { t.Error("too big, and kept") })
	close(stuck)
	o.flush(ctx, 10*time.Second)
	if got := sent.Load(); got == 0 || got > maxNotices {
		t.Errorf("%d were sent", got)
	}
	cancel()
	<-done
}

func TestAFloodFromAnUpstreamDoesNotStopACall(t *testing.T) {
	u := raw(t, func(w http.ResponseWriter, method string, id json.RawMessage) {
		w.Header().Set("Content-Type", "text/event-stream")
		if method != "tools/call" {
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"tools\":[]}}\n\n", id)
			return
		}
		for i := range 20_000 {
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":%d}}\n\n", i)
			if i%10 == 0 {
				fmt.Fprint(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n")
			}
		}
		fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"ok\"}]}}\n\n", id)
	})
	b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
	var changed atomic.Int64
	s := connect(t, b, stdio, legacyEra, &sdk.ClientOptions{ToolListChangedHandler: func(context.Context, *sdk.ToolListChangedRequest) { changed.Add(1) }})
	if got := callText(t, s, "x", nil); got != "ok" {
		t.Errorf("got %q", got)
	}
	eventually(t, "a changed list", func() bool { return changed.Load() > 0 })
	if n := changed.Load(); n > 200 {
		t.Errorf("told %d times of a changed list", n)
	}
}

// TestACancellationDoesNotOvertakeItsCall gives a call up before its upstream has read it.
func TestACancellationDoesNotOvertakeItsCall(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	s := connect(t, b, stdio, legacyEra, nil)
	names(t, s)
	reading := make(chan struct{})
	o.hijack(func(w http.ResponseWriter, r *http.Request) bool {
		data, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(data)))
		if strings.Contains(string(data), `"tools/call"`) {
			close(reading)
			<-time.After(50 * time.Millisecond)
			*r = *r.WithContext(context.WithoutCancel(r.Context()))
		}
		return false
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, _ = s.CallTool(ctx, &sdk.CallToolParams{Name: "slow"}) }()
	<-reading
	cancel()
	eventually(t, "the tool is cancelled", func() bool { return len(o.ended) == 1 })
}
