package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"freshet.dev/freshet"
)

// front carries lines between an agent and a bridge, which is the daemon's or one of this process's own. It is what hundreds of agents
// on one machine have a process for, so it holds little: the ids of requests that are not answered, and the agent's initialize, which
// opens the next connection if one ends. A request that was handed over is never sent a second time: nobody knows whether it ran.
type front struct {
	in   io.Reader
	out  io.Writer
	log  *slog.Logger
	open func(ctx context.Context, own bool) (io.ReadWriteCloser, error) // own: if no daemon answers, be a bridge by itself

	writing sync.Mutex // of out
	broken  error      // of out; guarded by writing

	mu        sync.Mutex
	flights   map[string]flight          // key of an id → a request of the agent's
	asked     map[string]json.RawMessage // key → id, as the agent has it, of a request of the bridge's
	opening   json.RawMessage            // the agent's initialize, as a line; nil: none
	openingID string                     // its key
	opened    bool                       // the agent has said that it is initialized
	links     int                        // connections so far
	idle      chan struct{}              // closed when flights has come to none; nil: nobody waits for that

	most  bounds
	pause time.Duration // before the next attempt to connect
	quiet chan struct{} // closed when the agent has said its last; made by run
}

// bounds are those of lines, in bytes; 0 stands for the usual ones.
type bounds struct{ agent, bridge int }

func (b *bounds) fill() {
	b.agent, b.bridge = cmp.Or(b.agent, maxAgentLine), cmp.Or(b.bridge, maxBridgeLine)
}

// flight is a request without an answer yet.
type flight struct {
	id   json.RawMessage
	tool bool // it calls one
}

const (
	// maxFlights bounds the requests of an agent that are not answered, and those to it.
	maxFlights = 1000
	// lingering is how long answers are waited for once the agent has no more to say, as a shell's pipe has. Clients kill what has
	// not ended within two seconds.
	lingering = time.Second
)

// run goes on from a first connection until the agent closes its side, ctx ends, or nothing can be written any more; none of these is
// an error. It closes its connections. If the agent does not read what it is told, it returns all the same.
func (f *front) run(ctx context.Context, conn io.ReadWriteCloser) {
	f.flights, f.asked = make(map[string]flight), make(map[string]json.RawMessage)
	f.quiet = make(chan struct{})
	f.most.fill()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.pump(ctx, conn)
	}()
	select {
	case <-done:
		return
	case <-f.quiet:
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(lingering + closeTime):
	}
}

func (f *front) pump(ctx context.Context, conn io.ReadWriteCloser) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	lines := make(chan arrival)
	go f.listen(ctx, lines)
	var queue []arrival
	for l := f.link(conn); l != nil; {
		began := freshet.Now()
		rest, done := f.carry(ctx, l, lines, queue)
		l.close()
		if done {
			return
		}
		if f.pause = longer(f.pause); began.Elapsed() > latest {
			f.pause = 0
		}
		f.fail()
		l, queue = f.relink(ctx, lines, rest)
	}
}

// carry hands the agent's lines over, those that waited first, until the connection or everything ends. It returns those that were not
// handed over.
func (f *front) carry(ctx context.Context, l *link, lines <-chan arrival, queue []arrival) (rest []arrival, done bool) {
	stop := context.AfterFunc(ctx, func() { l.conn.Close() }) // a write may wait for a bridge that does not read
	defer stop()
	for len(queue) > 0 {
		if !f.hand(ctx, l, queue[0]) {
			return queue, ctx.Err() != nil
		}
		queue = queue[1:]
	}
	for {
		select {
		case a, more := <-lines:
			switch {
			case !more:
				f.linger(ctx, l)
				return nil, true
			case !f.hand(ctx, l, a):
				return []arrival{a}, ctx.Err() != nil
			}
		case <-l.ended:
			return nil, ctx.Err() != nil || f.mute() != nil
		case <-ctx.Done():
			return nil, true
		}
	}
}

// linger waits for answers after the agent's last word.
func (f *front) linger(ctx context.Context, l *link) {
	ctx, cancel := context.WithTimeout(ctx, lingering)
	defer cancel()
	idle := make(chan struct{})
	f.mu.Lock()
	if f.idle = idle; len(f.flights) == 0 {
		close(idle)
		f.idle = nil
	}
	f.mu.Unlock()
	select {
	case <-idle:
	case <-l.ended:
	case <-ctx.Done():
	}
}

func (f *front) waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.flights)
}

// hand gives a line to the bridge. It reports false if that has not got it, and is not going to.
func (f *front) hand(ctx context.Context, l *link, a arrival) bool {
	if a.refused != nil {
		f.tell(a.refused)
		return true
	}
	line, refusal := f.note(l, a)
	if refusal != nil {
		f.tell(refusal)
	}
	if line == nil {
		return true
	}
	n, err := l.conn.Write(line)
	if err == nil {
		return true
	}
	// What was answered before the end is still to be read.
	select {
	case <-l.ended:
	case <-time.After(lingering):
	case <-ctx.Done():
	}
	if n >= len(line)-1 { // all but its end, which a reader of JSON need not wait for
		return true
	}
	f.forget(a)
	return false
}

// forget takes back what was noted of a line that the bridge has not got.
func (f *front) forget(a arrival) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case a.method == "initialize":
		f.opening = nil
	case a.method == "notifications/initialized":
		f.opened = false
	}
	if a.method != "" && a.id != nil {
		delete(f.flights, a.key)
	}
}

// note remembers what is to be known of a line before it goes, and says what goes, if anything does, and what the agent is told instead.
func (f *front) note(l *link, a arrival) (line, refusal []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case a.method == "": // an answer
		if _, known := f.asked[a.key]; !known && l.n > 0 {
			f.log.Debug("an answer to a request of an earlier connection is left out")
			return nil, nil
		}
		delete(f.asked, a.key)
		return f.unname(l, a), nil
	case a.id == nil:
		switch a.method {
		case "notifications/initialized":
			f.opened = true
		case "notifications/cancelled":
			key, _ := cancelled(a.line)
			delete(f.flights, key) // it need not be answered
		}
		return a.line, nil
	case len(f.flights) >= maxFlights:
		why := fmt.Sprintf("%d requests are not answered yet, the most there may be; send it again later", maxFlights)
		return nil, errorLine(a.id, codeServer, why, faultOf("unavailable"))
	}
	if a.method == "initialize" {
		f.opening, f.openingID, f.opened = a.line, a.key, false
	}
	f.flights[a.key] = flight{id: a.id, tool: a.method == "tools/call"}
	return a.line, nil
}

// tell writes a line to the agent, whole.
func (f *front) tell(line []byte) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.broken == nil {
		_, f.broken = f.out.Write(line)
	}
	return f.broken
}

// mute is why nothing can be written to the agent any more, if so.
func (f *front) mute() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	return f.broken
}

// faultOf is the data of an error, as a bridge's errors have it.
func faultOf(kind string) any { return map[string]string{"kind": kind} }
