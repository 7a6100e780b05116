// Package mcp has agents call tools of a remote MCP server through freshet, beside a direct connection and a bridge that is made of
// the same SDK and has no other work than to pass calls on.
//
// Server, bridge and agent are processes of one machine, and nothing is encrypted: what is left is what a bridge takes by itself.
package mcp

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/bench/internal/daemon"
	"freshet.dev/bench/internal/measure"
)

// Cases are those of this family.
func Cases() []measure.Case { return []measure.Case{callCase()} }

// way is how an agent reaches the server.
type way struct {
	name, note string
	role       measure.Role
	signed     string // in the Authorization header that comes to the server
	open       func(w *world, s *measure.Setup) (sdk.Transport, error)
}

var (
	direct = &way{name: "direct", role: measure.Floor, signed: "Bearer " + daemon.TokenText(), note: "no bridge: the agent holds the token, and sends it",
		open: func(w *world, s *measure.Setup) (sdk.Transport, error) {
			return over("http://"+w.upstream+"/mcp", daemon.TokenText()), nil
		}}
	bare = &way{name: "a bridge of the SDK", role: measure.Floor, signed: "Bearer " + daemon.TokenText(), open: openBare,
		note: "a program of its own over stdio, which holds the token: a server and a client of the official Go SDK and twenty lines between them; it " +
			"asks nobody, checks nothing, and carries calls of tools alone"}
	bearer = &way{name: "freshet mcp, bearer", role: measure.Freshet, signed: "Bearer " + daemon.TokenText(), note: "over stdio, with a daemon that has the sessions; a token of 1.5 KB",
		open: func(w *world, s *measure.Setup) (sdk.Transport, error) { return w.stdio(s, "--as", daemon.Token) }}
	signature = &way{name: "freshet mcp, sigv4", role: measure.Freshet, signed: "AWS4-HMAC-SHA256 Credential=" + daemon.AccessKeyID + "/",
		note: "the same with AWS keys and a session token of 1.4 KB; a signature covers the body",
		open: func(w *world, s *measure.Setup) (sdk.Transport, error) {
			return w.stdio(s, "--as", daemon.Keys, "--service", "execute-api", "--region", "us-east-1")
		}}
	gateway = &way{name: "freshet gateway, bearer", role: measure.Freshet, signed: "Bearer " + daemon.TokenText(), note: "over streamable HTTP, from an entry of `mcp:`; the agent shows the local secret",
		open: func(w *world, s *measure.Setup) (sdk.Transport, error) {
			if err := w.daemon(s); err != nil {
				return nil, err
			}
			return over("http://"+w.listens+"/mcp", daemon.Secret), nil
		}}
)

// world is what the subjects of a case share.
type world struct {
	upstream string // its address
	home     *daemon.Home
	listens  string // where the daemon's gateway is
	plain    *agent // who goes to the server itself
}

// begin starts the server, once.
func (w *world) begin(s *measure.Setup) error {
	if w.upstream != "" {
		return nil
	}
	path, err := s.Tools.Program(s.Context, "mcpserver")
	if err != nil {
		return err
	}
	p, err := daemon.Start(s.Context, daemon.Command{Args: []string{path}, Ready: "listens at "})
	if err != nil {
		return err
	}
	s.Cleanup(func() {
		p.Stop()
		*w = world{}
	})
	if w.upstream, err = daemon.Address(p); err != nil {
		return err
	}
	w.plain, err = w.agent(s, direct)
	return err
}

// daemon starts freshet's, once.
func (w *world) daemon(s *measure.Setup) error {
	if w.home != nil {
		return nil
	}
	home, err := daemon.NewMCP(s, "http://"+w.upstream+"/mcp")
	if err != nil {
		return err
	}
	p, err := home.Serve(s.Context)
	if err != nil {
		return err
	}
	s.Cleanup(p.Stop)
	w.home = home
	w.listens, err = daemon.Address(p)
	return err
}

// stdio is freshet's command, which an agent starts.
func (w *world) stdio(s *measure.Setup, args ...string) (sdk.Transport, error) {
	if err := w.daemon(s); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(s.Context, w.home.Program, append([]string{"mcp", "http://" + w.upstream + "/mcp"}, args...)...)
	cmd.Env = w.home.Env
	return &sdk.CommandTransport{Command: cmd}, nil
}

func openBare(w *world, s *measure.Setup) (sdk.Transport, error) {
	path, err := s.Tools.Program(s.Context, "baremcp")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(s.Context, path, "-upstream", "http://"+w.upstream+"/mcp")
	cmd.Env = []string{"TOKEN=" + daemon.TokenText()}
	return &sdk.CommandTransport{Command: cmd}, nil
}

// over is streamable HTTP with a bearer token, and connections that are kept.
func over(url, token string) sdk.Transport {
	kept := &http.Transport{MaxIdleConnsPerHost: 100, IdleConnTimeout: 90 * time.Second, DisableCompression: true}
	return &sdk.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: shown{token, kept}}}
}

// shown puts a token on requests.
type shown struct {
	token string
	next  http.RoundTripper
}

func (t shown) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	return t.next.RoundTrip(r)
}

// agent is a client with a session.
type agent struct {
	*way
	session *sdk.ClientSession
}

// agent opens a session, for as long as the case takes.
func (w *world) agent(s *measure.Setup, y *way) (*agent, error) {
	transport, err := y.open(w, s)
	if err != nil {
		return nil, err
	}
	client := sdk.NewClient(&sdk.Implementation{Name: "bench", Version: "1"}, nil)
	session, err := client.Connect(s.Context, transport, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", y.name, err)
	}
	s.Cleanup(func() { _ = session.Close() })
	a := &agent{y, session}
	return a, a.check(s.Context)
}

// call has the server echo a message.
func (a *agent) call(ctx context.Context, message string) error {
	said, err := a.tool(ctx, "echo", map[string]any{"message": message})
	if err == nil && said != message {
		err = fmt.Errorf("%w: %.100q", measure.ErrWrong, said)
	}
	return err
}

// tool calls one, and returns its text.
func (a *agent) tool(ctx context.Context, name string, arguments map[string]any) (string, error) {
	r, err := a.session.CallTool(ctx, &sdk.CallToolParams{Name: name, Arguments: arguments})
	if err != nil {
		return "", err
	}
	if len(r.Content) != 1 || r.IsError {
		return "", fmt.Errorf("%w: %d pieces, error %v", measure.ErrWrong, len(r.Content), r.IsError)
	}
	text, ok := r.Content[0].(*sdk.TextContent)
	if !ok {
		return "", fmt.Errorf("%w: %T", measure.ErrWrong, r.Content[0])
	}
	return text.Text, nil
}

// check is an error that wraps [measure.ErrWrong] unless what comes to the server has the credential on it that belongs there.
func (a *agent) check(ctx context.Context) error {
	came, err := a.tool(ctx, "authorization", map[string]any{})
	if err == nil && !strings.HasPrefix(came, a.signed) {
		err = fmt.Errorf("%w: the server gets no credential, or another one", measure.ErrWrong)
	}
	return err
}
