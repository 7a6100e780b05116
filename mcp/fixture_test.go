package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	legacyEra = "2025-11-25"
	modernEra = "2026-07-28"
)

// origin is an MCP server that a bridge has behind it.
type origin struct {
	*httptest.Server
	mcp      *sdk.Server
	requests atomic.Int64 // POSTs
	deletes  atomic.Int64
	opened   atomic.Int64 // sessions
	calls    atomic.Int64 // of tools
	forget   atomic.Bool  // sessions are not known any more: 404, once for each request that sees it
	between  atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	release  chan struct{}
	once     sync.Once
	ended    chan struct{} // a slow tool was cancelled
}

func textResult(s string) *sdk.CallToolResult {
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: s}}}
}

func newOrigin(t testing.TB, era string) *origin {
	t.Helper()
	o := &origin{release: make(chan struct{}), ended: make(chan struct{}, 1000)}
	o.mcp = sdk.NewServer(&sdk.Implementation{Name: "origin", Version: "1"}, &sdk.ServerOptions{
		Instructions: "use it well",
		Capabilities: &sdk.ServerCapabilities{Logging: &sdk.LoggingCapabilities{}, Tools: &sdk.ToolCapabilities{ListChanged: true},
			Resources: &sdk.ResourceCapabilities{ListChanged: true, Subscribe: true}, Prompts: &sdk.PromptCapabilities{ListChanged: true}},
		SubscribeHandler:   func(context.Context, *sdk.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *sdk.UnsubscribeRequest) error { return nil },
		CompletionHandler: func(_ context.Context, r *sdk.CompleteRequest) (*sdk.CompleteResult, error) {
			return &sdk.CompleteResult{Completion: sdk.CompletionResultDetails{Values: []string{r.Params.Ref.Name + r.Params.Argument.Value + "!"}}}, nil
		},
	})
	o.tools()
	o.mcp.AddPrompt(&sdk.Prompt{Name: "greet"}, func(_ context.Context, r *sdk.GetPromptRequest) (*sdk.GetPromptResult, error) {
		return &sdk.GetPromptResult{Description: "hello " + r.Params.Arguments["who"], Messages: []*sdk.PromptMessage{}}, nil
	})
	o.mcp.AddResource(&sdk.Resource{Name: "r", URI: "test://r"}, func(_ context.Context, r *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
		return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{{URI: r.Params.URI, Text: "content"}}}, nil
	})
	stateless := era == modernEra
	h := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return o.mcp }, &sdk.StreamableHTTPOptions{
		Stateless: stateless, PropagateRequestCancellation: true,
	})
	o.mcp.AddReceivingMiddleware(func(next sdk.MethodHandler) sdk.MethodHandler {
		return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
			if method == "initialize" {
				o.opened.Add(1)
			}
			return next(ctx, method, r)
		}
	})
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			o.requests.Add(1)
		case http.MethodDelete:
			o.deletes.Add(1)
		}
		if f := o.between.Load(); f != nil && (*f)(w, r) {
			return
		}
		if r.Header.Get("Mcp-Session-Id") != "" && r.Method == http.MethodPost && o.forget.CompareAndSwap(true, false) {
			http.Error(w, "session not found", http.StatusNotFound)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		o.let()
		o.CloseClientConnections()
		for s := range o.mcp.Sessions() { // those that it was told to forget, which nobody ends
			go s.Close()
		}
		o.Close()
	})
	return o
}

// let has slow tools end.
func (o *origin) let() { o.once.Do(func() { close(o.release) }) }

// hijack has all requests go through f first, which reports whether it answered.
func (o *origin) hijack(f func(w http.ResponseWriter, r *http.Request) bool) { o.between.Store(&f) }

func (o *origin) tools() {
	object := json.RawMessage(`{"type":"object"}`)
	yes := true
	o.mcp.AddTool(&sdk.Tool{Name: "echo", Description: "says it again", InputSchema: json.RawMessage(`{"type":"object","properties":{"text":{"type":"string"}}}`),
		Annotations: &sdk.ToolAnnotations{ReadOnlyHint: true}},
		func(_ context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			o.calls.Add(1)
			return textResult(string(r.Params.Arguments)), nil
		})
	o.mcp.AddTool(&sdk.Tool{Name: "write", InputSchema: object, Annotations: &sdk.ToolAnnotations{DestructiveHint: &yes}},
		func(_ context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			o.calls.Add(1)
			return textResult("written"), nil
		})
	o.mcp.AddTool(&sdk.Tool{Name: "meta", InputSchema: object}, func(_ context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		data, _ := json.Marshal(r.Params.Meta)
		return textResult(string(data)), nil
	})
	o.mcp.AddTool(&sdk.Tool{Name: "slow", InputSchema: object}, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		o.calls.Add(1)
		select {
		case <-ctx.Done():
			o.ended <- struct{}{}
			return nil, ctx.Err()
		case <-o.release:
			return textResult("late"), nil
		}
	})
	o.mcp.AddTool(&sdk.Tool{Name: "steps", InputSchema: object}, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		for i := range 5 {
			_ = r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i + 1), Total: 5, Message: "step"})
		}
		return textResult("done"), nil
	})
	o.mcp.AddTool(&sdk.Tool{Name: "talk", InputSchema: object}, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		_ = r.Session.Log(ctx, &sdk.LoggingMessageParams{Level: "warning", Data: "hear this"})
		return textResult("said"), nil
	})
	o.mcp.AddTool(&sdk.Tool{Name: "elicit", InputSchema: object}, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		res, err := r.Session.Elicit(ctx, &sdk.ElicitParams{Message: "who?", RequestedSchema: json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"}}}`)})
		if err != nil {
			return nil, err
		}
		return textResult(fmt.Sprint(res.Action, " ", res.Content["name"])), nil
	})
	o.mcp.AddTool(&sdk.Tool{Name: "sample", InputSchema: object}, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		res, err := r.Session.CreateMessageWithTools(ctx, &sdk.CreateMessageWithToolsParams{MaxTokens: 10, Messages: []*sdk.SamplingMessageV2{{Role: "user", Content: []sdk.Content{&sdk.TextContent{Text: "hi"}}}}})
		if err != nil {
			return nil, err
		}
		return textResult(res.Model), nil
	})
	o.mcp.AddTool(&sdk.Tool{Name: "roots", InputSchema: object}, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		res, err := r.Session.ListRoots(ctx, nil)
		if err != nil {
			return nil, err
		}
		return textResult(res.Roots[0].URI), nil
	})
	o.mcp.AddTool(&sdk.Tool{Name: "rounds", InputSchema: object}, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		n := len(r.Params.RequestState)
		if n < 3 {
			if n > 0 && r.Params.InputResponses["a"] == nil {
				return nil, errors.New("no answer")
			}
			return &sdk.CallToolResult{InputRequests: sdk.InputRequestMap{"a": &sdk.ElicitParams{Mode: "form", Message: "more?"}}, RequestState: strings.Repeat("x", n+1)}, nil
		}
		return textResult("after three"), nil
	})
}

// journal keeps what a bridge observed and logged.
type journal struct {
	mu     sync.Mutex
	events []Event
	text   strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) observe(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
}

// last is the newest event of a method.
func (j *journal) last(method string) Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := len(j.events) - 1; i >= 0; i-- {
		if j.events[i].Method == method {
			return j.events[i]
		}
	}
	return Event{}
}

func (o *origin) upstream(t testing.TB) Upstream {
	t.Helper()
	u, err := url.Parse(o.URL + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	return Upstream{URL: u, Profiles: []Profile{{Name: "main", Transport: &http.Transport{}}}}
}

func newBridge(t testing.TB, c Config) (*Bridge, *journal) {
	t.Helper()
	j := &journal{}
	c.Name, c.Version = "tests", "1"
	c.Log = slog.New(slog.NewTextHandler(j, nil))
	c.Observe = j.observe
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b, j
}

// front is how an agent reaches a bridge.
type front string

const (
	stdio front = "stdio"
	web_  front = "http"
)

// connect is an agent of an era.
func connect(t testing.TB, b *Bridge, how front, era string, opts *sdk.ClientOptions) *sdk.ClientSession {
	t.Helper()
	session, err := dial(t, b, how, era, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	if got := session.InitializeResult().ProtocolVersion; got != era {
		t.Fatalf("version: got %s, want %s", got, era)
	}
	return session
}

func dial(t testing.TB, b *Bridge, how front, era string, opts *sdk.ClientOptions) (*sdk.ClientSession, error) {
	t.Helper()
	client := sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "9"}, opts)
	so := &sdk.ClientSessionOptions{ProtocolVersion: era}
	if how == stdio {
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
		return client.Connect(t.Context(), &sdk.IOTransport{Reader: near, Writer: near}, so)
	}
	s := httptest.NewServer(b.Handler(func(r *http.Request) string { return r.Header.Get("X-Caller") }))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return client.Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: s.URL}, so)
}

func callText(t testing.TB, s *sdk.ClientSession, name string, args any) string {
	t.Helper()
	r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: name, Arguments: args})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if r.IsError {
		t.Fatalf("%s: tool error: %s", name, textOf(r))
	}
	return textOf(r)
}

func textOf(r *sdk.CallToolResult) string {
	var b strings.Builder
	for _, c := range r.Content {
		if text, ok := c.(*sdk.TextContent); ok {
			b.WriteString(text.Text)
		}
	}
	return b.String()
}

// refusedText calls a tool that is to answer with an error for the model, and yields that.
func refusedText(t testing.TB, s *sdk.ClientSession, name string, args any) string {
	t.Helper()
	r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: name, Arguments: args})
	if err != nil {
		t.Fatalf("%s: got the JSON-RPC error %v, want a result", name, err)
	}
	if !r.IsError {
		t.Fatalf("%s: got %s, want an error", name, textOf(r))
	}
	return textOf(r)
}

func names(t testing.TB, s *sdk.ClientSession) []string {
	t.Helper()
	r, err := s.ListTools(t.Context(), &sdk.ListToolsParams{})
	if err != nil {
		t.Fatal(err)
	}
	list := make([]string, 0, len(r.Tools))
	for _, tool := range r.Tools {
		list = append(list, tool.Name)
	}
	return list
}

// eventually waits for something that other goroutines bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	each(t, 2*time.Millisecond, what, ok)
}

func each(t testing.TB, pause time.Duration, what string, ok func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-late:
			t.Fatalf("not within 20 s: %s", what)
		case <-time.After(pause):
		}
	}
}

// everyWay runs a test for each front, each era of the agent and each era of the upstream.
func everyWay(t *testing.T, f func(t *testing.T, how front, agent, up string)) {
	for _, how := range []front{stdio, web_} {
		for _, agent := range []string{legacyEra, modernEra} {
			for _, up := range []string{legacyEra, modernEra} {
				t.Run(fmt.Sprintf("%s_%s_%s", how, agent, up), func(t *testing.T) { f(t, how, agent, up) })
			}
		}
	}
}

func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		late := time.After(10 * time.Second)
		for runtime.NumGoroutine() > before+2 && code == 0 {
			select {
			case <-late:
				buf := make([]byte, 1<<20)
				fmt.Printf("goroutines: %d before, %d after\n%s\n", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
				code = 1
			case <-time.After(20 * time.Millisecond):
				http.DefaultTransport.(*http.Transport).CloseIdleConnections()
			}
		}
	}
	exit(code)
}

type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// attach connects a client over stdio.
func attach(t testing.TB, b *Bridge, client *sdk.Client, era string) *sdk.ClientSession {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Serve(context.Background(), far, "uid 7")
	}()
	s, err := client.Connect(t.Context(), &sdk.IOTransport{Reader: near, Writer: near}, &sdk.ClientSessionOptions{ProtocolVersion: era})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close()
		_ = near.Close()
		<-done
	})
	return s
}

func newTestLog(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(&journal{}, nil))
}
