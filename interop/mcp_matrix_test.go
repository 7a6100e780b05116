package interop

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// stateless is the revision without sessions.
const stateless = "2026-07-28"

// step is something that an agent does with a server, which has to come to the same through freshet.
type step struct {
	name string
	op   op
	eras string // of the agent that it is for: "sessions", "stateless", or "" for both
}

const (
	withSessions = "sessions"
	isStateless  = "stateless"
)

func read(method string, params map[string]any) op {
	if params == nil {
		params = map[string]any{}
	}
	return op{Method: method, Params: params}
}

func tool(name string, arguments map[string]any) op { return callOf(name, arguments) }

func with(o op, edit func(*op)) op {
	edit(&o)
	return o
}

// everything is all that a client can ask of server-everything. simulate-research-query is a task, which is an experiment of the revision of
// 2025-11-25 that the Go SDK does not know.
var everything = []step{
	{name: "tools", op: read("tools/list", nil)},
	{name: "prompts", op: read("prompts/list", nil)},
	{name: "resources", op: read("resources/list", nil)},
	{name: "templates", op: read("resources/templates/list", nil)},
	{name: "ping", op: read("ping", nil), eras: withSessions},
	{name: "echo", op: tool("echo", map[string]any{"message": "Grüße \u2028 \"' <&>"})},
	{name: "annotated", op: tool("get-annotated-message", map[string]any{"messageType": "error", "includeImage": true})},
	{name: "env", op: tool("get-env", nil)},
	{name: "links", op: tool("get-resource-links", map[string]any{"count": 4})},
	{name: "reference", op: tool("get-resource-reference", map[string]any{"resourceType": "Text", "resourceId": 3})},
	{name: "structured", op: tool("get-structured-content", map[string]any{"location": "Chicago"})},
	{name: "sum", op: tool("get-sum", map[string]any{"a": 2.5, "b": 1e21})},
	{name: "image", op: tool("get-tiny-image", nil)},
	{name: "gzip", op: tool("gzip-file-as-resource", map[string]any{"name": "a.gz", "data": "data:text/plain;base64,aGVsbG8gd29ybGQ=", "outputType": "resource"})},
	{name: "invalid arguments", op: tool("get-sum", map[string]any{"a": "two"})},
	{name: "unknown tool", op: tool("none", nil)},
	{name: "roots", op: tool("get-roots-list", nil)},
	{name: "sampling", op: tool("trigger-sampling-request", map[string]any{"prompt": "say", "maxTokens": 7})},
	{name: "elicitation", op: tool("trigger-elicitation-request", nil)},
	{name: "elicitation of a URL", op: tool("trigger-url-elicitation", map[string]any{"url": "https://example.com/form"})},
	{name: "elicitation of a URL that is required", op: tool("trigger-url-elicitation", map[string]any{"url": "https://example.com/form", "errorPath": true}), eras: withSessions},
	{name: "progress", op: with(tool("trigger-long-running-operation", map[string]any{"duration": 0.4, "steps": 4}), func(o *op) { o.Progress = true })},
	{name: "prompt", op: read("prompts/get", map[string]any{"name": "simple-prompt"})},
	{name: "prompt with arguments", op: read("prompts/get", map[string]any{"name": "args-prompt", "arguments": map[string]any{"city": "Ghent", "state": "East Flanders"}})},
	{name: "prompt with a resource", op: read("prompts/get", map[string]any{"name": "resource-prompt", "arguments": map[string]any{"resourceType": "Text", "resourceId": "2"}})},
	{name: "unknown prompt", op: read("prompts/get", map[string]any{"name": "none"})},
	{name: "resource", op: read("resources/read", map[string]any{"uri": "demo://resource/dynamic/text/7"})},
	{name: "binary resource", op: read("resources/read", map[string]any{"uri": "demo://resource/dynamic/blob/7"})},
	{name: "file", op: read("resources/read", map[string]any{"uri": "demo://resource/static/document/features.md"})},
	{name: "unknown resource", op: read("resources/read", map[string]any{"uri": "demo://none"})},
	{name: "completion of a prompt", op: read("completion/complete", map[string]any{"ref": map[string]any{"type": "ref/prompt", "name": "completable-prompt"},
		"argument": map[string]any{"name": "name", "value": "D"}, "context": map[string]any{"arguments": map[string]any{"department": "Sales"}}})},
	{name: "completion of a resource", op: read("completion/complete", map[string]any{"ref": map[string]any{"type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}"},
		"argument": map[string]any{"name": "resourceId", "value": "12"}})},
}

// small is all that a client can ask of the server of the stateless revision.
var small = []step{
	{name: "tools", op: read("tools/list", nil)},
	{name: "prompts", op: read("prompts/list", nil)},
	{name: "resources", op: read("resources/list", nil)},
	{name: "templates", op: read("resources/templates/list", nil)},
	{name: "echo", op: tool("echo", map[string]any{"message": "Grüße \u2028 \"' <&>"})},
	{name: "structured", op: tool("sum", map[string]any{"a": 2.5, "b": 1})},
	{name: "error", op: tool("fail", nil)},
	{name: "invalid arguments", op: tool("sum", map[string]any{"a": "two"})},
	{name: "unknown tool", op: tool("none", nil)},
	{name: "_meta", op: read("tools/call", map[string]any{"name": "meta", "arguments": map[string]any{}, "_meta": map[string]any{"example.com/kept": map[string]any{"as": "is"}}})},
	{name: "progress", op: with(tool("progress", map[string]any{"steps": 4}), func(o *op) { o.Progress = true })},
	{name: "elicitation", op: tool("ask", nil)},
	{name: "sampling", op: tool("sample", nil)},
	{name: "roots", op: tool("roots", nil)},
	{name: "two rounds", op: tool("rounds", nil)},
	{name: "prompt", op: read("prompts/get", map[string]any{"name": "greet", "arguments": map[string]any{"who": "Ada"}})},
	{name: "prompt that asks", op: read("prompts/get", map[string]any{"name": "painted"})},
	{name: "unknown prompt", op: read("prompts/get", map[string]any{"name": "none"})},
	{name: "resource", op: read("resources/read", map[string]any{"uri": "note:///one"})},
	{name: "binary resource", op: read("resources/read", map[string]any{"uri": "page:///12"})},
	{name: "unknown resource", op: read("resources/read", map[string]any{"uri": "none:///1"})},
	{name: "completion of a prompt", op: read("completion/complete", map[string]any{"ref": map[string]any{"type": "ref/prompt", "name": "greet"}, "argument": map[string]any{"name": "who", "value": "A"}})},
	{name: "completion of a resource", op: read("completion/complete", map[string]any{"ref": map[string]any{"type": "ref/resource", "uri": "page:///{number}"}, "argument": map[string]any{"name": "number", "value": "1"}})},
}

// seen is what came of a step, and what the agent was asked meanwhile.
type seen struct {
	Outcome any
	Asked   []any
}

// walk has an agent do all steps that are for it. unasked is what the server asks for whenever it likes.
func walk(t *testing.T, a *agent, steps []step, era, unasked string) map[string]seen {
	t.Helper()
	all := map[string]seen{}
	for _, s := range steps {
		if s.eras != "" && s.eras != era {
			continue
		}
		a.forget()
		o := a.do(t, s.op)
		if s.op.Progress {
			o.Progress = append(o.Progress, a.late(t, 4-len(o.Progress))...)
		}
		all[s.name] = seen{o.plain(), a.questions(unasked)}
	}
	return all
}

// compare reports the steps that came to something else.
func compare(t *testing.T, got, want map[string]seen) {
	t.Helper()
	for name, g := range got {
		w, ok := want[name]
		if !ok {
			t.Errorf("%s: there is nothing to compare with", name)
			continue
		}
		if !reflect.DeepEqual(g, w) {
			t.Errorf("%s:\n%s", name, difference(g, w))
		}
	}
}

// difference is what differs of two values, by its path.
func difference(got, want any) string {
	var g, w any
	_ = json.Unmarshal([]byte(jsonOf(got)), &g)
	_ = json.Unmarshal([]byte(jsonOf(want)), &w)
	var lines []string
	var walk func(path string, g, w any)
	walk = func(path string, g, w any) {
		if reflect.DeepEqual(g, w) || len(lines) > 20 {
			return
		}
		gm, ok1 := g.(map[string]any)
		wm, ok2 := w.(map[string]any)
		ga, ok3 := g.([]any)
		wa, ok4 := w.([]any)
		switch {
		case ok1 && ok2:
			for key := range wm {
				walk(path+"."+key, gm[key], wm[key])
			}
			for key := range gm {
				if _, ok := wm[key]; !ok {
					walk(path+"."+key, gm[key], nil)
				}
			}
		case ok3 && ok4 && len(ga) == len(wa):
			for i := range ga {
				walk(fmt.Sprintf("%s[%d]", path, i), ga[i], wa[i])
			}
		default:
			lines = append(lines, fmt.Sprintf("  %s: got %.300s, want %.300s", path, jsonOf(g), jsonOf(w)))
		}
	}
	walk("", g, w)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestMCPMatrix has clients of both eras of the protocol use servers of both eras through freshet, by each way to reach it, behind a check of
// tokens and one of signatures: whatever a server can do comes to the same as without freshet.
func TestMCPMatrix(t *testing.T) {
	b := newBridge(t, 30*time.Second, true)
	servers := map[string]*party.MCPServer{"everything": party.MCPEverything(t), "stateless": party.MCPStateless(t, false)}
	steps := map[string][]step{"everything": everything, "stateless": small}
	unasked := map[string]string{"everything": "roots/list"}
	checks := map[string]*check{}
	gateways := ""
	for name, server := range servers {
		checks[name+" bearer"], checks[name+" sigv4"] = b.bearer(t, server.URL), b.sigv4(t, server.URL)
		gateways += fmt.Sprintf(`
  - {name: %[1]s-bearer, listen: "@LISTEN@", path: /%[1]s-bearer, secret: {file: "@SECRET@"}, upstreams: [{url: %[2]q, identity: token}]}
  - {name: %[1]s-sigv4, listen: "@LISTEN@", path: /%[1]s-sigv4, secret: {file: "@SECRET@"}, upstreams: [{url: %[3]q, identity: keys, signer: sigv4, service: %[4]s, region: %[5]s}]}`,
			name, checks[name+" bearer"].URL, checks[name+" sigv4"].URL, mcpService, mcpRegion)
	}
	b.serve(t, "", gateways)

	direct := map[string]map[string]seen{} // client and server → what comes of the steps
	for _, c := range []struct{ sdk, server, version, era string }{
		{"sdk", "everything", "", withSessions}, {"client", "everything", "auto", withSessions}, {"client", "stateless", stateless, isStateless},
	} {
		a := startAgent(t, c.sdk, agentSettings{URL: servers[c.server].URL, Version: c.version})
		direct[c.sdk+" "+c.server] = walk(t, a, steps[c.server], c.era, unasked[c.server])
		a.close(t)
	}
	// Nobody of the era with sessions speaks with a stateless server but through freshet; that comes to what the other era's client gets.
	direct["sdk stateless"] = direct["client stateless"]

	for server := range servers {
		for _, judge := range []string{"bearer", "sigv4"} {
			t.Run(server+"/"+judge, func(t *testing.T) {
				t.Parallel() // what is counted is counted for each check
				for _, sdk := range []string{"sdk", "client"} {
					for _, way := range []string{overDaemon, overAlone, overHTTP} {
						t.Run(sdk+"/"+way, func(t *testing.T) {
							c := checks[server+" "+judge]
							settings := b.http("/" + server + "-" + judge)
							if way != overHTTP {
								args := []string{c.URL, "--as", "token"}
								if judge == "sigv4" {
									args = []string{c.URL, "--as", "keys", "--service", mcpService, "--region", mcpRegion}
								}
								settings = b.stdio(way, args...)
							}
							era := withSessions
							if sdk == "client" {
								settings.Version, era = stateless, isStateless
							}
							a := startAgent(t, sdk, settings)
							got := walk(t, a, steps[server], era, unasked[server])
							if judge == "sigv4" && way != overHTTP {
								// The command tells servers of AWS their region, as mcp-proxy-for-aws does.
								added(t, got, "_meta", `"AWS_REGION":"`+mcpRegion+`",`)
							}
							want := direct[sdk+" "+server]
							if server == "everything" && sdk == "client" && way == overHTTP {
								want = withoutRoots(want)
							}
							compare(t, got, want)
							a.forget()
							if server == "everything" {
								watchEverything(t, a, c, era)
							} else {
								watchStateless(t, a, era)
							}
							a.close(t)
							if strangers := c.strangers(); len(strangers) > 0 {
								t.Errorf("%d requests were not signed as they should be: %q", len(strangers), strangers)
							}
						})
					}
				}
			})
		}
	}
}

// added takes out of what came of a step what has to be in it, and is freshet's.
func added(t *testing.T, all map[string]seen, name, text string) {
	t.Helper()
	s, ok := all[name]
	if !ok {
		return
	}
	was := jsonOf(s.Outcome)
	escaped := strings.Trim(jsonOf(text), `"`)
	is := strings.Replace(was, escaped, "", 1)
	if is == was {
		t.Errorf("%s: got %s, want %s in it", name, was, escaped)
	}
	s.Outcome = nil
	if err := json.Unmarshal([]byte(is), &s.Outcome); err != nil {
		t.Fatal(err)
	}
	all[name] = s
}

// withoutRoots is what comes of the steps where server-everything has no answer about the roots, which it asks for when a session begins
// and in no call. Clients without sessions may share one, so that none of them is asked what is not of its own call.
func withoutRoots(all map[string]seen) map[string]seen {
	all = maps.Clone(all)
	all["roots"] = seen{Asked: []any{}, Outcome: map[string]any{"progress": []any{}, "result": map[string]any{"content": []any{map[string]any{"type": "text",
		"text": "The client supports roots but no roots are currently configured.\n\nThis could mean:\n1. The client hasn't provided any roots yet\n" +
			"2. The client provided an empty roots list\n3. The roots configuration is still being loaded"}}}}}
	return all
}

// watchEverything holds a bridge to what server-everything sends of its own accord, and to cancellation.
func watchEverything(t *testing.T, a *agent, c *check, era string) {
	t.Helper()
	const uri = "demo://resource/dynamic/text/1"
	subscribe(t, a, uri, era)
	if o := a.call(t, "toggle-subscriber-updates", nil); !strings.HasPrefix(o.text(), "Started simulated resource") {
		t.Errorf("toggle-subscriber-updates: %s", o.text())
	}
	if got := a.hears(t, "notifications/resources/updated"); got != nil && got["params"].(map[string]any)["uri"] != uri {
		t.Errorf("updated: got %v", got)
	}
	if o := a.call(t, "toggle-subscriber-updates", nil); !strings.HasPrefix(o.text(), "Stopped simulated resource") {
		t.Errorf("toggle-subscriber-updates, once more: %s", o.text())
	}
	if era == withSessions {
		if o := a.do(t, read("logging/setLevel", map[string]any{"level": "debug"})); o.Error != nil {
			t.Errorf("logging/setLevel: %s", o.text())
		}
		a.forget()
		if o := a.do(t, read("resources/unsubscribe", map[string]any{"uri": uri})); o.Error != nil {
			t.Errorf("resources/unsubscribe: %s", o.text())
		}
		if got := a.hears(t, "notifications/message"); got != nil && !strings.HasPrefix(fmt.Sprint(got["params"].(map[string]any)["data"]), "Received Unsubscribe Resource request: "+uri) {
			t.Errorf("logged: got %v", got)
		}
	}
	before := c.count("notifications/cancelled")
	o := a.do(t, with(tool("trigger-long-running-operation", map[string]any{"duration": 20, "steps": 40}), func(o *op) { o.Cancel, o.Progress = 700, true }))
	if o.Error == nil || !strings.Contains(o.Error.Message, "thought better") {
		t.Errorf("a call that was cancelled: %s", o.text())
	}
	err := party.Poll(10*time.Second, func() error {
		if c.count("notifications/cancelled") == before {
			return fmt.Errorf("the server has not been told")
		}
		return nil
	})
	if err != nil {
		t.Errorf("cancellation: %v", err)
	}
}

// watchStateless is the same for the server of the stateless revision.
func watchStateless(t *testing.T, a *agent, era string) {
	t.Helper()
	subscribe(t, a, "note:///one", era)
	if o := a.call(t, "touch", map[string]any{"uri": "note:///one"}); o.text() != "touched" {
		t.Errorf("touch: %s", o.text())
	}
	if got := a.hears(t, "notifications/resources/updated"); got != nil && got["params"].(map[string]any)["uri"] != "note:///one" {
		t.Errorf("updated: got %v", got)
	}
	level := map[string]any{}
	if era == withSessions {
		if o := a.do(t, read("logging/setLevel", map[string]any{"level": "warning"})); o.Error != nil {
			t.Errorf("logging/setLevel: %s", o.text())
		}
	} else {
		level["io.modelcontextprotocol/logLevel"] = "warning"
	}
	a.forget()
	if o := a.do(t, read("tools/call", map[string]any{"name": "log", "arguments": map[string]any{}, "_meta": level})); o.text() != "logged" {
		t.Errorf("log: %s", o.text())
	}
	if got := a.hears(t, "notifications/message"); got != nil && jsonOf(got["params"].(map[string]any)["data"]) != `{"of":"much"}` {
		t.Errorf("logged: got %v", got)
	}
	counts := func() (n struct{ Cancelled, Rounds int }) {
		_ = json.Unmarshal([]byte(a.call(t, "counts", nil).text()), &n)
		return n
	}
	before := counts().Cancelled
	o := a.do(t, with(tool("wait", map[string]any{"ms": 20000}), func(o *op) { o.Cancel = 700 }))
	if o.Error == nil || !strings.Contains(o.Error.Message, "thought better") {
		t.Errorf("a call that was cancelled: %s", o.text())
	}
	err := party.Poll(10*time.Second, func() error {
		if counts().Cancelled == before {
			return fmt.Errorf("the server has not been told")
		}
		return nil
	})
	if err != nil {
		t.Errorf("cancellation: %v", err)
	}
}

// subscribe asks to be told of a resource, in the way of an agent's era.
func subscribe(t *testing.T, a *agent, uri, era string) {
	t.Helper()
	ask := read("resources/subscribe", map[string]any{"uri": uri})
	if era == isStateless {
		ask = read("listen", map[string]any{"resourceSubscriptions": []string{uri}})
	}
	if o := a.do(t, ask); o.Error != nil {
		t.Errorf("%s: %s", ask.Method, o.text())
	}
}
