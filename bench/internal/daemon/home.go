// Package daemon starts the command freshet for a case as its users do: built from this checkout, with a configuration file, and a
// home of its own, so that nothing of whoever runs the benchmarks is read or changed.
package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"freshet.dev/bench/internal/measure"
)

// Home is a home folder with freshet's configuration in it. Its identities are a token and AWS keys that a program prints:
// nothing goes over a network.
type Home struct {
	Dir     string
	Program string   // freshet
	Socket  string   // where its daemon listens
	Env     []string // for freshet, and for other programs of this home
}

// The names of the identities, and what their credentials can be known by.
const (
	Token  = "token"
	Keys   = "keys"
	Secret = "0123456789abcdef0123456789abcdef" // of the endpoints and proxies
)

// TokenText is the token: with what a dialect puts around it an answer has some 1.6 KB, as Entra's have.
func TokenText() string { return filler("token-", 1500) }

// AccessKeyID is that of the keys.
const AccessKeyID = "ASIAFRESHETBENCH0001"

const configuration = `version: 1
socket: {path: %[2]s}
identities:
  token: {source: process, command: [cat, %[1]s/token.json]}
  keys:  {source: process, command: [cat, %[1]s/keys.json]}
log: {level: error}
`

const endpoints = `endpoints:
  - {endpoint: aws-container,     listen: "127.0.0.1:0", identity: keys,  secret: {file: %[1]s/secret}}
  - {endpoint: azure-app-service, listen: "127.0.0.1:0", identity: token, secret: {file: %[1]s/secret}}
  - {endpoint: oauth-token,       listen: "127.0.0.1:0", identities: [token], secret: {file: %[1]s/secret}}
`

const proxies = `proxies:
  - {signer: bearer, path: /token, listen: "127.0.0.1:0", identity: token, secret: {file: %[1]s/secret}, upstream: "%[2]s"}
  - {signer: sigv4,  path: /keys,  listen: "127.0.0.1:0", identity: keys,  secret: {file: %[1]s/secret}, upstream: "%[2]s", service: s3, region: us-east-1}
`

const bridges = `mcp:
  - {name: bench, listen: "127.0.0.1:0", secret: {file: %[1]s/secret}, upstreams: [{url: "%[2]s", identity: token}]}
`

// New makes a home whose daemon has endpoints.
func New(s *measure.Setup) (*Home, error) {
	return newHome(s, func(dir string) string { return fmt.Sprintf(endpoints, dir) })
}

// NewProxy makes a home whose daemon has proxies to an upstream: below /token they sign with the token, below /keys with the keys,
// as S3 wants it.
func NewProxy(s *measure.Setup, upstream string) (*Home, error) {
	return newHome(s, func(dir string) string { return fmt.Sprintf(proxies, dir, upstream) })
}

// NewMCP makes a home whose daemon has a bridge to an MCP server, which signs with the token.
func NewMCP(s *measure.Setup, upstream string) (*Home, error) {
	return newHome(s, func(dir string) string { return fmt.Sprintf(bridges, dir, upstream) })
}

func newHome(s *measure.Setup, servers func(dir string) string) (*Home, error) {
	program, err := s.Tools.Freshet(s.Context)
	if err != nil {
		return nil, err
	}
	dir, err := s.Tools.Dir()
	if err != nil {
		return nil, err
	}
	h := &Home{Dir: dir, Program: program, Socket: filepath.Join(dir, "run", "freshet.sock")}
	for _, sub := range []string{"run", ".config/freshet"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	h.Env = []string{
		"HOME=" + dir, "XDG_CONFIG_HOME=" + filepath.Join(dir, ".config"), "XDG_RUNTIME_DIR=" + filepath.Join(dir, "run"),
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "TZ=UTC",
	}
	token, err1 := json.Marshal(map[string]any{"access_token": TokenText(), "token_type": "Bearer", "expires_in": 86400})
	keys, err2 := json.Marshal(map[string]any{
		"Version": 1, "AccessKeyId": AccessKeyID, "SecretAccessKey": filler("key/", 40), "SessionToken": filler("session", 1400),
		"Expiration": time.Now().UTC().Add(12 * time.Hour).Format(time.RFC3339),
	})
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	for name, content := range map[string]string{
		"token.json": string(token), "keys.json": string(keys), "secret": Secret,
		".config/freshet/freshet.yaml": fmt.Sprintf(configuration, dir, h.Socket) + servers(dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Serve starts the daemon. It ends with the case, or with ctx.
func (h *Home) Serve(ctx context.Context) (*Process, error) {
	return Start(ctx, Command{Args: []string{h.Program, "serve"}, Env: h.Env, Ready: "ready: "})
}

// Address is where a daemon says that its endpoints are, or its proxies.
func Address(p *Process) (string, error) {
	_, rest, ok := strings.Cut(p.Line, " at ")
	address, _, _ := strings.Cut(rest, ";")
	if !ok {
		return "", fmt.Errorf("no address in %q", p.Line)
	}
	return strings.TrimSpace(address), nil
}

// filler is text of n bytes as credentials are made of.
func filler(word string, n int) string { return strings.Repeat(word, n/len(word)+1)[:n] }
