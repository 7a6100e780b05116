package party

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// mcpFolder holds the clients and servers of the Model Context Protocol.
var mcpFolder = filepath.Join("clients", "mcp")

// MCPServer is a running server of the Model Context Protocol.
type MCPServer struct {
	// URL of its streamable HTTP.
	URL string `json:"url"`
	// Proc is its process.
	Proc *Process `json:"-"`
}

// MCPEverything starts the reference server, which has some of all that the revisions with sessions know. It keeps to no interface of
// its own accord, so a preloaded script has it listen on loopback.
func MCPEverything(t testing.TB) *MCPServer {
	t.Helper()
	preload := nodeProgram(t, mcpFolder, "loopback.mjs")
	server := filepath.Join(filepath.Dir(preload[1]), "node_modules", "@modelcontextprotocol", "server-everything", "dist", "index.js")
	cmd := exec.Command(preload[0], "--import", preload[1], server, "streamableHttp")
	cmd.Env = append(withoutAWS(cmd.Environ()), "PORT=0")
	return startMCP(t, cmd)
}

// MCPStateless starts a server of the stateless revision, made with the official SDK; with both, it serves earlier ones too.
func MCPStateless(t testing.TB, both bool) *MCPServer {
	t.Helper()
	argv := nodeProgram(t, mcpFolder, "server.mjs")
	if both {
		argv = append(argv, "both")
	}
	return startMCP(t, exec.Command(argv[0], argv[1:]...))
}

// MCPClient is the command line of a program that does with a server what it reads; sdk is the package it does that with: "sdk" is
// @modelcontextprotocol/sdk, the first, and "client" is @modelcontextprotocol/client, the second.
func MCPClient(t testing.TB, sdk string) []string {
	t.Helper()
	return append(nodeProgram(t, mcpFolder, "client.mjs"), sdk)
}

// MCPInspector is the command line of the inspector's CLI.
func MCPInspector(t testing.TB) []string {
	t.Helper()
	program := nodeProgram(t, mcpFolder, "client.mjs")
	return []string{program[0], filepath.Join(filepath.Dir(program[1]), "node_modules", "@modelcontextprotocol", "inspector-cli", "build", "index.js")}
}

// startMCP starts a server that says where it is.
func startMCP(t testing.TB, cmd *exec.Cmd) *MCPServer {
	t.Helper()
	// It leaves when its input ends: the pipe is held open and closes, at the latest, with this process.
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	proc, err := Start(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	line, err := proc.ReadyLine("ready ", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	server := &MCPServer{Proc: proc}
	if err := json.Unmarshal([]byte(line), server); err != nil {
		t.Fatal(err)
	}
	return server
}
