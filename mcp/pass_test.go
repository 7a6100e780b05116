package mcp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

func TestProgressArrivesBeforeTheResultWithTheAgentsToken(t *testing.T) {
	everyWay(t, func(t *testing.T, how front, agent, up string) {
		o := newOrigin(t, up)
		b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
		var mu sync.Mutex
		var got []string
		s := connect(t, b, how, agent, &sdk.ClientOptions{ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) {
			mu.Lock()
			got = append(got, fmt.Sprint(r.Params.ProgressToken, r.Params.Progress))
			mu.Unlock()
		}})
		p := &sdk.CallToolParams{Name: "steps"}
		p.SetProgressToken("mine")
		if _, err := s.CallTool(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		eventually(t, "five steps", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == 5 })
		if want := []string{"mine1", "mine2", "mine3", "mine4", "mine5"}; !slices.Equal(got, want) {
			t.Errorf("progress: got %v, want %v", got, want)
		}
	})
}

func TestAnUpstreamAsksTheAgent(t *testing.T) {
	for _, how := range []front{stdio, web_} {
		for _, agent := range []string{legacyEra, modernEra} {
			t.Run(fmt.Sprint(how, agent), func(t *testing.T) {
				o := newOrigin(t, legacyEra)
				b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
				opts := &sdk.ClientOptions{
					ElicitationHandler: func(_ context.Context, r *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
						return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"name": "to " + r.Params.Message}}, nil
					},
					CreateMessageHandler: func(context.Context, *sdk.CreateMessageRequest) (*sdk.CreateMessageResult, error) {
						return &sdk.CreateMessageResult{Model: "a model", Role: "assistant", Content: &sdk.TextContent{Text: "x"}}, nil
					},
				}
				client := sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "9"}, opts)
				client.AddRoots(&sdk.Root{URI: "file:///home"})
				s := connect(t, b, how, agent, opts)
				for range 2 {
					if got, want := callText(t, s, "elicit", nil), "accept to who?"; got != want {
						t.Errorf("elicitation: got %q, want %q", got, want)
					}
				}
				if got, want := callText(t, s, "sample", nil), "a model"; got != want {
					t.Errorf("sampling: got %q, want %q", got, want)
				}
			})
		}
	}
}

func TestManyAsAtOnceAreEachAnswered(t *testing.T) {
	for _, agent := range []string{legacyEra, modernEra} {
		t.Run(agent, func(t *testing.T) {
			o := newOrigin(t, legacyEra)
			b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
			var asked atomic.Int64
			s := connect(t, b, web_, agent, &sdk.ClientOptions{ElicitationHandler: func(_ context.Context, r *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
				return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"name": fmt.Sprint(asked.Add(1))}}, nil
			}})
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					if got := callText(t, s, "elicit", nil); !strings.HasPrefix(got, "accept ") {
						t.Errorf("got %q", got)
					}
				})
			}
			all.Wait()
			if asked.Load() != 10 {
				t.Errorf("asked %d times, want 10", asked.Load())
			}
		})
	}
}

// TestSeveralRoundsOfInput has an upstream of the stateless era want input three times: an agent of that era is handed each, with the
// state; any other is asked.
func TestSeveralRoundsOfInput(t *testing.T) {
	for _, how := range []front{stdio, web_} {
		for _, agent := range []string{legacyEra, modernEra} {
			t.Run(fmt.Sprint(how, agent), func(t *testing.T) {
				o := newOrigin(t, modernEra)
				b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
				var asked atomic.Int64
				s := connect(t, b, how, agent, &sdk.ClientOptions{ElicitationHandler: func(_ context.Context, r *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
					asked.Add(1)
					return &sdk.ElicitResult{Action: "accept"}, nil
				}})
				if got, want := callText(t, s, "rounds", nil), "after three"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if asked.Load() != 3 {
					t.Errorf("asked %d times, want 3", asked.Load())
				}
			})
		}
	}
}

func TestRootsAreTheAgents(t *testing.T) {
	o := newOrigin(t, legacyEra)
	told := make(chan struct{}, 10)
	o.mcp.AddReceivingMiddleware(func(next sdk.MethodHandler) sdk.MethodHandler {
		return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
			if method == "notifications/roots/list_changed" {
				told <- struct{}{}
			}
			return next(ctx, method, r)
		}
	})
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	client := sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "9"}, nil)
	client.AddRoots(&sdk.Root{URI: "file:///home"})
	s := attach(t, b, client, legacyEra)
	if got, want := callText(t, s, "roots", nil), "file:///home"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	client.AddRoots(&sdk.Root{URI: "file:///other"})
	select {
	case <-told:
	case <-t.Context().Done():
		t.Error("the upstream was not told of the change")
	}
}

func TestNewsOfAnUpstreamReachTheAgent(t *testing.T) {
	everyWay(t, func(t *testing.T, how front, agent, up string) {
		o := newOrigin(t, up)
		b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
		var tools, resources, news atomic.Int64
		s := connect(t, b, how, agent, &sdk.ClientOptions{
			ToolListChangedHandler:     func(context.Context, *sdk.ToolListChangedRequest) { tools.Add(1) },
			ResourceListChangedHandler: func(context.Context, *sdk.ResourceListChangedRequest) { resources.Add(1) },
			ResourceUpdatedHandler: func(_ context.Context, r *sdk.ResourceUpdatedNotificationRequest) {
				if r.Params.URI == "test://r" {
					news.Add(1)
				}
			},
		})
		names(t, s)
		if err := s.Subscribe(t.Context(), &sdk.SubscribeParams{URI: "test://r"}); err != nil {
			t.Fatal(err)
		}
		each(t, 60*time.Millisecond, "a changed list of tools", func() bool {
			o.mcp.RemoveTools("extra")
			o.mcp.AddTool(&sdk.Tool{Name: "extra", InputSchema: emptySchema}, nil)
			return tools.Load() > 0
		})
		each(t, 60*time.Millisecond, "a changed list of resources", func() bool {
			o.mcp.AddResource(&sdk.Resource{Name: "q", URI: "test://q"}, nil)
			return resources.Load() > 0
		})
		each(t, 60*time.Millisecond, "news of a resource", func() bool {
			_ = o.mcp.ResourceUpdated(context.Background(), &sdk.ResourceUpdatedNotificationParams{URI: "test://r"})
			_ = o.mcp.ResourceUpdated(context.Background(), &sdk.ResourceUpdatedNotificationParams{URI: "test://other"})
			return news.Load() > 0
		})
		if err := s.Unsubscribe(t.Context(), &sdk.UnsubscribeParams{URI: "test://r"}); err != nil {
			t.Error(err)
		}
		if got := names(t, s); !slices.Contains(got, "extra") || slices.Contains(got, "freshet") {
			t.Errorf("tools: got %v", got)
		}
	})
}

func TestAnUpstreamsLogReachesTheAgent(t *testing.T) {
	for _, how := range []front{stdio, web_} {
		for _, up := range []string{legacyEra, modernEra} {
			t.Run(fmt.Sprint(how, up), func(t *testing.T) {
				o := newOrigin(t, up)
				b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
				heard := make(chan any, 10)
				s := connect(t, b, how, legacyEra, &sdk.ClientOptions{LoggingMessageHandler: func(_ context.Context, r *sdk.LoggingMessageRequest) {
					heard <- r.Params.Data
				}})
				if err := s.SetLoggingLevel(t.Context(), &sdk.SetLoggingLevelParams{Level: "info"}); err != nil {
					t.Fatal(err)
				}
				callText(t, s, "talk", nil)
				select {
				case got := <-heard:
					if got != "hear this" {
						t.Errorf("got %v", got)
					}
				case <-time.After(20 * time.Second):
					t.Error("nothing was heard")
				}
			})
		}
	}
}

func TestWhatAnAgentCancelsIsCancelledAtTheUpstream(t *testing.T) {
	everyWay(t, func(t *testing.T, how front, agent, up string) {
		o := newOrigin(t, up)
		b, j := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
		s := connect(t, b, how, agent, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := s.CallTool(ctx, &sdk.CallToolParams{Name: "slow"})
			done <- err
		}()
		eventually(t, "the tool runs", func() bool { return o.calls.Load() == 1 })
		cancel()
		<-done
		eventually(t, "the tool is cancelled", func() bool { return len(o.ended) == 1 })
		eventually(t, "it is observed", func() bool { return j.last("tools/call").Outcome == "cancelled" })
		if got := callText(t, s, "echo", map[string]any{"a": 1}); got != `{"a":1}` {
			t.Errorf("after it: got %s", got)
		}
	})
}

func TestManyCallsAtOnceOnOneSession(t *testing.T) {
	everyWay(t, func(t *testing.T, how front, agent, up string) {
		o := newOrigin(t, up)
		b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
		s := connect(t, b, how, agent, nil)
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if i%4 == 3 { // these are given up
					go cancel()
					_, _ = s.CallTool(ctx, &sdk.CallToolParams{Name: "slow"})
					return
				}
				if got, want := callText(t, s, "echo", map[string]any{"i": i}), fmt.Sprintf(`{"i":%d}`, i); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
		all.Wait()
		if n := o.opened.Load(); up == legacyEra && n != 1 {
			t.Errorf("%d upstream sessions, want 1", n)
		}
	})
}

func TestNumbersInArgumentsStayAsTheyWere(t *testing.T) {
	o := newOrigin(t, legacyEra)
	b, _ := newBridge(t, Config{Upstreams: []Upstream{o.upstream(t)}})
	s := connect(t, b, stdio, legacyEra, nil)
	const want = `{"n":12345678901234567890123,"f":1.00}`
	if got := callText(t, s, "echo", rawJSON(want)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
