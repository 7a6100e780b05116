package mcp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// crude is an upstream with sessions that says whatever a test has it say. It has no network.
type crude struct {
	result   atomic.Value // of all methods, unless call is set
	events   atomic.Bool  // answers are event streams
	before   atomic.Value // an event before each of them
	call     func(say func(event string), id string)
	listens  bool
	news     chan string // events of the standing stream
	answers  chan string // the agent's, and the bridge's
	sessions atomic.Int64
}

func newCrude(result string) *crude {
	u := &crude{news: make(chan string), answers: make(chan string, 1000)}
	u.result.Store(result)
	u.before.Store("")
	return u
}

func (u *crude) upstream() Upstream {
	return Upstream{URL: &url.URL{Scheme: "http", Host: "crude.test", Path: "/mcp"}, Profiles: []Profile{{Name: "main", Transport: u}}}
}

// RoundTrip implements [http.RoundTripper].
func (u *crude) RoundTrip(req *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: http.NoBody, Request: req}
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if req.Body != nil {
		body, _ := io.ReadAll(req.Body)
		req.Body.Close()
		_ = json.Unmarshal(body, &m)
		if m.ID != nil && m.Method == "" {
			u.answers <- string(body)
		}
	}
	switch {
	case req.Method == http.MethodGet && u.listens:
		u.stream(resp, func(say func(string)) {
			for {
				select {
				case e := <-u.news:
					say(e)
				case <-req.Context().Done():
					return
				}
			}
		})
		return resp, nil
	case req.Method != http.MethodPost:
		resp.StatusCode = http.StatusMethodNotAllowed
		return resp, nil
	case m.ID == nil || m.Method == "":
		resp.StatusCode = http.StatusAccepted
		return resp, nil
	}
	resp.Header.Set("Mcp-Session-Id", "s1")
	whole := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, u.result.Load())
	switch m.Method {
	case "initialize":
		u.sessions.Add(1)
		whole = fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"logging":{}},"serverInfo":{"name":"crude","version":"1"}}}`, m.ID)
	case "logging/setLevel":
		whole = fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{}}`, m.ID)
	case "server/discover":
		whole = fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}`, m.ID)
	default:
		before := u.before.Load().(string)
		switch {
		case u.call != nil && m.Method == "tools/call":
			u.stream(resp, func(say func(string)) {
				u.call(say, string(m.ID))
				say(whole)
			})
			return resp, nil
		case u.events.Load() || before != "":
			u.stream(resp, func(say func(string)) {
				if before != "" {
					say(before)
				}
				say(whole)
			})
			return resp, nil
		}
	}
	resp.Body = io.NopCloser(strings.NewReader(whole))
	return resp, nil
}

func (u *crude) stream(resp *http.Response, f func(say func(string))) {
	in, out := io.Pipe()
	resp.Header.Set("Content-Type", "text/event-stream")
	resp.Body = in
	go func() {
		defer out.Close()
		f(func(e string) { fmt.Fprintf(out, "data: %s\n\n", e) })
	}()
}

// talker is an agent that says whatever a test has it say.
type talker struct {
	net.Conn
	heard chan string
	id    int
}

func newTalker(t testing.TB, b *Bridge) *talker {
	t.Helper()
	near, far := net.Pipe()
	a := &talker{Conn: near, heard: make(chan string, 1000), id: 10}
	var all sync.WaitGroup
	all.Go(func() { _ = b.Serve(context.Background(), far, "uid 7") })
	all.Go(func() {
		defer close(a.heard)
		lines := bufio.NewScanner(near)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			a.heard <- lines.Text()
		}
	})
	t.Cleanup(func() {
		_ = near.Close()
		all.Wait()
	})
	a.say(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{},"sampling":{},"roots":{}},"clientInfo":{"name":"x","version":"0"}}}`)
	a.until(t, `"id":1,`, nil)
	a.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return a
}

func (a *talker) say(text string) { fmt.Fprintln(a.Conn, text) }

// until is the next that has a text in it. What comes before goes to other.
func (a *talker) until(t testing.TB, text string, other func(string)) string {
	t.Helper()
	late := time.After(time.Hour) // of a bubble; the test's own timeout is the bound elsewhere
	for {
		select {
		case s, ok := <-a.heard:
			if !ok {
				t.Fatal("the bridge hung up")
			}
			if strings.Contains(s, text) {
				return s
			}
			if other != nil {
				other(s)
			}
		case <-late:
			t.Fatalf("nothing with %s in it", text)
		}
	}
}

// ask is the answer to a request. Questions meanwhile are answered with an error.
func (a *talker) ask(t testing.TB, method, params string) string {
	t.Helper()
	a.id++
	a.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, a.id, method, params))
	return a.until(t, fmt.Sprintf(`"id":%d,`, a.id), func(s string) {
		var q struct {
			ID     json.RawMessage
			Method string
		}
		if json.Unmarshal([]byte(s), &q) == nil && q.Method != "" && q.ID != nil {
			a.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32603,"message":"no"}}`, q.ID))
		}
	})
}

const anyParams = `{"name":"echo","uri":"x:y","arguments":{},"ref":{"type":"ref/resource","uri":"x:y"},"argument":{"name":"a","value":"b"}}`

// noFault asserts that nothing has panicked.
func noFault(t testing.TB, j *journal) {
	t.Helper()
	if text := j.String(); strings.Contains(text, "a fault of freshet's own") {
		t.Fatal(text)
	}
}

var oddities = []string{`null`, `[]`, `[null]`, `"x"`, `{"a":null}`}

// TestMalformedResultsHarmTheirOwnRequest has an upstream answer with results of many shapes: each request is answered, in the session
// that was there before.
func TestMalformedResultsHarmTheirOwnRequest(t *testing.T) {
	shapes := []string{`%s`, `{"content":%s}`, `{"content":[{"type":"text","text":%s}]}`, `{"content":[{"type":"resource","resource":%s}]}`,
		`{"content":[],"inputRequests":%s,"resultType":"input_required"}`, `{"content":[],"inputRequests":{"a":%s},"resultType":"input_required"}`,
		`{"inputRequests":{"a":%s},"inputRequests":{}}`, `{"input\u0052equests":{"a":%s}}`, `{"inputRequests":{"a":{"method":%s}}}`,
		`{"content":[],"inputRequests":{"a":{"method":"elicitation/create","params":%s}},"resultType":"input_required"}`,
		`{"content":[],"inputRequests":{"a":{"method":"sampling/createMessage","params":%s}},"resultType":"input_required"}`,
		`{"tools":%s}`, `{"tools":[{"name":"echo","inputSchema":%s}]}`, `{"tools":[{"name":"echo","inputSchema":{"properties":{"a":%s}}}]}`,
		`{"prompts":%s}`, `{"resources":%s}`, `{"resourceTemplates":%s}`, `{"completion":%s}`, `{"messages":[{"role":"user","content":%s}]}`, `{"contents":%s}`, `{"_meta":%s}`}
	methods := []string{"tools/call", "tools/list", "prompts/get", "resources/read", "prompts/list", "resources/list", "resources/templates/list", "completion/complete"}
	u := newCrude(`{}`)
	b, j := newBridge(t, Config{Upstreams: []Upstream{u.upstream()}})
	a := newTalker(t, b)
	n := 0
	for _, shape := range shapes {
		for _, odd := range oddities {
			u.result.Store(fmt.Sprintf(shape, odd))
			for i, m := range methods {
				if i >= 4 && strings.Contains(shape, "nput") {
					break // they ask for none
				}
				n++
				u.events.Store(n%3 == 0)
				if got := a.ask(t, m, anyParams); strings.Contains(got, "session was lost") {
					t.Fatalf("%s of %s: %s", m, u.result.Load(), got)
				}
			}
		}
	}
	if n := u.sessions.Load(); n != 1 {
		t.Errorf("sessions: got %d, want 1", n)
	}
	noFault(t, j)
}

// TestAQuestionThatIsNone has results ask for nothing that can be asked.
func TestAQuestionThatIsNone(t *testing.T) {
	for _, result := range []string{
		`{"content":[],"resultType":"input_required","inputRequests":{"a":null}}`,
		`{"content":[],"resultType":"input_required","input\u0052equests":{"a":null}}`,
		`{"content":[],"inputRequests":{"a":null},"inputRequests":{}}`,
		`{"content":[],"inputRequests":{"a":7}}`,
		`{"content":[],"inputRequests":[null]}`,
	} {
		for _, events := range []bool{false, true} {
			u := newCrude(result)
			u.events.Store(events)
			b, j := newBridge(t, Config{Upstreams: []Upstream{u.upstream()}})
			a := newTalker(t, b)
			for _, m := range []string{"tools/call", "prompts/get", "resources/read"} {
				if got := a.ask(t, m, anyParams); !strings.Contains(got, noQuestion) {
					t.Errorf("%s of %s, events %t: got %s", m, result, events, got)
				}
			}
			u.result.Store(`{"content":[{"type":"text","text":"well"}]}`)
			if got := a.ask(t, "tools/call", anyParams); !strings.Contains(got, "well") || u.sessions.Load() != 1 {
				t.Errorf("the next call: got %s, sessions %d", got, u.sessions.Load())
			}
			noFault(t, j)
		}
	}
}

// TestMalformedNotificationsHarmNothing has an upstream tell things of many shapes on the stream of a call.
func TestMalformedNotificationsHarmNothing(t *testing.T) {
	u := newCrude(`{"content":[{"type":"text","text":"well"}]}`)
	b, j := newBridge(t, Config{Upstreams: []Upstream{u.upstream()}})
	a := newTalker(t, b)
	tell := func(event string) {
		u.before.Store(event)
		if got := a.ask(t, "tools/call", anyParams); !strings.Contains(got, "well") {
			t.Fatalf("after %s: %s", event, got)
		}
	}
	for _, m := range []string{"notifications/message", "notifications/progress", "notifications/cancelled", "notifications/resources/updated",
		"notifications/tools/list_changed", "notifications/elicitation/complete", "notifications/subscriptions/acknowledged"} {
		tell(fmt.Sprintf(`{"jsonrpc":"2.0","method":%q}`, m))
		for _, shape := range []string{`%s`, `{"level":"info","data":%s}`, `{"progressToken":%s}`, `{"requestId":%s}`, `{"_meta":%s}`} {
			for _, odd := range []string{`null`, `[1]`, `{"a":null}`} {
				tell(fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":%s}`, m, fmt.Sprintf(shape, odd)))
			}
		}
	}
	if n := u.sessions.Load(); n != 1 {
		t.Errorf("sessions: got %d, want 1", n)
	}
	noFault(t, j)
}

// TestAProgressTokenThatIsNone is of tokens that are objects or lists, which no map has for keys.
func TestAProgressTokenThatIsNone(t *testing.T) {
	for _, token := range []string{`{"a":1}`, `[1]`, `null`, `true`, `"t"`, `7`} {
		u := newCrude(`{"content":[]}`)
		u.call = func(say func(string), _ string) {
			say(`{"jsonrpc":"2.0","id":77,"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object"},"_meta":{"progressToken":` + token + `}}}`)
			<-u.answers
		}
		b, j := newBridge(t, Config{Upstreams: []Upstream{u.upstream()}})
		a := newTalker(t, b)
		a.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"x","arguments":{}}}`)
		q := a.until(t, "elicitation/create", nil)
		a.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + token + `,"progress":1}}`)
		var m struct{ ID json.RawMessage }
		_ = json.Unmarshal([]byte(q), &m)
		a.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{}}}`, m.ID))
		a.until(t, `"id":2,`, nil)
		if got := a.ask(t, "ping", `{}`); !strings.Contains(got, `"result"`) {
			t.Errorf("ping after %s: %s", token, got)
		}
		noFault(t, j)
	}
}

// TestAQuestionWithoutParams comes on the standing stream, where it belongs to no call.
func TestAQuestionWithoutParams(t *testing.T) {
	u := newCrude(`{"content":[]}`)
	u.listens = true
	b, j := newBridge(t, Config{Upstreams: []Upstream{u.upstream()}})
	a := newTalker(t, b)
	a.ask(t, "tools/call", anyParams)
	for _, m := range []string{"elicitation/create", "sampling/createMessage"} {
		for _, params := range []string{``, `,"params":null`} {
			u.news <- fmt.Sprintf(`{"jsonrpc":"2.0","id":5,"method":%q%s}`, m, params)
			if got := <-u.answers; !strings.Contains(got, "-3260") || !strings.Contains(got, "params") {
				t.Errorf("%s%s: got %s, want invalid params", m, params, got)
			}
		}
	}
	u.news <- `{"jsonrpc":"2.0","method":"notifications/elicitation/complete"}`
	a.ask(t, "tools/call", anyParams)
	if n := u.sessions.Load(); n != 1 {
		t.Errorf("sessions: got %d, want 1", n)
	}
	noFault(t, j)
}

// TestAPanicIsOneRequestsFailure has handlers panic where nothing is known to.
func TestAPanicIsOneRequestsFailure(t *testing.T) {
	b, j := newBridge(t, Config{Upstreams: []Upstream{newCrude(`{}`).upstream()}})
	a, err := b.agent("uid 7", false)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	l, err := a.link(b.upstreams[0], &b.upstreams[0].Profiles[0])
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(l)
	panics := func(context.Context, string, sdk.Request) (sdk.Result, error) { panic("hunter2") }
	for range 3 {
		_, err := a.receive(panics)(t.Context(), "ping", &sdk.ServerRequest[*sdk.PingParams]{})
		wantBug(t, "agent", err)
		_, err = a.receive(panics)(t.Context(), "notifications/initialized", &sdk.ServerRequest[*sdk.InitializedParams]{})
		wantBug(t, "agent's notification", err)
		_, err = c.receive(panics)(t.Context(), "ping", &sdk.ClientRequest[*sdk.PingParams]{})
		wantBug(t, "upstream", err)
		_, err = once(t.Context(), c, true, func(context.Context, *conn) (int, error) { panic("hunter2") })
		wantBug(t, "answer", err)
		_, err = gather(t.Context(), a, "", func(context.Context, *upstream) ([]int, error) { panic("hunter2") })
		wantBug(t, "list", err)
		_, err = (&link{agent: a, up: b.upstreams[0]}).connect() // by no profile
		wantBug(t, "connecting", err)
		a.background(func() { panic("hunter2") })
		req := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		broken := &round{name: "up", panicked: b.fault, next: roundTrip(func(*http.Request) (*http.Response, error) { panic("hunter2") })}
		_, err = io.ReadAll(broken.listen(req).Body)
		wantBug(t, "news", err)
		text, err := io.ReadAll(broken.events(req, io.NopCloser(reader(func([]byte) (int, error) { panic("hunter2") })), json.RawMessage("1")))
		if err != nil {
			t.Fatal(err)
		}
		wantBug(t, "message", errors.New(string(text)))
		r, err := a.receive(panics)(t.Context(), "tools/call", &sdk.CallToolRequest{})
		if tool, ok := r.(*sdk.CallToolResult); err != nil || !ok || !tool.IsError || !strings.Contains(textOf(tool), "a fault of freshet's own") {
			t.Fatalf("call of a tool: got %v, %v", r, err)
		}
	}
	if !a.mu.TryLock() {
		t.Fatal("the agent is left locked")
	}
	a.mu.Unlock()
	eventually(t, "it is logged once for each of 10 places", func() bool { return strings.Count(j.String(), "a fault of freshet's own") == 10 })
	if strings.Contains(j.String(), "hunter2") || !strings.Contains(j.String(), "TestAPanicIsOneRequestsFailure") {
		t.Errorf("log: %s", j)
	}
	if e := j.last("tools/call"); e.Outcome != "error" {
		t.Errorf("event: got %+v", e)
	}
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// loud panics at a warning.
type loud struct{ slog.Handler }

func (l loud) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		panic("hunter2")
	}
	return l.Handler.Handle(ctx, r)
}

// TestAPanicOverAListIsTheCallsFailure: the list is fetched in the background, for whoever wants it, and is fetched again by the next.
func TestAPanicOverAListIsTheCallsFailure(t *testing.T) {
	u := newCrude(`{"tools":[{"name":"x","inputSchema":{"type":"object"}},{"name":"x","inputSchema":{"type":"object"}},{"name":"y","inputSchema":{"type":"object"}}]}`)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{u.upstream()}})
	b.log = slog.New(loud{b.log.Handler()}) // a tool that is there twice is warned of
	a, err := b.agent("uid 7", false)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	_, err = a.tool(t.Context(), b.upstreams[0], "y")
	wantBug(t, "call", err)
	if got, err := a.tool(t.Context(), b.upstreams[0], "y"); err != nil || got.Tool == nil {
		t.Errorf("the next: got %+v, %v", got, err)
	}
}

func wantBug(t *testing.T, where string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "a fault of freshet's own") || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("%s: got %v", where, err)
	}
}

// TestWhatBelongsToNoCallOfAStatelessAgent has an upstream log on its standing stream during a call of an agent that has no session:
// that agent, or another that says the same of itself, does not get it, whatever mark the upstream puts there.
func TestWhatBelongsToNoCallOfAStatelessAgent(t *testing.T) {
	for era, want := range map[string][]string{modernEra: {"own"}, legacyEra: {"stray", "forged", "own"}} {
		t.Run(era, func(t *testing.T) {
			u := newCrude(`{"content":[]}`)
			u.listens = true
			asked := make(chan string, 1)
			u.call = func(say func(string), _ string) {
				u.news <- `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"stray"}}`
				u.news <- `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"forged","_meta":{"freshet.dev/call":"1","freshet.dev\/c\u0061ll":"1"}}}`
				if era == modernEra {
					u.news <- `{"jsonrpc":"2.0","id":9,"method":"roots/list"}`
				} else {
					u.news <- `{"jsonrpc":"2.0","id":9,"method":"ping"}`
				}
				asked <- <-u.answers
				say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"own","_meta":{"freshet.dev/call":"1"}}}`)
			}
			b, j := newBridge(t, Config{Upstreams: []Upstream{u.upstream()}})
			var mu sync.Mutex
			var heard []string
			client := sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "9"}, &sdk.ClientOptions{
				LoggingMessageHandler: func(_ context.Context, r *sdk.LoggingMessageRequest) {
					mu.Lock()
					defer mu.Unlock()
					heard = append(heard, fmt.Sprint(r.Params.Data))
					if len(r.Params.Meta) > 0 {
						t.Errorf("_meta: got %v, want none", r.Params.Meta)
					}
				},
			})
			client.AddRoots(&sdk.Root{URI: "file:///private"})
			var s *sdk.ClientSession
			if era == legacyEra {
				s = attach(t, b, client, era)
			} else {
				s = overHTTP(t, b, client, era)
			}
			if _, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: "x", Meta: sdk.Meta{sdk.MetaKeyLogLevel: "debug"}}); err != nil {
				t.Fatal(err)
			}
			if got := <-asked; era == modernEra && (!strings.Contains(got, "nobody can be asked") || strings.Contains(got, "private")) {
				t.Errorf("a question for nobody: got %s", got)
			}
			eventually(t, "what is logged", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(heard) >= len(want)
			})
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(heard)
			slices.Sort(want)
			if !slices.Equal(heard, want) {
				t.Errorf("heard %v, want %v", heard, want)
			}
			noFault(t, j)
		})
	}
}

// overHTTP connects a client by HTTP.
func overHTTP(t testing.TB, b *Bridge, client *sdk.Client, era string) *sdk.ClientSession {
	t.Helper()
	web := httptest.NewServer(b.Handler(func(*http.Request) string { return "uid 7" }))
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
	})
	s, err := client.Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: web.URL, HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}},
		&sdk.ClientSessionOptions{ProtocolVersion: era})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestAnUpstreamMarksNothingItself is of marks that it writes: they do not outlive the streams that they come on.
func TestAnUpstreamMarksNothingItself(t *testing.T) {
	const forged = `{"jsonrpc":"2.0","method":%q,"params":{"data":"d","_meta":{"freshet.dev/c\u0061ll":"M"},"_meta":{"k":9007199254740993}%s}}`
	for _, method := range []string{"notifications/message", "notifications/elicitation/complete", "notifications/progress"} {
		for _, twice := range []string{"", `,"_meta":{"freshet.dev/call":"M","k":9007199254740993}`} {
			event := "id: 4\ndata: " + fmt.Sprintf(forged, method, twice) + "\n\n"
			r := &round{name: "up"}
			var standing strings.Builder
			if last, _, err := r.copyEvents(&standing, strings.NewReader(event)); last != "4" || err != nil {
				t.Fatalf("last event %q, %v", last, err)
			}
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			resumed, _ := io.ReadAll(r.events(req, io.NopCloser(strings.NewReader(event)), nil))
			own, _ := io.ReadAll(r.events(req.WithContext(context.WithValue(req.Context(), callKey{}, "OURS")), io.NopCloser(strings.NewReader(event)), nil))
			for what, got := range map[string]string{"standing": standing.String(), "resumed": string(resumed), "a call's": string(own)} {
				if strings.Contains(got, `"M"`) || !strings.Contains(got, "9007199254740993") || !strings.Contains(got, "id: 4\n") {
					t.Errorf("%s stream: got %s", what, got)
				}
			}
			if got := strings.Contains(string(own), `"freshet.dev/call":"OURS"`); got != (method == "notifications/message") {
				t.Errorf("a call's stream: got %s", own)
			}
		}
	}
}

// TestAQuestionEndsWithItsCall has an agent never answer: its later calls can ask all the same.
func TestAQuestionEndsWithItsCall(t *testing.T) {
	u := newCrude(`{"content":[]}`)
	seen := make(chan struct{})
	u.call = func(say func(string), id string) {
		say(fmt.Sprintf(`{"jsonrpc":"2.0","id":"q%s","method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object"}}}`, id))
		select {
		case <-seen:
		case got := <-u.answers:
			t.Errorf("not asked: %s", got)
		}
	}
	b, _ := newBridge(t, Config{Upstreams: []Upstream{u.upstream()}})
	a := newTalker(t, b)
	for i := range maxAsked + 4 {
		a.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"x","arguments":{}}}`, i+100))
		a.until(t, fmt.Sprintf(`"id":%d,`, i+100), func(s string) {
			if strings.Contains(s, "elicitation/create") {
				seen <- struct{}{}
			}
		})
		if got := <-u.answers; !strings.Contains(got, "the call is over") {
			t.Fatalf("the upstream is told %s", got)
		}
		if t.Failed() {
			return
		}
	}
}

// TestAQuestionThatNobodyAnswers is of one that belongs to no call.
func TestAQuestionThatNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newCrude(`{"content":[]}`)
		u.listens = true
		b, _ := newBridge(t, Config{Upstreams: []Upstream{u.upstream()}})
		a := newTalker(t, b)
		a.ask(t, "tools/call", anyParams)
		u.news <- `{"jsonrpc":"2.0","id":5,"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object"}}}`
		a.until(t, "elicitation/create", nil)
		began := time.Now()
		got := <-u.answers
		if took := time.Since(began); took != askLife || !strings.Contains(got, "nobody has answered") {
			t.Errorf("after %v: %s", took, got)
		}
	})
}
