package mcp

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
	"freshet.dev/mcp/canonical"
)

// maxRounds is how often an upstream may want more input for one request.
const maxRounds = 10

// call is a call of a tool on its way.
type call struct {
	up        *upstream
	name      string // as the upstream has it
	profile   *Profile
	arguments json.RawMessage
	digest    []byte // of all that, and the caller
	reads     bool   // may be done twice
	approve   bool
	approved  bool
	responses sdk.InputResponseMap
	state     string // the upstream's
}

// callTool forwards a call. Whatever goes wrong here, the model is to read.
func (a *agent) callTool(ctx context.Context, x *exchange, r *sdk.CallToolRequest) (sdk.Result, error) {
	res, err := a.call(ctx, x, r)
	if err != nil {
		x.failed(err)
		return toolFailure(err)
	}
	if res.IsError {
		x.Outcome, x.Reason = "error", "the tool's own"
	}
	return res, nil
}

func (a *agent) call(ctx context.Context, x *exchange, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	c, err := a.prepare(ctx, x, r.Params)
	if err != nil {
		return nil, err
	}
	who := &asker{modern: r.ProtocolVersion() >= eraStateless, ctx: ctx, session: r.Session, token: r.Params.GetProgressToken()}
	s, ours, ok := a.bridge.vouch.open(a.caller, r.Params.RequestState, c.digest)
	switch {
	case ours && !ok:
		return nil, refused{"the answer came too late, or is for another call; call the tool again"}
	case ours:
		c.state, c.approved = s.Upstream, s.Approved
	case !c.approve:
		c.state = r.Params.RequestState
	}
	if s.Parked != "" {
		return a.resume(ctx, r, s.Parked, c, who)
	}
	if c.approve && !c.approved {
		given := c.responses
		c.responses, c.state = nil, "" // nobody is shown what an agent brings of its own accord
		question, err := a.approval(ctx, r, c, ours, given)
		if question != nil || err != nil {
			return question, err
		}
	}
	if who.modern {
		return a.parkable(ctx, c, who, func(ctx context.Context) (*sdk.CallToolResult, error) { return a.rounds(ctx, r, c, who) })
	}
	return a.rounds(ctx, r, c, who)
}

// prepare finds out what is called, and whether that is allowed.
func (a *agent) prepare(ctx context.Context, x *exchange, p *sdk.CallToolParamsRaw) (*call, error) {
	up, name := a.bridge.named(p.Name)
	x.Tool = clean(p.Name, 200)
	if up == nil {
		return nil, refused{"no tool of this name: list the tools"}
	}
	x.Upstream, x.Tool, x.Profile = up.Name, clean(name, 200), up.Profiles[0].Name
	found := a.known(up, name)
	if up.indexed {
		limited, cancel := context.WithTimeoutCause(ctx, up.Timeouts.Request, errTimeout)
		defer cancel()
		var err error
		if found, err = a.tool(limited, up, name); err != nil {
			return nil, explain(limited, up.Name, up.Timeouts.Request, err)
		}
	}
	tool := found.Tool
	if tool == nil {
		found.drift = a.drifted(up, name, nil)
	}
	v := up.Policy.Judge(name, tool)
	if v.Refused != "" {
		return nil, refused{v.Refused}
	}
	if how := found.drift; how != "" {
		return nil, refused{"this tool is not as the operator of this bridge has pinned it, so it is not called: " + how +
			"; the operator can see the difference with: freshet mcp pin --check"}
	}
	profile, arguments, err := up.profile(tool, p.Arguments)
	if err != nil {
		return nil, err
	}
	x.Profile = profile.Name
	c := &call{up: up, name: name, profile: profile, arguments: arguments, approve: v.Approval, reads: v.Reads, responses: p.InputResponses}
	if !v.Writes && tool != nil && tool.Annotations != nil && tool.Annotations.IdempotentHint {
		c.reads = true
	}
	text := []byte(arguments)
	if len(text) == 0 {
		text = []byte("{}")
	}
	if text, err = canonical.JSON(text); err != nil {
		if c.approve {
			return nil, refused{"a call that needs approval has arguments that can be read in two ways: " + err.Error()}
		}
		text = arguments
	}
	c.digest = a.bridge.vouch.callDigest(a.caller, up.Name, profile.Name, name, string(text))
	return c, nil
}

// rounds calls the tool. An upstream of the stateless era may want input first: an agent of that era gets to know, any other is asked.
func (a *agent) rounds(ctx context.Context, r *sdk.CallToolRequest, c *call, who *asker) (*sdk.CallToolResult, error) {
	for range maxRounds {
		res, err := a.tryCall(ctx, r.Params, c, who)
		if err != nil {
			return nil, err
		}
		out := callResult(res)
		if !out.NeedsInput() {
			return out, nil
		}
		if who.modern {
			if c.approve { // what follows is the call that was approved
				out.RequestState = a.bridge.vouch.seal(state{Call: c.digest, Approved: true, Upstream: out.RequestState})
			}
			return out, nil
		}
		if c.responses, err = a.fulfil(ctx, r.Session, c.up, out.InputRequests); err != nil {
			return nil, err
		}
		c.state = out.RequestState
	}
	return nil, &freshet.Error{Kind: freshet.Malformed, Why: c.up.Name + ": it asks without an end"}
}

func (a *agent) tryCall(ctx context.Context, p *sdk.CallToolParamsRaw, c *call, who *asker) (*sdk.CallToolResult, error) {
	return forward(ctx, a, c.up, c.profile, c.up.Timeouts.Tool, c.reads, who, c.meta(p.Meta), func(ctx context.Context, to *conn, meta sdk.Meta) (*sdk.CallToolResult, error) {
		params := &sdk.CallToolParams{Meta: meta, Name: c.name, InputResponses: c.responses, RequestState: c.state}
		if len(c.arguments) > 0 {
			params.Arguments = c.arguments
		}
		res, err := to.session.CallTool(ctx, params)
		if t := attemptOf(ctx); err == nil && t != nil {
			if text := t.structured.Load(); text != nil {
				res.StructuredContent = *text
			}
		}
		return res, err
	})
}

// meta is what goes along of an agent's _meta. Who approves a call is not shown it, so then it is no more than the protocol's own.
func (c *call) meta(m map[string]any) map[string]any {
	if !c.approve {
		return m
	}
	own := map[string]any{}
	for k, v := range m {
		if k == "progressToken" || strings.HasPrefix(k, "io.modelcontextprotocol/") {
			own[k] = v
		}
	}
	return own
}

// forward has an upstream do what an agent asks for, within a limit.
func forward[R any](ctx context.Context, a *agent, up *upstream, p *Profile, limit time.Duration, safe bool, who *asker, meta map[string]any,
	do func(context.Context, *conn, sdk.Meta) (R, error)) (R, error) {
	var none R
	l, err := a.link(up, p)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTimeout)
	defer cancel()
	r, err := send(ctx, l, safe, func(ctx context.Context, to *conn) (R, error) {
		token, done := to.tokens.put(who)
		defer done()
		mark, over := to.calls.put(who)
		defer over()
		ctx = context.WithValue(ctx, callKey{}, mark)
		if level, ok := meta[sdk.MetaKeyLogLevel].(string); ok && who.modern {
			to.setLevel(ctx, sdk.LoggingLevel(level))
		}
		r, err := do(ctx, to, to.meta(meta, token))
		to.settle(ctx)
		return r, err
	})
	return r, explain(ctx, up.Name, limit, err)
}
