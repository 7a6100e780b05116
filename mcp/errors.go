package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

// codeFailed is the JSON-RPC code of freshet's own failures. It is of the range that is left to implementations, and says nothing
// of the agent's parameters: one that is told "invalid params" where a login has expired tries other parameters.
const codeFailed = -32010

var (
	// errLost is the end of an upstream's session that nobody asked for.
	errLost = errors.New("session lost")
	// errTimeout is the cause of a context that ends because an upstream took too long.
	errTimeout = errors.New("timed out")
)

// answered is a JSON-RPC error that came with an HTTP status of failure. The SDK would have the status alone.
type answered struct{ e *jsonrpc.Error }

func (a answered) Error() string { return a.e.Message }

// refused is what the operator's policy, or a person, does not allow.
type refused struct{ why string }

func (r refused) Error() string { return r.why }

// uncertain is the failure of a call that may have run all the same, where that matters.
type uncertain struct{ error }

// Unwrap is for [errors.As].
func (u uncertain) Unwrap() error { return u.error }

// told is the failure as an agent may know it, with what it means to it.
func (u uncertain) told(err error) error {
	e, ok := err.(*freshet.Error)
	if !ok || errors.Is(e.Cause, context.Canceled) { // nobody reads it
		return err
	}
	mine := *e
	mine.Why += "; it is not known whether the tool has run"
	mine.Hint = "check what it did before calling it again"
	if e.Hint != "" {
		mine.Hint = e.Hint + ", and " + mine.Hint
	}
	return &mine
}

// remote is the JSON-RPC error with which an upstream has answered, or nil where err is none. The SDK tells of its own troubles by
// errors of the same type.
func remote(err error) *jsonrpc.Error {
	if a, ok := errors.AsType[answered](err); ok {
		return a.e
	}
	e, ok := errors.AsType[*jsonrpc.Error](err)
	if !ok {
		return nil
	}
	switch e.Message {
	case "rejected by transport", "server is closing", "client is closing":
		return nil
	}
	return e
}

// explain is what an agent may know of an error of an upstream's: the upstream's own JSON-RPC error, or one of freshet.
func explain(ctx context.Context, name string, limit time.Duration, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[refused](err); ok {
		return err
	}
	if u, ok := err.(uncertain); ok {
		return u.told(explain(ctx, name, limit, u.error))
	}
	if ctx.Err() != nil {
		if errors.Is(context.Cause(ctx), errTimeout) {
			return &freshet.Error{Kind: freshet.Unavailable, Why: fmt.Sprintf("%s: no answer within %v", name, limit), Cause: errTimeout}
		}
		return &freshet.Error{Kind: freshet.Unavailable, Why: name + ": cancelled", Cause: context.Canceled}
	}
	if e, ok := errors.AsType[*freshet.Error](err); ok {
		return e
	}
	if e := remote(err); e != nil {
		return e
	}
	return &freshet.Error{Kind: freshet.Unavailable, Why: name + ": the connection to it broke", Cause: err}
}

// told is an error as an agent reads it: what it is, and what to do.
func told(err error) string {
	e, ok := errors.AsType[*freshet.Error](err)
	if !ok {
		return err.Error()
	}
	var b strings.Builder
	b.WriteString(e.Error())
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, "; try again in %d s", seconds(e.RetryAfter))
	}
	return b.String()
}

func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// failure is the JSON-RPC error of a method that is no tool's call.
func failure(err error) error {
	if e := remote(err); e != nil {
		return e
	}
	out := &jsonrpc.Error{Code: codeFailed, Message: told(err)}
	if e, ok := errors.AsType[*freshet.Error](err); ok {
		data := map[string]any{"kind": string(e.Kind)}
		if e.Hint != "" {
			data["hint"] = e.Hint
		}
		if e.RetryAfter > 0 {
			data["retry_after"] = seconds(e.RetryAfter)
		}
		out.Data, _ = json.Marshal(data)
	}
	return out
}

// toolFailure is a failed call of a tool as the model reads it: as an error of JSON-RPC it would reach the agent's program alone.
func toolFailure(err error) (sdk.Result, error) {
	if e := remote(err); e != nil {
		return nil, e
	}
	r := completeCall.copy()
	r.Content = []sdk.Content{&sdk.TextContent{Text: told(err)}}
	r.IsError = true
	return &r, nil
}

// outcome is a failure in the words of an [Event].
func outcome(err error) string {
	if _, ok := errors.AsType[refused](err); ok {
		return "refused"
	}
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errTimeout):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return "error"
}
