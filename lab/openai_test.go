package lab_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"freshet.dev/freshet/freshettest"
	"freshet.dev/lab"
)

// asks is a question to the API, of somebody who has a key; "" is none.
func (c *cloud) asks(path, key, body string) *http.Request {
	c.t.Helper()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	req := c.request(method, c.OpenAI+path, body)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	return req
}

// key is one that the API takes, for a life that may be negative.
func (c *cloud) key(life time.Duration) string {
	c.t.Helper()
	token, err := c.WorkloadToken(c.base, "agent", "lab", life)
	if err != nil {
		c.t.Fatal(err)
	}
	return token
}

// apiError is an error as OpenAI's clients read it.
type apiError struct {
	Error struct {
		Message, Type string
		Code          *string
	}
}

const question = `{"model":"lab-1","messages":[{"role":"user","content":"hello"}],"max_completion_tokens":3}`

func TestTheAPITakesTokensOfTheOAuthIssuer(t *testing.T) {
	c := start(t, nil)
	bought := c.do(c.wants(lab.OAuth)).doc["access_token"].(string)
	for _, path := range []string{"/chat/completions", "/responses"} {
		body := question
		if path == "/responses" {
			body = `{"model":"lab-1","input":"hello","max_output_tokens":3}`
		}
		a := c.do(c.asks(path, bought, body))
		if a.status != 200 || !strings.Contains(a.body, `"this is what "`) {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
		azure := c.asks(path, "", body)
		azure.Header.Set("api-key", bought)
		if a := c.do(azure); a.status != 200 {
			t.Errorf("%s with api-key: got %d %s", path, a.status, a.body)
		}
	}
	if a := c.do(c.asks("/models", bought, "")); a.status != 200 || !strings.Contains(a.body, `"id":"lab-1"`) {
		t.Errorf("models: got %d %s", a.status, a.body)
	}
	if got, want := c.Count(lab.OpenAI), (lab.Count{Requests: 5, Granted: 5, Peak: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTheAPIRefusesAsOpenAIDoes(t *testing.T) {
	c := start(t, nil)
	foreign, err := newCloud(t, lab.Config{}).WorkloadToken(c.base, "agent", "lab", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	azures := c.do(c.wants(lab.Entra)).doc["access_token"].(string)
	good := c.key(time.Hour)
	for _, test := range []struct {
		name, path, key, body string
		status                int
		code, challenge       string
	}{
		{"no key", "/chat/completions", "", question, 401, "", "Bearer"},
		{"a placeholder", "/chat/completions", "sk-placeholder", question, 401, "invalid_api_key", `Bearer error="invalid_token"`},
		{"another cloud's", "/chat/completions", foreign, question, 401, "invalid_api_key", `Bearer error="invalid_token"`},
		{"Entra's", "/chat/completions", azures, question, 401, "invalid_api_key", `Bearer error="invalid_token"`},
		{"expired", "/chat/completions", c.key(-time.Second), question, 401, "invalid_api_key", `Bearer error="invalid_token"`},
		{"expired, for models", "/models", c.key(-time.Second), "", 401, "invalid_api_key", `Bearer error="invalid_token"`},
		{"no JSON", "/chat/completions", good, "{", 400, "", ""},
		{"no model", "/chat/completions", good, `{"messages":[{}]}`, 400, "", ""},
		{"another model", "/chat/completions", good, `{"model":"gpt-5","messages":[{}]}`, 404, "model_not_found", ""},
		{"no messages", "/chat/completions", good, `{"model":"lab-1"}`, 400, "missing_required_parameter", ""},
		{"no input", "/responses", good, `{"model":"lab-1"}`, 400, "missing_required_parameter", ""},
	} {
		before := c.Count(lab.OpenAI)
		a := c.do(c.asks(test.path, test.key, test.body))
		var got apiError
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatalf("%s: %s", test.name, a.body)
		}
		code := ""
		if got.Error.Code != nil {
			code = *got.Error.Code
		}
		if a.status != test.status || code != test.code || got.Error.Message == "" || got.Error.Type != "invalid_request_error" || a.header.Get("WWW-Authenticate") != test.challenge {
			t.Errorf("%s: got %d %v %s", test.name, a.status, a.header, a.body)
		}
		before.Requests++
		before.Refused++
		before.Peak = 1
		if now := c.Count(lab.OpenAI); now != before {
			t.Errorf("%s: got %+v, want %+v", test.name, now, before)
		}
		if test.key != "" {
			freshettest.LeakedSecrets(t, a.body, test.key)
		}
	}
}

// stream are the events of an answer, each as it came.
type stream struct {
	resp *http.Response
	in   *bufio.Reader
}

func (c *cloud) stream(ctx context.Context, req *http.Request) *stream {
	c.t.Helper()
	resp, err := http.DefaultClient.Do(req.WithContext(ctx))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		c.t.Fatalf("got %d %v", resp.StatusCode, resp.Header)
	}
	return &stream{resp, bufio.NewReader(resp.Body)}
}

// next is the next event's data, and its name if it has one.
func (s *stream) next() (name, data string, err error) {
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		switch field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); field {
		case "event":
			name = value
		case "data":
			data = value
		case "":
			return name, data, nil
		}
	}
}

// TestAStreamIsSentEventByEvent reads an event while the next one is not due for a minute.
func TestAStreamIsSentEventByEvent(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.OpenAI: {Pause: time.Minute}})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	s := c.stream(ctx, c.asks("/chat/completions", c.key(time.Hour), strings.Replace(question, "{", `{"stream":true,`, 1)))
	_, data, err := s.next()
	if err != nil || !strings.Contains(data, `"delta":{"content":"this ","role":"assistant"}`) {
		t.Fatalf("got %s, %v", data, err)
	}
	if got, want := c.Count(lab.OpenAI), (lab.Count{Requests: 1, Peak: 1}); got != want {
		t.Errorf("under way: got %+v, want %+v", got, want)
	}
	// Who leaves in the middle is counted.
	leave()
	await(t, "it is left", func() bool { return c.Count(lab.OpenAI).Left == 1 })
	if got, want := c.Count(lab.OpenAI), (lab.Count{Requests: 1, Peak: 1, Left: 1}); got != want {
		t.Errorf("left: got %+v, want %+v", got, want)
	}
}

func TestAStreamIsWhole(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.OpenAI: {Events: 5, Pause: 10 * time.Millisecond}})
	began := time.Now()
	s := c.stream(t.Context(), c.asks("/chat/completions", c.key(time.Hour), `{"model":"lab-1","messages":[{}],"stream":true,"stream_options":{"include_usage":true}}`))
	var said string
	var reasons []string
	var used int
	for {
		_, data, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		if data == "[DONE]" {
			break
		}
		var chunk struct {
			Object  string
			Choices []struct {
				Delta        struct{ Content string }
				FinishReason *string `json:"finish_reason"`
			}
			Usage *struct {
				CompletionTokens int `json:"completion_tokens"`
			}
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil || chunk.Object != "chat.completion.chunk" {
			t.Fatalf("got %s, %v", data, err)
		}
		for _, choice := range chunk.Choices {
			said += choice.Delta.Content
			if choice.FinishReason != nil {
				reasons = append(reasons, *choice.FinishReason)
			}
		}
		if chunk.Usage != nil {
			used = chunk.Usage.CompletionTokens
		}
	}
	if _, err := s.in.ReadByte(); err != io.EOF {
		t.Errorf("after [DONE]: got %v", err)
	}
	if said != "this is what a lab " || !slices.Equal(reasons, []string{"stop"}) || used != 5 {
		t.Errorf("got %q, %v, %d tokens", said, reasons, used)
	}
	if took := time.Since(began); took < 6*10*time.Millisecond {
		t.Errorf("7 events took %v, want the pauses between them", took)
	}
	if got, want := c.Count(lab.OpenAI), (lab.Count{Requests: 1, Granted: 1, Peak: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAResponseIsStreamedByItsEventsNames(t *testing.T) {
	c := start(t, nil)
	s := c.stream(t.Context(), c.asks("/responses", c.key(time.Hour), `{"model":"lab-1","input":"hello","max_output_tokens":2,"stream":true}`))
	var names []string
	for n := 0; ; n++ {
		name, data, err := s.next()
		if err == io.EOF {
			break
		}
		var event struct {
			Type           string
			SequenceNumber int `json:"sequence_number"`
		}
		if err != nil || json.Unmarshal([]byte(data), &event) != nil || event.Type != name || event.SequenceNumber != n {
			t.Fatalf("got %s, %s, %v", name, data, err)
		}
		names = append(names, name)
	}
	want := []string{"response.created", "response.output_text.delta", "response.output_text.delta", "response.output_text.done", "response.completed"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

// TestAStreamEndsWithTheServer has no client take a stream that was cut for a whole one.
func TestAStreamEndsWithTheServer(t *testing.T) {
	c := newCloud(t, lab.Config{Issuers: map[string]lab.Settings{lab.OpenAI: {Pause: time.Minute}}})
	l := listener(t)
	c.at("http://" + l.Addr().String())
	ctx, end := context.WithCancel(t.Context())
	defer end()
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx, l) }()
	s := c.stream(t.Context(), c.asks("/chat/completions", c.key(time.Hour), strings.Replace(question, "{", `{"stream":true,`, 1)))
	if _, _, err := s.next(); err != nil {
		t.Fatal(err)
	}
	end()
	if _, _, err := s.next(); err == nil || err == io.EOF {
		t.Errorf("got %v, want that it was cut", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestAStreamMayBreakOff(t *testing.T) {
	body := strings.Replace(question, "{", `{"stream":true,`, 1)
	for _, test := range []struct {
		fault lab.Fault
		want  error
	}{
		{lab.Fault{Kind: lab.Outage, How: "reset"}, syscall.ECONNRESET},
		{lab.Fault{Kind: lab.Malformed, How: "short"}, io.ErrUnexpectedEOF},
		{lab.Fault{Kind: lab.Malformed, How: "truncated"}, nil},
	} {
		c := start(t, nil)
		c.inject(lab.OpenAI, test.fault)
		a := c.try(c.asks("/chat/completions", c.key(time.Hour), body))
		if !errors.Is(a.err, test.want) || strings.Contains(a.body, "[DONE]") {
			t.Errorf("%s: got %d %q, %v", test.fault, a.status, a.body, a.err)
		}
		if n := c.Count(lab.OpenAI); n.Requests != 1 || n.Faults.Total() != 1 || n.Granted+n.Left != 0 {
			t.Errorf("%s: got %+v", test.fault, n)
		}
	}
	// One that is slow is a stream still.
	c := start(t, map[string]lab.Settings{lab.OpenAI: {Pause: time.Minute}})
	c.inject(lab.OpenAI, lab.Fault{Kind: lab.Slow, By: time.Millisecond})
	if _, data, err := c.stream(t.Context(), c.asks("/chat/completions", c.key(time.Hour), body)).next(); err != nil || data == "" {
		t.Errorf("slow: got %q, %v", data, err)
	}
}

// TestAClockAheadRefusesTokensThatAreAlive lets an upstream refuse what its client takes for good.
func TestAClockAheadRefusesTokensThatAreAlive(t *testing.T) {
	c := start(t, nil)
	c.inject(lab.OpenAI, lab.Fault{Kind: lab.Skew, By: 2 * time.Hour})
	if a := c.do(c.wants(lab.OpenAI)); a.status != 401 || a.header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
		t.Errorf("got %d %v", a.status, a.header)
	}
}

func TestTokensAreSeenByHash(t *testing.T) {
	c := start(t, nil)
	good, bad := c.key(time.Hour), "sk-placeholder-of-somebody"
	for _, key := range []string{good, good, bad, ""} {
		c.do(c.asks("/models", key, ""))
	}
	name := func(token string) string {
		sum := sha256.Sum256([]byte(token))
		return hex.EncodeToString(sum[:16])
	}
	if got, want := c.Tokens(lab.OpenAI), map[string]int64{name(good): 2, name(bad): 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	var all map[string]lab.IssuerStatus
	a := c.admin("GET", "/issuers", c.AdminToken, "")
	if err := json.Unmarshal([]byte(a.body), &all); err != nil || all[lab.OpenAI].Tokens[name(good)] != 2 {
		t.Errorf("admin: got %s, %v", a.body, err)
	}
	freshettest.LeakedSecrets(t, a.body, good, bad)
	c.Reset()
	if got := c.Tokens(lab.OpenAI); len(got) > 0 {
		t.Errorf("after a reset: got %v", got)
	}
	// However many there are, no more than so many are kept.
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 300 {
				c.do(c.asks("/models", strings.Repeat("x", n+1)+"-"+hex.EncodeToString([]byte{byte(i >> 8), byte(i)}), ""))
			}
		})
	}
	wg.Wait()
	if got := len(c.Tokens(lab.OpenAI)); got != 1024 {
		t.Errorf("got %d, want 1024", got)
	}
}
