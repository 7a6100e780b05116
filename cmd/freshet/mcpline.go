package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
)

// The lines between an agent and a bridge are JSON-RPC 2.0, one message each, as the stdio transport of the Model Context Protocol
// has it. The front looks at three keys of each, "jsonrpc", "id" and "method", and at nothing below them.

const (
	// maxAgentLine is the longest line that the SDK behind the daemon's door reads, which counts what lies between two of them too.
	maxAgentLine = 16<<20 - 1<<10
	// maxBridgeLine bounds an answer: nothing in front of the daemon would, and it is held until it is known to be whole.
	maxBridgeLine = 64 << 20
	// maxDepth is how deep the SDK lets a message nest.
	maxDepth = 1000
	// maxScalar bounds what is kept of an id or a method's name.
	maxScalar = 1 << 10
	// maxWhole is the largest number that the SDK gives back as it was: it reads ids into a float64.
	maxWhole = 1 << 53
)

// Codes of JSON-RPC 2.0, section 5.1, and the first of those left to servers.
const (
	codeParse   = -32700
	codeRequest = -32600
	codeServer  = -32000
)

// scanner reads the top level of a JSON text that comes in pieces. Of a text that is not valid it tells nothing of use.
type scanner struct {
	at, depth, deepest int
	place              place
	array              bool // the text is a list
	inString, escaped  bool
	key, value         []byte
	start              int // of the value
	id                 []byte
	idStart            int
	method, version    []byte
	answers            bool // there is a result or an error
}

// place is where in the object a scanner is.
type place int

const (
	outside place = iota
	beforeKey
	inKey
	afterKey
	beforeValue
	inValue
)

func (s *scanner) feed(text []byte) {
	for _, b := range text {
		s.step(b)
		s.at++
	}
}

func (s *scanner) step(b byte) {
	if s.inString {
		switch {
		case s.escaped:
			s.escaped = false
		case b == '\\':
			s.escaped = true
		case b == '"':
			s.inString = false
			if s.place == inKey {
				s.place = afterKey
				return
			}
		}
		s.keep(b)
		return
	}
	top := s.depth == 1
	switch b {
	case ' ', '\t', '\r', '\n':
		return
	case ':':
		if top && s.place == afterKey {
			s.place = beforeValue
			return
		}
	case ',':
		if top && s.place == inValue {
			s.finish()
			s.place = beforeKey
			return
		}
	case '}', ']':
		if s.depth--; s.depth == 0 {
			s.finish()
			s.place = outside
			return
		}
	case '"':
		s.inString = true
		if top && s.place == beforeKey {
			s.place, s.key = inKey, s.key[:0]
			return
		}
	}
	if top && s.place == beforeValue {
		s.place, s.value, s.start = inValue, s.value[:0], s.at
	}
	if b == '{' || b == '[' {
		s.depth++
		s.deepest = max(s.deepest, s.depth)
		if s.depth == 1 {
			s.place, s.array = beforeKey, b == '['
			if s.array {
				s.place = outside
			}
			return
		}
	}
	s.keep(b)
}

// keep notes a byte of a key or a value, as far as it can matter.
func (s *scanner) keep(b byte) {
	switch {
	case s.place == inKey && len(s.key) < maxScalar:
		s.key = append(s.key, b)
	case s.place == inValue && len(s.value) <= maxScalar:
		s.value = append(s.value, b)
	}
}

// finish takes a value by its key. Of a key that comes twice the last counts, as for the SDK.
func (s *scanner) finish() {
	if s.place != inValue {
		return
	}
	key := string(s.key)
	if bytes.IndexByte(s.key, '\\') >= 0 {
		_ = json.Unmarshal([]byte(`"`+key+`"`), &key)
	}
	switch key {
	case "id":
		s.id, s.idStart = bytes.Clone(s.value), s.start
	case "method":
		s.method = bytes.Clone(s.value)
	case "jsonrpc":
		s.version = bytes.Clone(s.value)
	case "result", "error":
		s.answers = true
	}
}

// message is what a line says of itself.
type message struct {
	id      json.RawMessage // as it was written; nil: none
	idStart int             // where in the line
	key     string          // the id as it is compared: 1 and 1.0 are one; "" without an id
	method  string          // "" of an answer
}

// message reads what was scanned. Its error is what is wrong with it, for whoever sent it.
func (s *scanner) message() (m message, err error) {
	m.id, m.idStart = s.id, s.idStart
	if bytes.Equal(m.id, []byte("null")) {
		m.id = nil
	}
	if m.id != nil {
		if m.key, err = keyOf(m.id); err != nil {
			m.id = nil
			return m, err
		}
	}
	version := ""
	switch {
	case s.array, s.depth != 0, s.place != outside, s.deepest == 0:
		return m, errors.New("not a JSON object")
	case s.deepest > maxDepth:
		return m, errors.New("nested over " + strconv.Itoa(maxDepth) + " levels deep")
	case json.Unmarshal(s.version, &version) != nil || version != "2.0":
		return m, errors.New(`"jsonrpc" is not "2.0"`)
	case s.method != nil && json.Unmarshal(s.method, &m.method) != nil, s.method != nil && m.method == "":
		return m, errors.New("its method is not a name")
	case s.method == nil && !s.answers:
		return m, errors.New("neither a method nor an answer")
	case s.method == nil && m.id == nil:
		return m, errors.New("an answer without an id")
	}
	return m, nil
}

// keyOf is an id as it is compared. An id that would not come back as it was is none.
func keyOf(id json.RawMessage) (string, error) {
	text := ""
	switch number, err := strconv.ParseFloat(string(id), 64); {
	case len(id) > maxScalar:
		return "", errors.New("its id is too long")
	case json.Unmarshal(id, &text) == nil:
		return "s" + text, nil
	case err == nil && number == math.Trunc(number) && math.Abs(number) <= maxWhole:
		return "n" + strconv.FormatInt(int64(number), 10), nil
	}
	return "", errors.New("its id is neither a string nor a whole number")
}

// readMessage scans a whole line.
func readMessage(line []byte) (message, error) {
	var s scanner
	s.feed(line)
	return s.message()
}

// cancelled is the key of the request that a notification takes back; "" if it does not say.
func cancelled(line []byte) (key string, id json.RawMessage) {
	var n struct {
		Params struct {
			RequestID json.RawMessage `json:"requestId"`
		} `json:"params"`
	}
	if json.Unmarshal(line, &n) != nil || n.Params.RequestID == nil {
		return "", nil
	}
	key, err := keyOf(n.Params.RequestID)
	if err != nil {
		return "", nil
	}
	return key, n.Params.RequestID
}

// errorLine is an answer to a request that went wrong. data may be nil.
func errorLine(id json.RawMessage, code int, text string, data any) []byte {
	type fault struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}
	return asLine(struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   fault           `json:"error"`
	}{"2.0", id, fault{code, text, data}})
}

// failedCall is the answer to a tool's call that went wrong: a result, so that the model reads it. Since 2026-07-28 results have a type.
func failedCall(id json.RawMessage, text string, typed bool) []byte {
	type content struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	type result struct {
		Type    string    `json:"resultType,omitempty"`
		Content []content `json:"content"`
		IsError bool      `json:"isError"`
	}
	r := result{Content: []content{{"text", text}}, IsError: true}
	if typed {
		r.Type = "complete"
	}
	return asLine(struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Result  result          `json:"result"`
	}{"2.0", id, r})
}

// notificationLine tells something; params may be nil.
func notificationLine(method string, params any) []byte {
	return asLine(struct {
		Version string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  any    `json:"params,omitempty"`
	}{"2.0", method, params})
}

// asLine encodes one of the above, none of which can fail to.
func asLine(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return b.Bytes()
}

// lineReader reads lines, of which it holds one at a time.
type lineReader struct {
	r    *bufio.Reader
	most int // bytes of a line, without its end
}

// next returns a line without its end, or, of one that is too long, no more than what it says of itself. What comes before the end of
// everything is a line too. The line is the caller's.
func (l *lineReader) next() (line []byte, long *scanner, err error) {
	for {
		part, err := l.r.ReadSlice('\n')
		end := err != nil && !errors.Is(err, bufio.ErrBufferFull)
		if end && len(part) == 0 && len(line) == 0 && long == nil {
			return nil, nil, err
		}
		whole := err == nil || end
		part = bytes.TrimSuffix(part, []byte{'\n'})
		if long == nil && len(line)+len(part) > l.most {
			long = new(scanner)
			long.feed(line)
			line = nil
		}
		if long != nil {
			long.feed(part)
		} else {
			line = append(line, part...)
		}
		if whole {
			return line, long, nil
		}
	}
}

// newLineReader reads through a small buffer: most lines are short, and hundreds of fronts wait for one.
func newLineReader(r io.Reader, most int) *lineReader {
	return &lineReader{bufio.NewReaderSize(r, 4<<10), most}
}

// volume is a bound in words: whole MiB, or bytes of a smaller one.
func volume(n int) string {
	if n < 1<<20 {
		return strconv.Itoa(n) + " bytes"
	}
	return strconv.Itoa((n+1<<20-1)>>20) + " MiB"
}
