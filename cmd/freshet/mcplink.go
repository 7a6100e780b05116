package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"

	"freshet.dev/freshet"
)

// link is one connection to a bridge.
type link struct {
	conn io.ReadWriteCloser
	n    int // counts them
	// skip is the key of a request whose answer is not for the agent: its initialize, sent again. skipped gets that answer's error.
	skip    string
	skipped chan error
	ended   chan struct{} // closed when there is no more to read
}

func (l *link) close() {
	l.conn.Close()
	<-l.ended
}

// link begins to read a connection.
func (f *front) link(conn io.ReadWriteCloser) *link {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &link{conn: conn, n: f.links, ended: make(chan struct{}), skipped: make(chan error, 1)}
	if _, waits := f.flights[f.openingID]; f.opening != nil && !waits {
		l.skip = f.openingID
	}
	f.links++
	go f.answers(l)
	return l
}

// answers reads what a bridge says, until it says no more.
func (f *front) answers(l *link) {
	defer close(l.ended)
	r := newLineReader(l.conn, f.most.bridge)
	for {
		line, long, err := r.next()
		if err != nil {
			return
		}
		if long != nil {
			m, _ := long.message()
			if m.id == nil || m.method != "" {
				f.log.Warn("a message of the bridge's is left out: it is too long", "bytes", long.at)
				continue
			}
			line = bytes.TrimSpace(errorLine(m.id, codeServer, "an answer of over "+volume(f.most.bridge), faultOf("malformed")))
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if !json.Valid(line) {
			return // it broke off in the middle of it
		}
		if m, err := readMessage(line); err == nil {
			line = f.heard(l, m, line)
		}
		if line == nil {
			continue
		}
		if f.tell(append(line, '\n')) != nil {
			return
		}
	}
}

// heard remembers what is to be known of a bridge's line before it goes to the agent, and returns it as the agent is to read it: nil
// is nothing.
func (f *front) heard(l *link, m message, line []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case m.method == "" && l.skip != "" && m.key == l.skip:
		l.skip = ""
		var answer struct {
			Error *struct{ Message string } `json:"error"`
		}
		_ = json.Unmarshal(line, &answer)
		if answer.Error != nil {
			l.skipped <- freshet.Errorf(freshet.Unavailable, "the bridge does not take the agent's initialize again: %s", answer.Error.Message)
		} else {
			l.skipped <- nil
		}
		return nil
	case m.method == "":
		delete(f.flights, m.key)
		if len(f.flights) == 0 && f.idle != nil {
			close(f.idle)
			f.idle = nil
		}
	case m.id != nil:
		id := f.name(l, m.id)
		if key, err := keyOf(id); err == nil && len(f.asked) < maxFlights {
			f.asked[key] = id
		}
		return replace(line, m.idStart, len(m.id), id)
	case m.method == "notifications/cancelled":
		_, id := cancelled(line)
		if id == nil {
			break
		}
		id = f.name(l, id)
		if key, err := keyOf(id); err == nil {
			delete(f.asked, key) // it need not be answered
		}
		if l.n > 0 {
			return bytes.TrimSpace(notificationLine(m.method, map[string]any{"requestId": id}))
		}
	}
	return line
}

// The bridge's own requests, elicitation and sampling, are numbered from 1 on each connection. After the first one their ids are made
// others, so that an agent's answer to a question of before, a yes perhaps, is never taken for one to another question.
const linkPrefix = "freshet:"

// name is the id by which the agent knows a request of the bridge's.
func (f *front) name(l *link, id json.RawMessage) json.RawMessage {
	if l.n == 0 {
		return bytes.Clone(id)
	}
	b, _ := json.Marshal(linkPrefix + strconv.Itoa(l.n) + ":" + string(id))
	return b
}

// unname is an answer of the agent's as the bridge is to read it.
func (f *front) unname(l *link, a arrival) []byte {
	text := ""
	if l.n == 0 || json.Unmarshal(a.id, &text) != nil {
		return a.line
	}
	id, ok := strings.CutPrefix(text, linkPrefix+strconv.Itoa(l.n)+":")
	if !ok {
		return a.line
	}
	return replace(a.line, a.idStart, len(a.id), []byte(id))
}

// replace puts b in the place of n bytes of a line.
func replace(line []byte, at, n int, b []byte) []byte {
	return append(append(append(make([]byte, 0, len(line)+len(b)), line[:at]...), b...), line[at+n:]...)
}
