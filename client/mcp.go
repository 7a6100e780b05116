package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
)

// OpenMCP opens a bridge of the Model Context Protocol: what is written and read is JSON-RPC, one message a line, until either side
// closes. Nothing is retrieved yet. ctx is for the opening alone.
func (c *Client) OpenMCP(ctx context.Context, spec wire.MCP) (io.ReadWriteCloser, error) {
	resp, err := c.ask(ctx, "POST", "/v1/mcp", spec, wire.UpgradeMCP)
	if err != nil {
		return nil, err
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Body.Close()
		return nil, freshet.Errorf(freshet.Unavailable, "the daemon answered %d, and not in its own way", resp.StatusCode)
	}
	return conn, nil
}

// maxTools bounds what is read of a list of tools.
const maxTools = 32 << 20

// MCPTools asks the server of a bridge for its tools: a JSON array, as the server tells them.
func (c *Client) MCPTools(ctx context.Context, spec wire.MCP) (json.RawMessage, error) {
	resp, err := c.send(ctx, "POST", "/v1/mcp/tools", spec)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var doc struct {
		Tools json.RawMessage `json:"tools"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxTools)).Decode(&doc); err != nil {
		return nil, unreadable(ctx, err, errCut)
	}
	return doc.Tools, nil
}

// Approvals lists the calls of tools that wait for an operator's word. It is for the daemon's own user and root.
func (c *Client) Approvals(ctx context.Context) ([]wire.Approval, error) {
	var doc struct {
		Approvals []wire.Approval `json:"approvals"`
	}
	resp, err := c.send(ctx, "GET", "/v1/approvals", struct{}{})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxStatus)).Decode(&doc); err != nil {
		return nil, unreadable(ctx, err, errCut)
	}
	return doc.Approvals, nil
}

// Decide lets a call that waits for an operator's word go on, or refuses it. It is for the daemon's own user and root.
func (c *Client) Decide(ctx context.Context, id string, approve bool) error {
	return c.call(ctx, "POST", "/v1/approvals/"+url.PathEscape(id), struct {
		Approve bool `json:"approve"`
	}{approve}, nil)
}
