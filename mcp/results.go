package mcp

import (
	"encoding/json"
	"sync"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// The 2026-07-28 era says of each result whether it is one, or wants more input first. The SDK keeps that where only it, and JSON,
// can set it; these are copied, and are harmless to an agent of the older era. They are made when one is first wanted: a program
// that has no bridge need not.
var (
	completeCall   = template[sdk.CallToolResult]{text: `{"resultType":"complete","content":[]}`}
	completePrompt = template[sdk.GetPromptResult]{text: `{"resultType":"complete","messages":[]}`}
	completeRead   = template[sdk.ReadResourceResult]{text: `{"resultType":"complete","contents":[]}`}
	inputCall      = template[sdk.CallToolResult]{text: `{"resultType":"input_required","content":[]}`}
	inputPrompt    = template[sdk.GetPromptResult]{text: `{"resultType":"input_required","messages":[]}`}
	inputRead      = template[sdk.ReadResourceResult]{text: `{"resultType":"input_required","contents":[]}`}
)

// template is a result of one kind, from its JSON.
type template[T any] struct {
	text string
	once sync.Once
	made T
}

func (t *template[T]) copy() T {
	t.once.Do(func() {
		if err := json.Unmarshal([]byte(t.text), &t.made); err != nil {
			panic("mcp: " + err.Error()) // of a constant
		}
	})
	return t.made
}

// callResult is an upstream's result as the agent gets it.
func callResult(r *sdk.CallToolResult) *sdk.CallToolResult {
	out := completeCall.copy()
	if r.InputRequests != nil || r.NeedsInput() {
		out = inputCall.copy()
	}
	if r.Content != nil {
		out.Content = r.Content
	}
	out.Meta, out.StructuredContent, out.IsError = r.Meta, r.StructuredContent, r.IsError
	out.InputRequests, out.RequestState = r.InputRequests, r.RequestState
	return &out
}

func promptResult(r *sdk.GetPromptResult) *sdk.GetPromptResult {
	out := completePrompt.copy()
	if r.InputRequests != nil || r.NeedsInput() {
		out = inputPrompt.copy()
	}
	if r.Messages != nil {
		out.Messages = r.Messages
	}
	out.Meta, out.Description = r.Meta, r.Description
	out.InputRequests, out.RequestState = r.InputRequests, r.RequestState
	return &out
}

func readResult(r *sdk.ReadResourceResult) *sdk.ReadResourceResult {
	out := completeRead.copy()
	if r.InputRequests != nil || r.NeedsInput() {
		out = inputRead.copy()
	}
	if r.Contents != nil {
		out.Contents = r.Contents
	}
	out.Meta, out.Cacheable = r.Meta, r.Cacheable
	out.CacheScope = "private" // it was read with somebody's credential
	out.InputRequests, out.RequestState = r.InputRequests, r.RequestState
	return &out
}
