package mcp

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

// maxAsked is how many questions one upstream session, and one result, may have for an agent at a time.
const maxAsked = 32

// askLife is how long a question waits for whoever is to answer it.
const askLife = 15 * time.Minute

var (
	errOver     = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the call is over"}
	errNoAnswer = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "nobody has answered"}
)

// question is what an upstream of the older era asks during a call of an agent of the stateless one, which cannot be asked: it gets
// the question as the call's result, and comes back with the answer.
type question struct {
	id     string
	params sdk.InputRequest
	reply  chan sdk.InputResponse
}

// ask passes a question of an upstream's on to the agent.
func (a *agent) ask(ctx context.Context, c *conn, method string, params sdk.Params) (sdk.Result, error) {
	if n := c.asking.Add(1); n > maxAsked {
		c.asking.Add(-1)
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "too many questions at a time"}
	}
	defer c.asking.Add(-1)
	_, marked := params.GetMeta()[metaCall]
	g := c.calls.of(params, a.stateless)
	who := g.who
	if who == nil && marked {
		return nil, errOver
	}
	if who != nil && who.modern {
		if who.asks == nil {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "nobody can be asked just now"}
		}
		q := &question{id: "q-" + rand.Text(), params: params.(sdk.InputRequest), reply: make(chan sdk.InputResponse, 1)}
		select {
		case who.asks <- q:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-g.over:
			return nil, errOver
		case <-c.done:
			return nil, errLost
		}
		select {
		case r := <-q.reply:
			return answerOf(r, params)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-g.over:
			return nil, errOver
		case <-c.done:
			return nil, errLost
		}
	}
	session := a.only()
	if session == nil || session.InitializeParams() == nil || session.InitializeParams().ProtocolVersion >= eraStateless {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "nobody can be asked just now"}
	}
	ctx, stop := context.WithTimeoutCause(ctx, askLife, errNoAnswer)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a.ctx, func() { cancel(context.Canceled) })()
	ends := []chan struct{}{g.over}
	if !marked {
		ends = c.calls.ends() // it may be of any of them
	}
	if len(ends) > 0 {
		go func() {
			for _, over := range ends {
				select {
				case <-over:
				case <-c.done:
				case <-ctx.Done():
				}
			}
			cancel(errOver)
		}()
	}
	if token, ok := tokenKey(params.GetMeta()["progressToken"]); ok {
		a.mu.Lock()
		a.asked[token] = c
		a.mu.Unlock()
		defer func() {
			a.mu.Lock()
			if a.asked[token] == c {
				delete(a.asked, token)
			}
			a.mu.Unlock()
		}()
	}
	r, err := put(along(ctx, who), session, params)
	if cause, ok := context.Cause(ctx).(*jsonrpc.Error); ok && err != nil {
		return nil, cause
	}
	if e := remote(err); e != nil {
		return nil, e
	}
	return r, err
}

// put asks an agent of the older era.
func put(ctx context.Context, session *sdk.ServerSession, params any) (sdk.Result, error) {
	switch p := params.(type) {
	case *sdk.ElicitParams:
		return result(session.Elicit(ctx, p))
	case *sdk.CreateMessageWithToolsParams:
		return result(session.CreateMessageWithTools(ctx, p))
	case *sdk.ListRootsParams:
		return result(session.ListRoots(ctx, p))
	}
	return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "not supported"}
}

// result keeps a nil pointer from becoming a result.
func result[R any, P interface {
	*R
	sdk.Result
}](r P, err error) (sdk.Result, error) {
	if err != nil || r == nil {
		return nil, err
	}
	return r, nil
}

// answerOf is an agent's answer as the upstream gets it, if it is one to what was asked.
func answerOf(r sdk.InputResponse, params any) (sdk.Result, error) {
	switch params.(type) {
	case *sdk.ElicitParams:
		if v, ok := r.(*sdk.ElicitResult); ok {
			return v, nil
		}
	case *sdk.CreateMessageWithToolsParams:
		if v, ok := r.(*sdk.CreateMessageWithToolsResult); ok {
			return v, nil
		}
	case *sdk.ListRootsParams:
		if v, ok := r.(*sdk.ListRootsResult); ok {
			return v, nil
		}
	}
	return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the answer is none to the question"}
}

// fulfil asks an agent of the older era for what an upstream of the stateless one wants.
func (a *agent) fulfil(ctx context.Context, session *sdk.ServerSession, up *upstream, wanted sdk.InputRequestMap) (sdk.InputResponseMap, error) {
	switch {
	case len(wanted) == 0:
		return nil, &freshet.Error{Kind: freshet.Unavailable, Why: up.Name + ": it is busy", Hint: "try again later"}
	case len(wanted) > maxAsked:
		return nil, &freshet.Error{Kind: freshet.Malformed, Why: up.Name + ": it asks too much at once"}
	}
	answers := sdk.InputResponseMap{}
	for id, q := range wanted {
		r, err := put(ctx, session, q)
		if err != nil {
			return nil, &freshet.Error{Kind: freshet.Unavailable, Why: up.Name + ": it asks for something that the agent did not answer", Cause: err}
		}
		answer, ok := r.(sdk.InputResponse)
		if !ok {
			return nil, &freshet.Error{Kind: freshet.Malformed, Why: "the agent's answer is none"}
		}
		answers[id] = answer
	}
	return answers, nil
}
