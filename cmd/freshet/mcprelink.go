package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"freshet.dev/freshet"
)

const (
	// maxWaiting bounds the bytes of an agent's lines that wait for a connection.
	maxWaiting = 2 * maxAgentLine
	// returning is how long a daemon that has ended may take to be back before a request of the agent's is served without it:
	// a service manager starts one within a second, and each front that serves by itself has sessions and connections of its own.
	returning = 10 * time.Second
	// soonest and latest bound how often it is looked for.
	soonest, latest = 20 * time.Millisecond, 2 * time.Second
	// replaying bounds the bridge's answer to the agent's initialize, which needs nobody else.
	replaying = 10 * time.Second
)

// errGone is the cause of an error of open's which says that there is no daemon at the moment.
var errGone = errors.New("no daemon")

// fail answers what a connection that has ended left without an answer, and takes back what it asked. An initialize is sent again
// instead: it is what every connection begins with.
func (f *front) fail() {
	f.mu.Lock()
	flights, asked := f.flights, f.asked
	f.flights, f.asked = make(map[string]flight), make(map[string]json.RawMessage)
	if first, waits := flights[f.openingID]; waits && f.opening != nil {
		delete(flights, f.openingID)
		f.flights[f.openingID] = first
	}
	typed := f.opening == nil
	f.mu.Unlock()
	f.log.Warn("the connection to the bridge has ended", "unanswered", len(flights))
	for _, id := range asked {
		f.tell(notificationLine("notifications/cancelled", map[string]any{"requestId": id, "reason": "the connection to the bridge has ended"}))
	}
	for _, r := range flights {
		if r.tool {
			f.tell(failedCall(r.id, "freshet: the daemon ended while this call was under way, and nobody knows whether it ran. Find out what came of it before you call again; a call that only reads can be repeated now.", typed))
			continue
		}
		f.tell(errorLine(r.id, codeServer, "the daemon ended while this was under way; send it again", faultOf("unavailable")))
	}
}

// refuse answers requests that cannot be handed over, and were not, with the reason.
func (f *front) refuse(queue []arrival, err error) {
	f.mu.Lock()
	typed := f.opening == nil
	if first, waits := f.flights[f.openingID]; waits && f.opening != nil {
		delete(f.flights, f.openingID)
		f.opening = nil
		queue = append(queue, arrival{message: message{id: first.id, method: "initialize"}})
	}
	f.mu.Unlock()
	e := freshet.AsError(err)
	text := e.Error()
	data := map[string]string{"kind": e.Kind.Error()}
	if e.Hint != "" {
		text += "; " + e.Hint
		data["hint"] = e.Hint
	}
	for _, a := range queue {
		switch {
		case a.refused != nil:
			f.tell(a.refused)
		case a.method == "" || a.id == nil:
		case a.method == "tools/call":
			f.tell(failedCall(a.id, "freshet: it was not called: "+line(text), typed))
		default:
			f.tell(errorLine(a.id, codeServer, line(text), data))
		}
	}
}

// relink makes the next connection, for as long as it takes, and keeps the agent's lines meanwhile: rest are those there are already.
// Without any it waits for the daemon; with one, only so long. It returns nil when everything ends.
func (f *front) relink(ctx context.Context, lines <-chan arrival, rest []arrival) (*link, []arrival) {
	lost, size := freshet.Now(), 0
	for _, a := range rest {
		size += len(a.line)
	}
	for ; ; f.pause = longer(f.pause) {
		if f.pause > 0 {
			var more bool
			if rest, size, more = f.rest(ctx, lines, rest, size, lost.Elapsed() >= returning); !more {
				return nil, nil
			}
		}
		own := (len(rest) > 0 || f.waiting() > 0) && lost.Elapsed() >= returning
		l, err := f.again(ctx, own)
		switch {
		case ctx.Err() != nil:
			if l != nil {
				l.close()
			}
			return nil, nil
		case err == nil:
			f.log.Info("connected again")
			return l, rest
		case own || !errors.Is(err, errGone):
			f.log.Warn("no connection", "err", err)
			f.refuse(rest, err)
			rest, size = nil, 0
		}
	}
}

func longer(pause time.Duration) time.Duration { return min(max(soonest, 2*pause), latest) }

// rest waits before the next attempt, and keeps the agent's lines meanwhile. A request that comes when the daemon has been gone for
// long has the attempt made at once. It reports false if everything has ended.
func (f *front) rest(ctx context.Context, lines <-chan arrival, rest []arrival, size int, long bool) ([]arrival, int, bool) {
	wait := time.NewTimer(f.pause/2 + rand.N(f.pause/2)) // fronts that lost one daemon do not come back at once
	defer wait.Stop()
	for {
		from := lines
		if size >= maxWaiting || len(rest) >= maxFlights {
			from = nil
		}
		select {
		case a, more := <-from:
			if !more {
				return nil, 0, false
			}
			if rest, size = append(rest, a), size+len(a.line); long && len(rest) == 1 {
				return rest, size, true
			}
		case <-wait.C:
			return rest, size, true
		case <-ctx.Done():
			return nil, 0, false
		}
	}
}

// again makes one connection, and begins on it as the agent had begun on the last.
func (f *front) again(ctx context.Context, own bool) (_ *link, err error) {
	conn, err := f.open(ctx, own)
	if err != nil {
		return nil, err
	}
	l := f.link(conn)
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	f.mu.Lock()
	opening, opened, skip := f.opening, f.opened, l.skip != ""
	f.mu.Unlock()
	if opening == nil {
		return l, nil
	}
	ctx, cancel := context.WithTimeout(ctx, replaying)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	silent := func() error {
		e := freshet.Errorf(freshet.Unavailable, "the daemon does not answer").WithHint("see its log, and start it again: freshet serve")
		e.Cause = errGone
		return e
	}
	if _, err := conn.Write(opening); err != nil {
		return nil, silent()
	}
	if !skip {
		return l, nil
	}
	select {
	case err := <-l.skipped:
		if err != nil {
			return nil, err
		}
	case <-l.ended:
		return nil, silent()
	}
	if opened {
		if _, err := conn.Write(notificationLine("notifications/initialized", nil)); err != nil {
			return nil, silent()
		}
	}
	return l, nil
}
