package mcp

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// helloWait is how long an agent's first request waits for the upstreams, to say what they have. It must not wait for a login.
const helloWait = time.Second

// maxInstructions bounds what upstreams say of their use, which every model reads whole.
const maxInstructions = 256 << 10

func (a *agent) initialize(ctx context.Context, method string, r *sdk.ServerRequest[*sdk.InitializeParams], next sdk.MethodHandler) (sdk.Result, error) {
	res, err := next(ctx, method, r)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.session = r.Session
	a.mu.Unlock()
	a.is(r.Params.ClientInfo, r.Params.Capabilities)
	out := *res.(*sdk.InitializeResult)
	h := a.hello(ctx)
	out.Capabilities, out.Instructions, out.ServerInfo = h.caps, h.instructions, h.info
	return &out, nil
}

func (a *agent) discover(ctx context.Context, method string, r *sdk.ServerRequest[*sdk.DiscoverParams], next sdk.MethodHandler) (sdk.Result, error) {
	res, err := next(ctx, method, r)
	if err != nil {
		return nil, err
	}
	a.is(r.ClientInfo(), r.ClientCapabilities())
	out := *res.(*sdk.DiscoverResult)
	h := a.hello(ctx)
	out.Capabilities, out.Instructions = h.caps, h.instructions
	m := sdk.Meta{sdk.MetaKeyServerInfo: h.info}
	for k, v := range out.Meta {
		if k != sdk.MetaKeyServerInfo {
			m[k] = v
		}
	}
	out.Meta = m
	return &out, nil
}

type hello struct {
	caps         *sdk.ServerCapabilities
	instructions string
	info         *sdk.Implementation
}

// hello begins to connect all upstreams, and says what those have that answer soon. While one has not, all is offered that a bridge
// can pass on: an agent does not ask again.
func (a *agent) hello(ctx context.Context) hello {
	h := hello{caps: everything(), info: a.bridge.implementation()}
	ctx, cancel := context.WithTimeout(ctx, helloWait)
	defer cancel()
	type met struct {
		up *upstream
		r  *sdk.InitializeResult
	}
	answers := make(chan met, len(a.bridge.upstreams))
	for _, up := range a.bridge.upstreams {
		if !a.background(func() {
			m := met{up: up}
			if l, err := a.link(up, &up.Profiles[0]); err == nil {
				if c, give, err := l.take(ctx); err == nil {
					m.r = c.session.InitializeResult()
					give()
				} else if ctx.Err() == nil {
					a.bridge.log.Warn("mcp: an upstream is not there yet", "bridge", a.bridge.cfg.Name, "upstream", up.Name, "error", clean(told(err), 300))
				}
			}
			answers <- m
		}) {
			answers <- met{up: up}
		}
	}
	known := map[*upstream]*sdk.InitializeResult{}
	for range a.bridge.upstreams {
		m := <-answers
		if m.r == nil {
			return h
		}
		known[m.up] = m.r
	}
	h.caps = &sdk.ServerCapabilities{}
	var text []string
	for _, up := range a.bridge.upstreams {
		r := known[up]
		join(h.caps, r.Capabilities)
		if r.Instructions != "" {
			said := r.Instructions
			if up.prefix != "" {
				said = up.Name + ": " + said
			}
			text = append(text, said)
		}
		if len(a.bridge.upstreams) == 1 && r.ServerInfo != nil {
			h.info = r.ServerInfo
		}
	}
	h.instructions = upTo(strings.Join(text, "\n\n"), maxInstructions)
	return h
}

// upTo is the beginning of a text, in whole characters.
func upTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// join adds what an upstream has. Its extensions and experiments are not passed on, and so not offered.
func join(to, from *sdk.ServerCapabilities) {
	if from == nil {
		return
	}
	if from.Tools != nil { // what the operator allows of them may change, whatever the upstream does
		to.Tools = &sdk.ToolCapabilities{ListChanged: true}
	}
	if from.Prompts != nil {
		to.Prompts = &sdk.PromptCapabilities{ListChanged: from.Prompts.ListChanged || to.Prompts != nil && to.Prompts.ListChanged}
	}
	if from.Resources != nil {
		if to.Resources == nil {
			to.Resources = &sdk.ResourceCapabilities{}
		}
		to.Resources.ListChanged = to.Resources.ListChanged || from.Resources.ListChanged
		to.Resources.Subscribe = to.Resources.Subscribe || from.Resources.Subscribe
	}
	if from.Logging != nil {
		to.Logging = from.Logging
	}
	if from.Completions != nil {
		to.Completions = from.Completions
	}
}
