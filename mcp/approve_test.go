package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/mcp/approval"
)

// TestAnApprovedCallHasNoMetaOfTheAgents has an agent say by its _meta where a call goes, which nobody is shown who approves.
func TestAnApprovedCallHasNoMetaOfTheAgents(t *testing.T) {
	everyWay(t, func(t *testing.T, how front, agent, up string) {
		o := newOrigin(t, up)
		u := o.upstream(t)
		u.Meta = map[string]string{"AWS_REGION": "sandbox"}
		u.Policy.Approve.Names = []string{"meta"}
		b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
		var seen []string
		s := connect(t, b, how, agent, asking("accept", map[string]any{"approve": true}, &seen))
		p := &sdk.CallToolParams{Name: "meta", Meta: sdk.Meta{"AWS_REGION": "production", "other": 1.0, "io.modelcontextprotocol/related": "kept"}}
		p.SetProgressToken("mine")
		r, err := s.CallTool(t.Context(), p)
		if err != nil || r.IsError {
			t.Fatalf("got %v, %v", r, err)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(textOf(r)), &got); err != nil {
			t.Fatal(err)
		}
		if got["AWS_REGION"] != "sandbox" || got["other"] != nil || got["io.modelcontextprotocol/related"] != "kept" || got["progressToken"] == nil {
			t.Errorf("got %v", got)
		}
		if len(seen) != 1 {
			t.Errorf("asked %d times", len(seen))
		}
	})
}

// TestAnApprovedCallTakesNothingAlongThatNobodySaw has an agent bring a state of the upstream's, and answers to it, for another call.
func TestAnApprovedCallTakesNothingAlongThatNobodySaw(t *testing.T) {
	o := newOrigin(t, modernEra)
	var mu sync.Mutex
	var took []string
	o.mcp.AddTool(&sdk.Tool{Name: "delete", InputSchema: emptySchema}, func(_ context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		mu.Lock()
		defer mu.Unlock()
		took = append(took, fmt.Sprint(r.Params.RequestState, len(r.Params.InputResponses)))
		switch r.Params.RequestState {
		case "": // wants an answer
			return &sdk.CallToolResult{InputRequests: sdk.InputRequestMap{"sure": &sdk.ElicitParams{Mode: "form", Message: "sure?", RequestedSchema: emptySchema}},
				RequestState: "delete " + string(r.Params.Arguments)}, nil
		}
		return textResult("did " + r.Params.RequestState), nil
	})
	u := o.upstream(t)
	u.Policy.Approve.All = true
	store := approval.NewStore(approval.Config{})
	b, _ := newBridge(t, Config{Upstreams: []Upstream{u}, Approvals: store, Wait: time.Millisecond})
	sure := sdk.InputResponseMap{"sure": &sdk.ElicitResult{Action: "accept"}}
	yes := &sdk.ElicitResult{Action: "accept", Content: map[string]any{"approve": true}}
	caller := func(opts *sdk.ClientOptions) func(state string, r sdk.InputResponseMap) *sdk.CallToolResult {
		opts.MultiRoundTrip = &sdk.MultiRoundTripOptions{Disabled: true}
		s := connect(t, b, stdio, modernEra, opts)
		return func(state string, r sdk.InputResponseMap) *sdk.CallToolResult {
			t.Helper()
			res, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: "delete", Arguments: json.RawMessage(`{"what":"one"}`), RequestState: state, InputResponses: r})
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
	}
	none := func(what string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(took, []string{"0"}) {
			t.Errorf("%s: the server got %q, want neither a state nor answers", what, took)
		}
		took = nil
	}
	finish := func(what string, call func(string, sdk.InputResponseMap) *sdk.CallToolResult, r *sdk.CallToolResult) {
		t.Helper()
		if !r.NeedsInput() || !strings.HasPrefix(r.RequestState, b.vouch.mark) {
			t.Fatalf("%s: got %q with the state %q, want a question with a state of the bridge's", what, textOf(r), r.RequestState)
		}
		if got := textOf(call(r.RequestState, sure)); got != `did delete {"what":"one"}` {
			t.Errorf("%s: got %q", what, got)
		}
		mu.Lock()
		took = nil
		mu.Unlock()
	}

	call := caller(&sdk.ClientOptions{})
	const foreign = `delete {"what":"everything"}`
	if r := call(foreign, sure); !r.IsError {
		t.Fatalf("before it is approved: got %q", textOf(r))
	}
	if err := store.Decide(store.List()[0].ID, true, "root"); err != nil {
		t.Fatal(err)
	}
	r := call(foreign, sure)
	none("by an operator")
	finish("by an operator", call, r)

	call = caller(&sdk.ClientOptions{ElicitationHandler: func(context.Context, *sdk.ElicitRequest) (*sdk.ElicitResult, error) { return nil, nil }})
	r = call(foreign, sure)
	r = call(r.RequestState, sdk.InputResponseMap{approvalKey: yes, "sure": sure["sure"]})
	none("by the agent's person")
	finish("by the agent's person", call, r)
}

// TestARoundOfAnApprovedCallIsAlwaysSealed: an upstream may want to be called again without asking anything.
func TestARoundOfAnApprovedCallIsAlwaysSealed(t *testing.T) {
	u := raw(t, func(w http.ResponseWriter, method string, id json.RawMessage) {
		if method == "tools/list" {
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"a","inputSchema":{"type":"object"}}]}}`, id)
			return
		}
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"input_required","requestState":"plain"}}`, id)
	})
	u.Policy.Approve.All = true
	b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
	s := connect(t, b, stdio, modernEra, &sdk.ClientOptions{MultiRoundTrip: &sdk.MultiRoundTripOptions{Disabled: true},
		ElicitationHandler: func(context.Context, *sdk.ElicitRequest) (*sdk.ElicitResult, error) { return nil, nil }})
	first, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: "a", RequestState: first.RequestState,
		InputResponses: sdk.InputResponseMap{approvalKey: &sdk.ElicitResult{Action: "accept", Content: map[string]any{"approve": true}}}})
	if err != nil {
		t.Fatal(err)
	}
	if !r.NeedsInput() || !strings.HasPrefix(r.RequestState, b.vouch.mark) {
		t.Errorf("got the state %q", r.RequestState)
	}
}

func TestArgumentsTooLongToShowAreForAnOperator(t *testing.T) {
	for _, era := range []string{legacyEra, modernEra} {
		t.Run(era, func(t *testing.T) {
			o := newOrigin(t, legacyEra)
			u := o.upstream(t)
			u.Policy.Approve.All = true
			long := map[string]any{"a": strings.Repeat("x", maxShown), "z": "what nobody would see"}
			var seen []string
			store := approval.NewStore(approval.Config{})
			b, _ := newBridge(t, Config{Upstreams: []Upstream{u}, Approvals: store, Wait: time.Millisecond})
			s := connect(t, b, stdio, era, asking("accept", map[string]any{"approve": true}, &seen))
			if got := refusedText(t, s, "write", long); !strings.Contains(got, "freshet approve") {
				t.Errorf("got %q", got)
			}
			if p := store.List(); len(p) != 1 || !bytes.Contains(p[0].Arguments, []byte("what nobody would see")) {
				t.Errorf("%d calls wait", len(p))
			}
			alone, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
			s = connect(t, alone, stdio, era, asking("accept", map[string]any{"approve": true}, &seen))
			if got := refusedText(t, s, "write", long); !strings.Contains(got, "too long") || !strings.Contains(got, "freshet serve") {
				t.Errorf("got %q", got)
			}
			if len(seen) != 0 || o.calls.Load() != 0 {
				t.Errorf("asked %d times, called %d times", len(seen), o.calls.Load())
			}
		})
	}
}

// TestAnApprovalIsByOneCredential: who approves is told whose it is, and where.
func TestAnApprovalIsByOneCredential(t *testing.T) {
	o := newOrigin(t, legacyEra)
	u := o.upstream(t)
	u.Name, u.Policy.Approve.All = "example.com/mcp", true
	store := approval.NewStore(approval.Config{})
	for _, identity := range []string{"prod", "dev"} {
		u.Profiles[0].Name = identity
		b, _ := newBridge(t, Config{Upstreams: []Upstream{u}, Approvals: store, Wait: time.Millisecond})
		s := connect(t, b, stdio, legacyEra, nil)
		refusedText(t, s, "write", nil)
		if identity == "prod" {
			if err := store.Decide(store.List()[0].ID, true, "root"); err != nil {
				t.Fatal(err)
			}
		} else if p := store.List(); len(p) != 1 || p[0].Upstream != "example.com/mcp (dev)" {
			t.Errorf("waiting: got %v", p)
		}
		var seen []string
		s = connect(t, b, stdio, legacyEra, asking("cancel", nil, &seen))
		refusedText(t, s, "write", nil)
		if len(seen) != 1 || !strings.Contains(seen[0], "of example.com/mcp ("+identity+") is") {
			t.Errorf("asked %q", seen)
		}
	}
	if o.calls.Load() != 0 {
		t.Errorf("%d calls by what another was approved for", o.calls.Load())
	}
}

func TestTheOperatorsWordOnWritingIsOnRepeatingToo(t *testing.T) {
	for name, write := range map[string][]string{"repeated": nil, "": {"put"}} {
		o := newOrigin(t, legacyEra)
		o.mcp.AddTool(&sdk.Tool{Name: "put", InputSchema: emptySchema, Annotations: &sdk.ToolAnnotations{IdempotentHint: true}},
			func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
				return textResult("put"), nil
			})
		u := o.upstream(t)
		u.Policy.Write, u.Policy.Deny = write, []string{"another"}
		var repeat []any
		u.Profiles[0].Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost {
				if body, _ := r.GetBody(); body != nil {
					if data, _ := io.ReadAll(body); bytes.Contains(data, []byte(`"tools/call"`)) {
						repeat = append(repeat, r.Context().Value(repeatKey{}))
					}
				}
			}
			return http.DefaultTransport.RoundTrip(r)
		})
		b, _ := newBridge(t, Config{Upstreams: []Upstream{u}})
		s := connect(t, b, stdio, legacyEra, nil)
		callText(t, s, "put", nil)
		if want := []any{name != ""}; !slices.Equal(repeat, want) {
			t.Errorf("write: %q: may be repeated: got %v, want %v", write, repeat, want)
		}
	}
}

// TestStatesOfOneCallerKeepNoOtherOut: what one has used up is its own, and forgotten once it is over.
func TestStatesOfOneCallerKeepNoOtherOut(t *testing.T) {
	var v vouch
	now := time.Unix(1e9, 0)
	for i := range maxStates {
		if !v.use(fmt.Sprint("a", i), "a", now.Add(time.Duration(i)), now.Add(stateLife)) {
			t.Fatalf("%d: not taken", i)
		}
	}
	if v.use("a1", "b", now, now.Add(stateLife)) {
		t.Error("one that was used is taken")
	}
	if v.use("more", "a", now, now.Add(stateLife)) {
		t.Error("one more than its share is taken")
	}
	if !v.use("b", "b", now.Add(time.Minute), now.Add(stateLife)) {
		t.Error("another caller's is not taken")
	}
	later := now.Add(stateLife + time.Second)
	if !v.use("more", "a", later, later) {
		t.Error("it is not taken once the others are over")
	}
	if len(v.queue) != 2 || len(v.used) != 2 || v.count["a"] != 1 || v.count["b"] != 1 {
		t.Errorf("kept: %d, %d, %v", len(v.queue), len(v.used), v.count)
	}
	end := later.Add(time.Hour)
	if !v.use("c", "c", end, end) || len(v.count) != 1 || len(v.used) != 1 {
		t.Errorf("kept: %d, %v", len(v.used), v.count)
	}
	v.init()
	digest := v.callDigest("x")
	if s := v.seal(state{Call: digest}); true {
		if _, ours, ok := v.open("d", s, digest); !ours || !ok {
			t.Error("a state is not taken")
		}
		if _, ours, ok := v.open("d", s, digest); !ours || ok || v.count["d"] != 1 {
			t.Error("a state is taken twice")
		}
	}
}
