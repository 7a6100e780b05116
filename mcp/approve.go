package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/mcp/approval"
	"freshet.dev/mcp/canonical"
)

const (
	approvalKey = "freshet_approval"
	personWait  = 5 * time.Minute // for a person at the agent
	maxShown    = 16 << 10        // bytes of arguments that a person is shown: what is longer, nobody reads in a client's window
	maxNamed    = 500             // and of a tool's name, and a server's
)

// approval sees to it that a person allows a call. It yields a question for an agent that has to come back with the answer; without
// one, and without an error, the call is allowed.
//
// A person at the agent is asked where the agent can ask. What the agent itself says of approval, in its arguments or elsewhere, is
// nothing: an answer counts with the state that went out with the question, which is good for this call alone, and once.
func (a *agent) approval(ctx context.Context, r *sdk.CallToolRequest, c *call, answered bool, answers sdk.InputResponseMap) (*sdk.CallToolResult, error) {
	question, whole := c.question()
	if whole && canAsk(r.ClientCapabilities()) {
		if r.ProtocolVersion() >= eraStateless {
			if !answered {
				out := inputCall.copy()
				out.InputRequests = sdk.InputRequestMap{approvalKey: question}
				out.RequestState = a.bridge.vouch.seal(state{Call: c.digest})
				return &out, nil
			}
			given, _ := answers[approvalKey].(*sdk.ElicitResult)
			return nil, c.judge(given)
		}
		limited, cancel := context.WithTimeout(ctx, personWait)
		given, err := r.Session.Elicit(limited, question)
		cancel()
		if err == nil {
			return nil, c.judge(given)
		}
		if ctx.Err() != nil {
			return nil, explain(ctx, c.up.Name, 0, err)
		}
	}
	if a.bridge.cfg.Approvals == nil {
		why := "this call needs a person's approval, and there is nobody to ask: the agent cannot"
		if !whole {
			why = fmt.Sprintf("this call needs a person's approval, and its arguments are too long for a person at the agent to see whole (over %d KiB)", maxShown>>10)
		}
		return nil, refused{why + ", and no daemon keeps it for an operator; with freshet serve running, an operator can approve it"}
	}
	text := []byte(c.arguments)
	if len(text) == 0 {
		text = []byte("{}")
	}
	err := a.bridge.cfg.Approvals.Ask(ctx, approval.Call{Bridge: a.bridge.cfg.Name, Upstream: c.where(), Tool: c.name, Caller: a.caller, Arguments: text, Scope: a.bridge.cfg.Scope}, a.bridge.cfg.Wait)
	if err != nil && ctx.Err() != nil {
		return nil, explain(ctx, c.up.Name, 0, err)
	}
	if err != nil {
		return nil, refused{told(err)}
	}
	return nil, nil
}

// where is the upstream that a call goes to, and by whose credential.
func (c *call) where() string {
	if c.profile.Name == "" { // without any
		return c.up.Name
	}
	return c.up.Name + " (" + c.profile.Name + ")"
}

func canAsk(caps *sdk.ClientCapabilities) bool {
	return caps != nil && caps.Elicitation != nil && (caps.Elicitation.Form != nil || caps.Elicitation.URL == nil)
}

// question is what a person is asked; not ok where it would not show all that is asked for. Nothing in a tool's name or its arguments
// can pass for a part of the question.
func (c *call) question() (q *sdk.ElicitParams, ok bool) {
	text := "{}"
	if len(c.arguments) > 0 {
		v, err := canonical.Parse(c.arguments)
		if err != nil {
			return nil, false
		}
		text = string(canonical.Indent(v))
	}
	if len(text) > maxShown || len(c.name) > maxNamed || len(c.where()) > maxNamed {
		return nil, false
	}
	return &sdk.ElicitParams{
		Mode: "form",
		Message: fmt.Sprintf("The tool %s of %s is about to be called. The operator wants a person to approve that.\n\nArguments:\n%s",
			clean(c.name, maxNamed), clean(c.where(), maxNamed), text),
		RequestedSchema: json.RawMessage(`{"type":"object","properties":{"approve":{"type":"boolean","title":"Approve this call","default":false}},"required":["approve"]}`),
	}, true
}

// judge takes nothing but a clear yes.
func (c *call) judge(given *sdk.ElicitResult) error {
	if given != nil && given.Action == "accept" && given.Content["approve"] == true {
		c.approved = true
		return nil
	}
	return refused{"the person who was asked did not approve this call"}
}
