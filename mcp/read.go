package mcp

import (
	"context"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

func (a *agent) getPrompt(ctx context.Context, x *exchange, r *sdk.GetPromptRequest) (sdk.Result, error) {
	up, name := a.bridge.named(r.Params.Name)
	if up == nil {
		return nil, unknown("prompt")
	}
	x.Upstream, x.Profile = up.Name, up.Profiles[0].Name
	p := *r.Params
	who := &asker{modern: r.ProtocolVersion() >= eraStateless, ctx: ctx, session: r.Session, token: p.GetProgressToken()}
	for range maxRounds {
		res, err := forward(ctx, a, up, &up.Profiles[0], up.Timeouts.Request, true, who, r.Params.Meta, func(ctx context.Context, to *conn, meta sdk.Meta) (*sdk.GetPromptResult, error) {
			return to.session.GetPrompt(ctx, &sdk.GetPromptParams{Meta: meta, Name: name, Arguments: p.Arguments, InputResponses: p.InputResponses, RequestState: p.RequestState})
		})
		if err != nil {
			return nil, err
		}
		out := promptResult(res)
		if who.modern || !out.NeedsInput() {
			return out, nil
		}
		if p.InputResponses, err = a.fulfil(ctx, r.Session, up, out.InputRequests); err != nil {
			return nil, err
		}
		p.RequestState = out.RequestState
	}
	return nil, &freshet.Error{Kind: freshet.Malformed, Why: up.Name + ": it asks without an end"}
}

// unknown says that no upstream can have a thing: none has the name that it begins with.
func unknown(what string) error {
	return &freshet.Error{Kind: freshet.Invalid, Why: "no " + what + " of this name", Hint: "list the " + what + "s"}
}

// readResource asks the upstream that listed the resource, and then the others, since a template's resources are not listed.
func (a *agent) readResource(ctx context.Context, x *exchange, r *sdk.ReadResourceRequest) (sdk.Result, error) {
	var first error
	for _, up := range a.owners(r.Params.URI) {
		x.Upstream, x.Profile = up.Name, up.Profiles[0].Name
		res, err := a.readFrom(ctx, up, r)
		if err == nil {
			a.owns(up, r.Params.URI)
			return res, nil
		}
		if !notFound(err) {
			return nil, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// notFound reports whether an upstream has no such resource: -32002 until 2025-11-25, invalid params from then on.
func notFound(err error) bool {
	e := remote(err)
	return e != nil && (e.Code == -32002 || e.Code == jsonrpc.CodeInvalidParams || e.Code == jsonrpc.CodeMethodNotFound)
}

func (a *agent) readFrom(ctx context.Context, up *upstream, r *sdk.ReadResourceRequest) (sdk.Result, error) {
	p := *r.Params
	who := &asker{modern: r.ProtocolVersion() >= eraStateless, ctx: ctx, session: r.Session, token: p.GetProgressToken()}
	for range maxRounds {
		res, err := forward(ctx, a, up, &up.Profiles[0], up.Timeouts.Request, true, who, r.Params.Meta, func(ctx context.Context, to *conn, meta sdk.Meta) (*sdk.ReadResourceResult, error) {
			return to.session.ReadResource(ctx, &sdk.ReadResourceParams{Meta: meta, URI: p.URI, InputResponses: p.InputResponses, RequestState: p.RequestState})
		})
		if err != nil {
			return nil, err
		}
		out := readResult(res)
		if who.modern || !out.NeedsInput() {
			return out, nil
		}
		if p.InputResponses, err = a.fulfil(ctx, r.Session, up, out.InputRequests); err != nil {
			return nil, err
		}
		p.RequestState = out.RequestState
	}
	return nil, &freshet.Error{Kind: freshet.Malformed, Why: up.Name + ": it asks without an end"}
}

func (a *agent) complete(ctx context.Context, x *exchange, r *sdk.CompleteRequest) (sdk.Result, error) {
	if r.Params.Ref == nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "ref is missing"}
	}
	ref := *r.Params.Ref
	list := a.owners(ref.URI)
	if ref.Type == "ref/prompt" {
		up, name := a.bridge.named(ref.Name)
		if up == nil {
			return nil, unknown("prompt")
		}
		list, ref.Name = []*upstream{up}, name
	}
	var first error
	for _, up := range list {
		x.Upstream, x.Profile = up.Name, up.Profiles[0].Name
		who := &asker{modern: r.ProtocolVersion() >= eraStateless, ctx: ctx, session: r.Session}
		res, err := forward(ctx, a, up, &up.Profiles[0], up.Timeouts.Request, true, who, r.Params.Meta, func(ctx context.Context, to *conn, meta sdk.Meta) (*sdk.CompleteResult, error) {
			return to.session.Complete(ctx, &sdk.CompleteParams{Meta: meta, Argument: r.Params.Argument, Context: r.Params.Context, Ref: &ref})
		})
		if err == nil {
			if res.Completion.Values == nil {
				res.Completion.Values = []string{}
			}
			return res, nil
		}
		if !notFound(err) {
			return nil, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}
