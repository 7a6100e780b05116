package party

import (
	"path/filepath"
	"testing"
)

// ObjectsBoto3 is the command line of a program that does with an S3 server what programs do with one, by Debian's boto3: ENDPOINT
// BUCKET PLAN follow, see the program.
func ObjectsBoto3(t testing.TB) []string {
	t.Helper()
	debian(t, "python3-boto3")
	return []string{python, filepath.Join(moduleDir(t), "clients", "boto3", "objects.py")}
}

// ObjectsNode is the same, by the AWS SDK for JavaScript.
func ObjectsNode(t testing.TB) []string {
	t.Helper()
	return nodeProgram(t, filepath.Join("clients", "node"), "objects.mjs")
}

// OpenAINode is the command line of a program that speaks to an API of OpenAI's kind with the official client.
func OpenAINode(t testing.TB) []string {
	t.Helper()
	return nodeProgram(t, filepath.Join("clients", "node"), "openai.mjs")
}

// SocketNode is the command line of a server of WebSockets, and of a client of one, both of them ws.
func SocketNode(t testing.TB) []string {
	t.Helper()
	return nodeProgram(t, filepath.Join("clients", "node"), "socket.mjs")
}
