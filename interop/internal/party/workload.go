package party

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// python and awscli are Debian's own. They are named by path because a version manager's python, which lacks Debian's
// modules, often comes first in PATH.
const (
	python = "/usr/bin/python3"
	awscli = "/usr/bin/aws"
)

// Workload is what a client does over and over: read one object, with retries off, with credentials that it finds in
// its environment the way its SDK does by default.
type Workload struct {
	Endpoint, Bucket, Key string
	// For is how long the client goes on.
	For time.Duration
}

// Client is a program that runs a workload: one attempt a call, a line "failure: …" on stderr for each that fails, and a
// Summary as its last line on stdout, at its end or on SIGTERM.
type Client struct {
	// Name of the SDK.
	Name string
	// Pause between calls.
	Pause time.Duration

	argv []string
}

// Summary is what a client says it did.
type Summary struct {
	Client   string   `json:"client"`
	Calls    int      `json:"calls"`
	Failures int      `json:"failures"`
	Errors   []string `json:"errors"` // the first few
}

// Args is the client's command line for the workload: ENDPOINT BUCKET KEY SECONDS PAUSE.
func (c Client) Args(w Workload) []string {
	return append(append([]string{}, c.argv...), w.Endpoint, w.Bucket, w.Key, seconds(w.For), seconds(c.Pause))
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// ReadSummary finds the summary in a client's output.
func ReadSummary(stdout []byte) (Summary, error) {
	lines := bytes.Split(bytes.TrimSpace(stdout), []byte("\n"))
	var s Summary
	if err := json.Unmarshal(lines[len(lines)-1], &s); err != nil {
		return s, fmt.Errorf("no summary in %q: %w", stdout, err)
	}
	return s, nil
}

// GoClient is aws-sdk-go-v2 with its default chain.
func GoClient(t testing.TB) Client {
	t.Helper()
	return Client{Name: "go", Pause: 100 * time.Millisecond, argv: []string{buildClient(t, "golang")}}
}

// AbortClient reads no object: it speaks to the container credentials endpoint over sockets of its own and resets most
// of them at some point of a request. Cancelling a call in an SDK does not do that, because their providers finish a
// fetch that they have begun. It counts as failed only what it meant to complete.
func AbortClient(t testing.TB) Client {
	t.Helper()
	return Client{Name: "abort", Pause: 50 * time.Millisecond, argv: []string{buildClient(t, "abort")}}
}

// Boto3Client is Debian's boto3 with its default chain.
func Boto3Client(t testing.TB) Client {
	t.Helper()
	debian(t, "python3-boto3")
	script := filepath.Join(moduleDir(t), "clients", "boto3", "loop.py")
	return Client{Name: "boto3", Pause: 100 * time.Millisecond, argv: []string{python, script}}
}

// NodeClient is the AWS SDK for JavaScript with its default chain.
func NodeClient(t testing.TB) Client {
	t.Helper()
	argv := nodeProgram(t, filepath.Join("clients", "node"), "loop.mjs")
	return Client{Name: "node", Pause: 100 * time.Millisecond, argv: argv}
}

// AWSCLI is the path of Debian's aws.
func AWSCLI(t testing.TB) string {
	t.Helper()
	debian(t, "awscli")
	return awscli
}

// AWSCLIClient runs Debian's aws, a process a call, each of them most of a second of CPU: two are enough.
func AWSCLIClient(t testing.TB) Client {
	t.Helper()
	debian(t, "awscli")
	script := filepath.Join(moduleDir(t), "clients", "awscli", "loop.sh")
	return Client{Name: "awscli", Pause: 3 * time.Second, argv: []string{"/bin/sh", script, awscli, python}}
}

// buildClient builds one of the programs under clients.
func buildClient(t testing.TB, name string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-o", binary, "./clients/"+name)
	cmd.Dir = moduleDir(t)
	if err := run(cmd); err != nil {
		t.Fatal(err)
	}
	return binary
}
