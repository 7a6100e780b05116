// Mcpserver is what bridges of the benchmarks lead to: an MCP server by the official SDK over streamable HTTP, with two tools. It ends
// with its standard input.
//
//	echo            answers with its message
//	authorization   answers with the Authorization header that came, so that a case can see who signed
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

func main() {
	fmt.Fprintln(os.Stderr, "mcpserver:", serve())
	os.Exit(1)
}

type message struct {
	Message string `json:"message"`
}

func serve() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listens at", l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	server := sdk.NewServer(&sdk.Implementation{Name: "bench", Version: "1"}, nil)
	text := func(said string) *sdk.CallToolResult {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: said}}}
	}
	sdk.AddTool(server, &sdk.Tool{Name: "echo", Annotations: &sdk.ToolAnnotations{ReadOnlyHint: true}}, func(_ context.Context, _ *sdk.CallToolRequest, m message) (*sdk.CallToolResult, any, error) {
		return text(m.Message), nil, nil
	})
	sdk.AddTool(server, &sdk.Tool{Name: "authorization", Annotations: &sdk.ToolAnnotations{ReadOnlyHint: true}}, func(_ context.Context, r *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		return text(r.Extra.Header.Get("Authorization")), nil, nil
	})
	return http.Serve(l, sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, nil))
}
