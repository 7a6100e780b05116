package mcp

import (
	"os"
	"slices"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

func exit(code int) { os.Exit(code) }

func TestEveryKindOfRequestPasses(t *testing.T) {
	everyWay(t, func(t *testing.T, how front, agent, up string) {
		o := newOrigin(t, up)
		b, j := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
		s := connect(t, b, how, agent, nil)
		if got := names(t, s); !slices.Contains(got, "echo") || !slices.Contains(got, "slow") {
			t.Errorf("tools: got %v", got)
		}
		if got := callText(t, s, "echo", map[string]any{"text": "x"}); got != `{"text":"x"}` {
			t.Errorf("echo: got %s", got)
		}
		p, err := s.GetPrompt(t.Context(), &sdk.GetPromptParams{Name: "greet", Arguments: map[string]string{"who": "you"}})
		if err != nil || p.Description != "hello you" {
			t.Errorf("prompt: got %+v, %v", p, err)
		}
		r, err := s.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "test://r"})
		if err != nil || r.Contents[0].Text != "content" {
			t.Errorf("resource: got %+v, %v", r, err)
		}
		c, err := s.Complete(t.Context(), &sdk.CompleteParams{Ref: &sdk.CompleteReference{Type: "ref/prompt", Name: "greet"}, Argument: sdk.CompleteParamsArgument{Name: "who", Value: "y"}})
		if err != nil || !slices.Equal(c.Completion.Values, []string{"greety!"}) {
			t.Errorf("completion: got %+v, %v", c, err)
		}
		prompts, err := s.ListPrompts(t.Context(), &sdk.ListPromptsParams{})
		if err != nil || len(prompts.Prompts) != 1 {
			t.Errorf("prompts: got %+v, %v", prompts, err)
		}
		resources, err := s.ListResources(t.Context(), &sdk.ListResourcesParams{})
		if err != nil || len(resources.Resources) != 1 {
			t.Errorf("resources: got %+v, %v", resources, err)
		}
		if e := j.last("tools/call"); e.Outcome != "ok" || e.Tool != "echo" || e.Bridge != "tests" || e.Profile != "main" {
			t.Errorf("event: got %+v", e)
		}
		if got := s.InitializeResult().Instructions; got != "use it well" {
			t.Errorf("instructions: got %q", got)
		}
	})
}
