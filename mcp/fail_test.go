package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
	"freshet.dev/mcp/tools"
)

// roundTrip is a transport of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// wireError is the JSON-RPC error that a request ended with.
func wireError(t *testing.T, err error) *jsonrpc.Error {
	t.Helper()
	e, ok := errors.AsType[*jsonrpc.Error](err)
	if !ok {
		t.Fatalf("got %v, want a JSON-RPC error", err)
	}
	return e
}

// TestAnAgentStartsWithoutItsUpstream has an identity that needs a login: the agent starts, hears what to do, and hears of the tools
// once they are there.
func TestAnAgentStartsWithoutItsUpstream(t *testing.T) {
	for _, agent := range []string{legacyEra, modernEra} {
		t.Run(agent, func(t *testing.T) {
			o := newOrigin(t, legacyEra)
			var in atomic.Bool
			u := o.upstream(t)
			u.Profiles[0].Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				if !in.Load() {
					return nil, (&freshet.Error{Kind: freshet.LoginNeeded, Identity: "prod", Source: "awssso", Why: "the session has expired"}).WithHint("run aws sso login")
				}
				return http.DefaultTransport.RoundTrip(r)
			})
			b, j := newBridge(t, Config{Upstreams: []Upstream{u}})
			changed := make(chan struct{}, 10)
			s := connect(t, b, stdio, agent, &sdk.ClientOptions{ToolListChangedHandler: toolsChanged(changed)})
			if c := s.InitializeResult().Capabilities; c.Tools == nil || c.Prompts == nil || c.Resources == nil || c.Logging == nil || c.Completions == nil {
				t.Errorf("capabilities: got %+v, want all", c)
			}
			_, err := s.ListTools(t.Context(), &sdk.ListToolsParams{})
			e := wireError(t, err)
			if want := "identity prod (awssso): the session has expired; run aws sso login"; e.Message != want {
				t.Errorf("list: got %q, want %q", e.Message, want)
			}
			if e.Code == jsonrpc.CodeInvalidParams {
				t.Error("list: got invalid params")
			}
			if got, want := string(e.Data), `{"hint":"run aws sso login","kind":"login needed"}`; got != want {
				t.Errorf("data: got %s, want %s", got, want)
			}
			if got := refusedText(t, s, "echo", nil); !strings.Contains(got, "run aws sso login") {
				t.Errorf("call: got %q", got)
			}
			if e := j.last("tools/call"); e.Outcome != "error" || !strings.Contains(e.Reason, "expired") {
				t.Errorf("event: got %+v", e)
			}
			in.Store(true)
			callText(t, s, "echo", nil)
			select {
			case <-changed:
			case <-time.After(20 * time.Second):
				t.Error("the agent was not told that the list is another now")
			}
			if !slices.Contains(names(t, s), "echo") {
				t.Error("no tools")
			}
		})
	}
}

// status answers all POSTs of a method with a status.
func status(o *origin, method string, code int, header, body string) {
	o.hijack(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		data, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(data)))
		if !strings.Contains(string(data), `"method":"`+method+`"`) {
			return false
		}
		if name, value, ok := strings.Cut(header, ": "); ok {
			w.Header().Set(name, value)
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
		return true
	})
}

func TestAnAnswerThatIsNoSuccess(t *testing.T) {
	for _, c := range []struct {
		code               int
		header, body, want string
		kind               string
	}{
		{429, "Retry-After: 7", "slow down, secret-body", "asked too much (429); try again in 7 s", "unavailable"},
		{500, "", "<html>secret-body", "is in trouble (500)", "unavailable"},
		{503, "Retry-After: 2", "", "is in trouble (503); try again in 2 s", "unavailable"},
		{401, "", "secret-body", "does not take this identity's credential (401)", "denied"},
		{403, "", "", "does not allow this identity that (403)", "denied"},
		{302, "Location: http://elsewhere.test/", "", "leads elsewhere (302)", "invalid request"},
		{418, "", "", "does not take this (418)", "malformed answer"},
		{200, "Content-Type: text/html", "<html>secret-body", "no message of MCP", "malformed answer"},
		{200, "Content-Type: application/json", `{"jsonrpc":"2.0",`, "no message of JSON-RPC", "malformed answer"},
		{200, "Content-Type: text/event-stream", "data: {\"jsonrpc\":\n\n", "no message of JSON-RPC", "malformed answer"},
		{200, "Content-Type: application/json", `{"jsonrpc":"2.0","id":999,"result":{"tools":[]}}`, "another request", "malformed answer"},
		{200, "Content-Type: application/json", `{"jsonrpc":"2.0","method":"x"}`, "no message of JSON-RPC", "malformed answer"},
	} {
		for _, up := range []string{legacyEra, modernEra} {
			t.Run(fmt.Sprint(c.code, c.header, up), func(t *testing.T) {
				o := newOrigin(t, up)
				b, j := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
				s := connect(t, b, stdio, legacyEra, nil)
				status(o, "tools/list", c.code, c.header, c.body)
				_, err := s.ListTools(t.Context(), &sdk.ListToolsParams{})
				e := wireError(t, err)
				if !strings.Contains(e.Message, c.want) || !strings.Contains(string(e.Data), `"kind":"`+c.kind+`"`) || e.Code != codeFailed {
					t.Errorf("list: got %d %q %s", e.Code, e.Message, e.Data)
				}
				status(o, "tools/call", c.code, c.header, c.body)
				got := refusedText(t, s, "echo", nil)
				for want := range strings.SplitSeq(c.want, "; ") { // of a tool that is not known to read, there may be more to say
					if !strings.Contains(got, want) {
						t.Errorf("call: got %q", got)
					}
				}
				if all := got + e.Message + string(e.Data) + j.String(); strings.Contains(all, "secret-body") {
					t.Errorf("the body is shown: %s", all)
				}
				o.hijack(func(http.ResponseWriter, *http.Request) bool { return false })
				callText(t, s, "echo", nil)
				if n := o.opened.Load(); up == legacyEra && n != 1 {
					t.Errorf("%d sessions, want the one", n)
				}
			})
		}
	}
}

func TestAnUpstreamsOwnErrorIsPassedOn(t *testing.T) {
	for _, code := range []int{200, 400, 500} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			o := newOrigin(t, legacyEra)
			b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
			s := connect(t, b, stdio, legacyEra, nil)
			o.hijack(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost {
					return false
				}
				var m struct{ ID json.RawMessage }
				_ = json.NewDecoder(r.Body).Decode(&m)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(code)
				fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-31999,"message":"mine","data":{"a":1}}}`, m.ID)
				return true
			})
			_, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: "echo"})
			if e := wireError(t, err); e.Code != -31999 || e.Message != "mine" || string(e.Data) != `{"a":1}` {
				t.Errorf("got %+v %s", e, e.Data)
			}
		})
	}
}

func TestAToolThatTakesTooLongIsAlwaysAnError(t *testing.T) {
	everyWay(t, func(t *testing.T, how front, agent, up string) {
		o := newOrigin(t, up)
		u := o.upstream(t)
		u.Timeouts.Tool = 300 * time.Millisecond
		b, j := newBridge(t, Config{Upstreams: []Upstream{u}})
		s := connect(t, b, how, agent, nil)
		if got, want := refusedText(t, s, "slow", nil), "no answer within 300ms"; !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		eventually(t, "the tool is cancelled", func() bool { return len(o.ended) == 1 })
		if e := j.last("tools/call"); e.Outcome != "timeout" {
			t.Errorf("event: got %+v", e)
		}
	})
}

// raw is an upstream of a function that answers each POST of a call.
func raw(t *testing.T, f func(w http.ResponseWriter, method string, id json.RawMessage)) Upstream {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		var m struct {
			ID     json.RawMessage
			Method string
		}
		_ = json.NewDecoder(r.Body).Decode(&m)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case m.Method == "server/discover":
			w.WriteHeader(http.StatusNotFound)
		case m.ID == nil:
			w.WriteHeader(http.StatusAccepted)
		case m.Method == "initialize":
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"raw","version":"0"}}}`, m.ID)
		default:
			f(w, m.Method, m.ID)
		}
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	u, _ := url.Parse(s.URL)
	return Upstream{URL: u, Profiles: []Profile{{Name: "main", Transport: &http.Transport{}}}}
}

func TestAListWithoutAnEndIsRefused(t *testing.T) {
	for name, cursor := range map[string]func(n int64) string{
		"the same cursor": func(int64) string { return "again" },
		"new cursors":     func(n int64) string { return fmt.Sprint(n) },
	} {
		t.Run(name, func(t *testing.T) {
			var pages atomic.Int64
			u := raw(t, func(w http.ResponseWriter, _ string, id json.RawMessage) {
				fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"t","inputSchema":{"type":"object"}}],"nextCursor":%q}}`, id, cursor(pages.Add(1)))
			})
			b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
			s := connect(t, b, stdio, legacyEra, nil)
			_, err := s.ListTools(t.Context(), &sdk.ListToolsParams{})
			if e := wireError(t, err); !strings.Contains(e.Message, "lists without an end") {
				t.Errorf("got %q", e.Message)
			}
			if n := pages.Load(); n > maxPages+1 {
				t.Errorf("%d pages", n)
			}
		})
	}
}

func TestAnAnswerWithoutAnEndIsRefused(t *testing.T) {
	for name, kind := range map[string]string{"one message": "application/json", "events": "text/event-stream"} {
		t.Run(name, func(t *testing.T) {
			u := raw(t, func(w http.ResponseWriter, _ string, _ json.RawMessage) {
				w.Header().Set("Content-Type", kind)
				line := []byte(`data: {"jsonrpc":"2.0","id":1,"result":"` + strings.Repeat("x", 1<<20))
				for range 40 {
					if _, err := w.Write(line); err != nil {
						return
					}
					line = line[len(line)-1<<20:]
				}
			})
			b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
			s := connect(t, b, stdio, legacyEra, nil)
			_, err := s.ListTools(t.Context(), &sdk.ListToolsParams{})
			if e := wireError(t, err); e.Code != codeFailed {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestAPinnedListIsThereWithoutItsUpstream(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	list, err := b.Tools(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	u := o.upstream(t)
	u.Pin = tools.Take(list)
	u.Profiles[0].Transport = roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, &freshet.Error{Kind: freshet.Unavailable, Why: "the issuer is down"}
	})
	pinned, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
	s := connect(t, pinned, stdio, legacyEra, nil)
	if got := names(t, s); !slices.Contains(got, "echo") {
		t.Errorf("got %v", got)
	}
	if got := refusedText(t, s, "echo", nil); !strings.Contains(got, "the issuer is down") {
		t.Errorf("got %q", got)
	}
}

// TestACallThatMayHaveRunSaysSo: a model would call again what has done something already. Where the upstream has said no, or the tool
// reads, there is nothing to say.
func TestACallThatMayHaveRunSaysSo(t *testing.T) {
	const unknown = "not known whether the tool has run; "
	for _, c := range []struct {
		name    string
		answer  func(http.ResponseWriter, *http.Request)
		unclear bool
	}{
		{"502", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, true},
		{"half", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"jsonrpc":"2.0",`)
		}, true},
		{"half of a stream", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: {\"jsonrpc\":\n\n")
		}, true},
		{"a page", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, true},
		{"nothing", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, true},
		{"401", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, false},
		{"403", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, false},
		{"429", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, false},
		{"302", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", "/"); w.WriteHeader(302) }, false},
		{"its own error", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			fmt.Fprint(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-31999,"message":"mine"}}`)
		}, false},
	} {
		for _, era := range []string{legacyEra, modernEra} {
			t.Run(c.name+" "+era, func(t *testing.T) {
				t.Parallel()
				o := newOrigin(t, era)
				u := o.upstream(t)
				u.Timeouts.Tool = 2 * time.Second
				b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
				s := connect(t, b, stdio, legacyEra, nil)
				names(t, s)
				o.hijack(func(w http.ResponseWriter, r *http.Request) bool {
					data, _ := io.ReadAll(r.Body)
					r.Body = io.NopCloser(strings.NewReader(string(data)))
					if !strings.Contains(string(data), `"method":"tools/call"`) {
						return false
					}
					c.answer(w, r)
					return true
				})
				for _, tool := range []string{"write", "echo"} {
					r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: tool})
					got := fmt.Sprint(err)
					if err == nil {
						got = textOf(r)
					}
					if said := strings.Contains(got, unknown); said != (c.unclear && tool == "write") {
						t.Errorf("%s: got %q", tool, got)
					}
				}
			})
		}
	}
}

// TestACallThatNobodyTookHasNotRun has nobody listen where the upstream was.
func TestACallThatNobodyTookHasNotRun(t *testing.T) {
	o := newOrigin(t, modernEra)
	u := o.upstream(t)
	own := &http.Transport{DisableKeepAlives: true} // nothing is written where nobody is
	u.Profiles[0].Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
		resp, err := own.RoundTrip(req)
		if err != nil { // as a route tells of it
			return nil, &freshet.Error{Kind: freshet.Unavailable, Why: "not reached", Cause: err}
		}
		return resp, nil
	})
	b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
	s := connect(t, b, stdio, legacyEra, nil)
	names(t, s)
	o.CloseClientConnections()
	o.Listener.Close()
	if got := refusedText(t, s, "write", nil); strings.Contains(got, "not known whether") {
		t.Errorf("got %q", got)
	}
}
