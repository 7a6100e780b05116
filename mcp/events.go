package mcp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"freshet.dev/freshet"
)

// metaCall is the key, in the _meta of what an upstream asks or logs on the stream of a call, that says which call that was. The SDK
// hands such messages over without their stream. It is taken away before anybody else reads them.
const metaCall = "freshet.dev/call"

// callKey is where a request's context has the mark of the call that it is for.
type callKey struct{}

// events is a stream that answers a POST, one whole event after another. One that breaks off is left out, as what follows would be
// read as its rest; and one that is no message ends the stream with an error of this call alone, where the SDK would give up the
// session with all that is going on in it.
type events struct {
	body   io.Closer
	in     *bufio.Reader
	round  *round
	budget *budget
	try    *attempt        // that it answers; nil: nobody wants to know
	call   json.RawMessage // id of the request that it answers; nil: not known
	mark   string          // of the call
	ctx    context.Context // of the request
	out    []byte          // read, and not handed over yet
	err    error           // after that
}

func (r *round) events(req *http.Request, body io.ReadCloser, call json.RawMessage) *events {
	mark, _ := req.Context().Value(callKey{}).(string)
	return &events{body: body, in: bufio.NewReader(body), round: r, budget: budgetOf(req), try: attemptOf(req.Context()), call: call, mark: mark, ctx: req.Context()}
}

// Close implements [io.Closer].
func (e *events) Close() error { return e.body.Close() }

// Read implements [io.Reader].
func (e *events) Read(p []byte) (int, error) {
	for len(e.out) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		e.next()
	}
	n := copy(p, e.out)
	e.out = e.out[n:]
	return n, nil
}

// next reads an event. What panics here would end the program: it is the SDK that reads.
func (e *events) next() {
	defer func() {
		if p := recover(); p != nil {
			e.fail(e.round.panicked("a message of "+e.round.name, p))
		}
	}()
	raw, data, message, err := readEvent(e.in)
	switch {
	case err == errLongEvent:
		e.fail(e.round.malformed("an event over 16 MiB"))
	case err != nil:
		e.err = err
	case !e.budget.take(len(raw)):
		e.fail(e.round.malformed("answers without an end"))
	case len(data) == 0 || !message:
		e.out = raw
	default:
		e.pass(raw, data)
	}
}

// pass hands a message over, if it is one.
func (e *events) pass(raw, data []byte) {
	m, err := jsonrpc.DecodeMessage(data)
	if err != nil {
		e.fail(e.round.malformed("what it answered is no message of JSON-RPC"))
		return
	}
	e.out = raw
	switch m := m.(type) {
	case *jsonrpc.Response:
		if id, err := json.Marshal(m.ID.Raw()); e.call != nil && (err != nil || !bytes.Equal(id, e.call)) {
			e.out = nil // it answers what nobody asked here
			return
		}
		e.try.keep(data)
		heard(e.ctx, true)
		mended, ok := mend(m)
		switch {
		case !ok:
			e.fail(e.round.malformed(noQuestion))
		case mended != nil:
			e.out = swap(raw, mended)
		}
	case *jsonrpc.Request:
		if !m.IsCall() {
			e.round.arrived.Add(1)
		}
		if marked := marked(m, e.mark); marked != nil {
			e.out = swap(raw, marked)
		}
	}
}

// fail ends the stream with an error of its call, which is told as an error of JSON-RPC: it is all that ends one call for the SDK.
func (e *events) fail(err *freshet.Error) {
	e.err = io.EOF
	if e.call == nil {
		return
	}
	if e.try != nil {
		e.try.broken.Store(err)
	}
	text, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": e.call, "error": &jsonrpc.Error{Code: codeFailed, Message: err.Error()}})
	e.out = swap(nil, text)
}

// marked is a message of an upstream's with the mark of the call on whose stream it came, if there is one, where marks are looked at;
// and with none of the upstream's own. A question for the roots has params then, which the SDK wants. nil: it may stay as it is.
func marked(m *jsonrpc.Request, mark string) []byte {
	if !m.IsCall() && m.Method != "notifications/message" {
		mark = ""
	}
	var params, meta map[string]json.RawMessage
	if json.Unmarshal(m.Params, &params) != nil && len(m.Params) > 0 {
		return nil // the SDK says what is wrong with it
	}
	if params == nil {
		if mark == "" || m.Method != "roots/list" {
			return nil
		}
		params = map[string]json.RawMessage{}
	}
	_, there := params["_meta"]
	if there && json.Unmarshal(params["_meta"], &meta) != nil || !there && mark == "" {
		return nil
	}
	if meta == nil {
		meta = map[string]json.RawMessage{}
	}
	delete(meta, metaCall)
	if mark != "" {
		meta[metaCall], _ = json.Marshal(mark)
	}
	params["_meta"], _ = json.Marshal(meta)
	out := *m
	out.Params, _ = json.Marshal(params)
	text, _ := jsonrpc.EncodeMessage(&out)
	return text
}

const noQuestion = "what it asks for is no question of MCP"

// mend is an answer that wants input, with params for each of its questions: they are optional where a method needs none, and the
// SDK reads none without. nil if it is as it should be; ok is false if one of its questions is none, over which the SDK panics.
func mend(answer *jsonrpc.Response) (mended []byte, ok bool) {
	if answer.Error != nil || !bytes.Contains(answer.Result, []byte("inputRequests")) && !bytes.Contains(answer.Result, []byte(`\u`)) {
		return nil, true // a name has no other escapes that are letters
	}
	result, ok := members(answer.Result)
	wanted := result["inputRequests"]
	if !ok || wanted == nil || string(wanted) == "null" {
		return nil, ok
	}
	var asked map[string]map[string]json.RawMessage
	if json.Unmarshal(wanted, &asked) != nil {
		return nil, false
	}
	missing := false
	for _, q := range asked {
		if q == nil {
			return nil, false
		}
		if len(q["params"]) == 0 {
			q["params"], missing = json.RawMessage("{}"), true
		}
	}
	if !missing {
		return nil, true
	}
	out := *answer
	result["inputRequests"], _ = json.Marshal(asked)
	out.Result, _ = json.Marshal(result)
	mended, err := jsonrpc.EncodeMessage(&out)
	return mended, err == nil
}

// members are those of an object, none if it is another thing. ok is false where questions are there twice: the SDK reads both.
func members(text []byte) (all map[string]json.RawMessage, ok bool) {
	in := json.NewDecoder(bytes.NewReader(text))
	if t, err := in.Token(); err != nil || t != json.Delim('{') {
		return nil, true // the SDK says that it is no result
	}
	all = map[string]json.RawMessage{}
	for in.More() {
		t, err := in.Token()
		name, _ := t.(string)
		var value json.RawMessage
		if err != nil || in.Decode(&value) != nil || name == "inputRequests" && all[name] != nil {
			return nil, false
		}
		all[name] = value
	}
	return all, true
}

// swap is an event with other data, in one line.
func swap(raw, data []byte) []byte {
	var out []byte
	for line := range bytes.Lines(raw) {
		if field, _, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":")); len(field) > 0 && string(field) != "data" {
			out = append(out, line...)
		}
	}
	return append(append(append(out, "data: "...), data...), "\n\n"...)
}

type eventError string

func (e eventError) Error() string { return string(e) }

const errLongEvent = eventError("an event that is too long")

// readEvent reads an event to the empty line that ends it: as it came, and its data. message tells that it is of the kind that MCP's
// messages are. An error is the stream's; what came before it is no whole event.
func readEvent(in *bufio.Reader) (raw, data []byte, message bool, err error) {
	message = true
	for start := 0; ; {
		part, err := in.ReadSlice('\n')
		if raw = append(raw, part...); len(raw) > maxMessage {
			return nil, nil, false, errLongEvent
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return nil, nil, false, err
		}
		line := bytes.TrimRight(raw[start:], "\r\n")
		start = len(raw)
		if len(line) == 0 {
			return raw, data, message, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "data":
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
		case "event":
			message = len(value) == 0 || string(value) == "message"
		}
	}
}
