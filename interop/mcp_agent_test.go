package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// agentSettings are what a client is started with: a URL, or a command that it starts itself.
type agentSettings struct {
	URL     string            `json:"url,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Command []string          `json:"command,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Version string            `json:"version,omitempty"` // a revision, "auto", or "" for one with sessions
	Bare    bool              `json:"bare,omitempty"`    // without capabilities
	Answer  any               `json:"answer,omitempty"`  // to elicitations
}

// op is something for a client to do.
type op struct {
	ID       int    `json:"id"`
	Method   string `json:"method"`
	Params   any    `json:"params"`
	Timeout  int    `json:"timeout,omitempty"` // in ms
	Progress bool   `json:"progress,omitempty"`
	Cancel   int    `json:"cancel,omitempty"` // after so many ms
}

// failure is an error as a client's SDK throws it.
type failure struct {
	Name    string
	Code    any
	Message string
	Data    any
}

// outcome is what came of an op.
type outcome struct {
	Result   map[string]any
	Error    *failure
	Progress []any
	Took     int
}

// text is that of a tool's result, or of what went wrong.
func (o outcome) text() string {
	if o.Error != nil {
		return fmt.Sprintf("error %v: %s", o.Error.Code, o.Error.Message)
	}
	var all []string
	content, _ := o.Result["content"].([]any)
	for _, c := range content {
		if block, ok := c.(map[string]any); ok {
			text, _ := block["text"].(string)
			all = append(all, text)
		}
	}
	if o.Result["isError"] == true {
		return "tool error: " + strings.Join(all, "\n")
	}
	return strings.Join(all, "\n")
}

// names are those of what was listed.
func (o outcome) names(what string) []string {
	list, _ := o.Result[what].([]any)
	names := []string{}
	for _, each := range list {
		names = append(names, each.(map[string]any)["name"].(string))
	}
	return names
}

// agent is a client of the Model Context Protocol in a process of its own.
type agent struct {
	proc  *party.Process
	stdin io.WriteCloser
	ready map[string]any

	mu      sync.Mutex
	next    int
	open    map[int]chan outcome
	heard   []map[string]any // notifications
	asked   []map[string]any // requests of the server
	trouble []string         // what the SDK complains of
	said    bytes.Buffer     // all that it printed
	began   chan *failure
	ended   chan struct{}
}

// startAgent starts a client, of one of the SDKs, that has to get a session.
func startAgent(t *testing.T, sdk string, s agentSettings) *agent {
	t.Helper()
	a, failed := tryAgent(t, sdk, s)
	if failed != nil {
		t.Fatalf("%s: %+v\n%s", sdk, *failed, a.proc.Log())
	}
	return a
}

// tryAgent starts a client, which may fail to get a session.
func tryAgent(t *testing.T, sdk string, s agentSettings) (*agent, *failure) {
	t.Helper()
	argv := party.MCPClient(t, sdk)
	cmd := exec.Command(argv[0], argv[1:]...)
	a := &agent{open: map[int]chan outcome{}, began: make(chan *failure, 1), ended: make(chan struct{})}
	var err error
	if a.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, in := io.Pipe()
	cmd.Stdout = in
	if a.proc, err = party.Start(t, cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = a.proc.Wait(time.Hour)
		in.Close()
	}()
	go a.read(out)
	settings, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.stdin.Write(append(settings, '\n')); err != nil {
		t.Fatal(err)
	}
	select {
	case failed := <-a.began:
		return a, failed
	case <-a.ended:
		t.Fatalf("%s ended: %s\n%s", sdk, a.output(), a.proc.Log())
	case <-time.After(time.Minute):
		t.Fatalf("%s is not ready\n%s", sdk, a.proc.Log())
	}
	return nil, nil
}

// read sorts what the client prints.
func (a *agent) read(r io.Reader) {
	defer close(a.ended)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var line struct {
			ID      int
			Ready   map[string]any
			Failed  *failure
			Heard   map[string]any
			Asked   map[string]any
			Trouble string
			outcome
		}
		err := json.Unmarshal(lines.Bytes(), &line)
		a.mu.Lock()
		a.said.Write(lines.Bytes())
		a.said.WriteByte('\n')
		switch {
		case err != nil:
		case line.Ready != nil:
			a.ready = line.Ready
			a.began <- nil
		case line.Failed != nil:
			a.began <- line.Failed
		case line.Trouble != "":
			a.trouble = append(a.trouble, line.Trouble)
		case line.Heard != nil:
			a.heard = append(a.heard, line.Heard)
		case line.Asked != nil:
			a.asked = append(a.asked, line.Asked)
		case a.open[line.ID] != nil:
			a.open[line.ID] <- line.outcome
			delete(a.open, line.ID)
		}
		a.mu.Unlock()
	}
}

// start has the client do something; the channel brings what came of it.
func (a *agent) start(t *testing.T, o op) <-chan outcome {
	t.Helper()
	if o.Params == nil {
		o.Params = map[string]any{}
	}
	came := make(chan outcome, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	o.ID = a.next
	a.open[o.ID] = came
	line, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.stdin.Write(append(line, '\n')); err != nil {
		t.Errorf("the client is gone: %v", err)
	}
	return came
}

// do has the client do something, and waits for it.
func (a *agent) do(t *testing.T, o op) outcome {
	t.Helper()
	select {
	case came := <-a.start(t, o):
		return came
	case <-a.ended:
		t.Fatalf("the client ended during %s %v: %s\n%s", o.Method, o.Params, a.output(), a.proc.Log())
	case <-time.After(90 * time.Second):
		t.Fatalf("nothing came of %s %v\n%s", o.Method, o.Params, a.proc.Log())
	}
	return outcome{}
}

// call calls a tool.
func (a *agent) call(t *testing.T, tool string, arguments map[string]any) outcome {
	t.Helper()
	return a.do(t, callOf(tool, arguments))
}

func callOf(tool string, arguments map[string]any) op {
	if arguments == nil {
		arguments = map[string]any{}
	}
	return op{Method: "tools/call", Params: map[string]any{"name": tool, "arguments": arguments}}
}

// hears waits for a notification.
func (a *agent) hears(t *testing.T, method string) map[string]any {
	t.Helper()
	var found map[string]any
	err := party.Poll(20*time.Second, func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		i := slices.IndexFunc(a.heard, func(n map[string]any) bool { return n["method"] == method })
		if i < 0 {
			return errors.New("not heard")
		}
		found = a.heard[i]
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v; heard %v", method, err, a.heard)
	}
	return found
}

// forget forgets what was heard and asked.
func (a *agent) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard, a.asked, a.trouble = nil, nil, nil
}

// late waits for progress that was reported before a call's end, and that the SDK came to after it: it complains then. Of a stream's
// events that come together, the SDKs take an answer at once, and notifications a moment later.
func (a *agent) late(t *testing.T, n int) (all []any) {
	t.Helper()
	_ = party.Poll(2*time.Second, func() error {
		all = nil
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, text := range a.trouble {
			var m struct{ Params map[string]any }
			_, message, found := strings.Cut(text, "unknown token: ")
			if found && json.Unmarshal([]byte(message), &m) == nil {
				delete(m.Params, "progressToken")
				all = append(all, m.Params)
			}
		}
		if len(all) < n {
			return errors.New("some are missing")
		}
		return nil
	})
	return all
}

// questions are what the server has asked but for one method, as normal as can be.
func (a *agent) questions(unless string) []any {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := []any{}
	for _, q := range a.asked {
		if q["method"] != unless {
			all = append(all, normal(q))
		}
	}
	slices.SortFunc(all, func(a, b any) int { return strings.Compare(jsonOf(a), jsonOf(b)) })
	return all
}

// output is what the client printed.
func (a *agent) output() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.said.String()
}

// close ends the session, and holds the client to ending well.
func (a *agent) close(t *testing.T) {
	t.Helper()
	a.stdin.Close()
	if err := a.proc.Wait(30 * time.Second); err != nil {
		t.Errorf("the client's end: %v\n%s", err, a.proc.Log())
	}
	<-a.ended
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
