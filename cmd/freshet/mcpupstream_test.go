package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// mcpServer is an MCP server that wants a bearer token, and counts what reaches it.
type mcpServer struct {
	*httptest.Server
	mu            sync.Mutex
	calls         []string // tool, and its arguments
	metas         []map[string]any
	authorization []string
	sdk           *sdk.Server
	hang          chan struct{} // closed at the end: the tool hang waits for it
}

// newMCPServer has the tools read_it, which says that it reads, write_it and hang. token "" lets everybody in.
func newMCPServer(t *testing.T, token string) *mcpServer {
	s := &mcpServer{hang: make(chan struct{})}
	s.sdk = sdk.NewServer(&sdk.Implementation{Name: "upstream", Version: "1"}, nil)
	tool := func(name string, reads bool) {
		s.sdk.AddTool(&sdk.Tool{
			Name: name, Description: "does " + name, InputSchema: json.RawMessage(`{"type":"object"}`), Annotations: &sdk.ToolAnnotations{ReadOnlyHint: reads},
		}, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			s.mu.Lock()
			s.calls = append(s.calls, name+" "+string(r.Params.Arguments))
			s.metas = append(s.metas, r.Params.Meta)
			s.mu.Unlock()
			if name == "hang" {
				select {
				case <-s.hang:
				case <-ctx.Done():
				}
			}
			return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "did " + name}}}, nil
		})
	}
	tool("read_it", true)
	tool("write_it", false)
	tool("hang", false)
	h := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s.sdk }, nil)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := r.Header.Get("Authorization")
		s.mu.Lock()
		s.authorization = append(s.authorization, got)
		s.mu.Unlock()
		if token != "" && got != "Bearer "+token {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		close(s.hang)
		s.Server.CloseClientConnections()
		s.Server.Close()
	})
	return s
}

func (s *mcpServer) called() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.calls...)
}

func (s *mcpServer) lastMeta() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.metas) == 0 {
		return nil
	}
	return s.metas[len(s.metas)-1]
}
