// Baremcp is a stdio server that passes calls of tools on to an MCP server over HTTP, by the same SDK on both sides as freshet's bridge,
// and puts a token that it holds on them: what a bridge cannot be quicker than that is made of it.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

func main() {
	upstream := flag.String("upstream", "", "URL")
	flag.Parse()
	if err := serve(context.Background(), *upstream, os.Getenv("TOKEN")); err != nil {
		fmt.Fprintln(os.Stderr, "baremcp:", err)
		os.Exit(1)
	}
}

// bearer puts the token on requests.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

func serve(ctx context.Context, upstream, token string) error {
	// As many connections kept as freshet keeps.
	transport := &http.Transport{MaxIdleConnsPerHost: 100, IdleConnTimeout: 90 * time.Second, DisableCompression: true}
	client := sdk.NewClient(&sdk.Implementation{Name: "baremcp", Version: "1"}, nil)
	up, err := client.Connect(ctx, &sdk.StreamableClientTransport{Endpoint: upstream, HTTPClient: &http.Client{Transport: bearer{token, transport}}}, nil)
	if err != nil {
		return err
	}
	defer up.Close()
	server := sdk.NewServer(&sdk.Implementation{Name: "baremcp", Version: "1"}, nil)
	tools, err := up.ListTools(ctx, nil)
	if err != nil {
		return err
	}
	for _, t := range tools.Tools {
		server.AddTool(t, func(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			return up.CallTool(ctx, &sdk.CallToolParams{Name: r.Params.Name, Arguments: r.Params.Arguments})
		})
	}
	return server.Run(ctx, &sdk.StdioTransport{})
}
