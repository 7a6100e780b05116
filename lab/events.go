package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"
)

// events are server-sent ones (https://html.spec.whatwg.org/multipage/server-sent-events.html).
type events struct {
	body  []byte
	ends  []int // of each event, in body
	pause time.Duration
}

// add adds an event; most have no name.
func (e *events) add(name string, v any) {
	if name != "" {
		e.body = append(e.body, "event: "+name+"\n"...)
	}
	data, _ := json.Marshal(v) // maps of text and numbers
	e.body = append(append(append(e.body, "data: "...), data...), "\n\n"...)
	e.ends = append(e.ends, len(e.body))
}

// reply is the answer that they are. It has them whole too, for a fault that spoils it.
func (e *events) reply() reply {
	e.ends[len(e.ends)-1] = len(e.body)
	return reply{status: http.StatusOK, contentType: "text/event-stream; charset=utf-8", body: e.body, events: e}
}

// play sends events, each when it is due, and counts before the last whether the client has stayed for it.
func (a reply) play(ctx context.Context, w http.ResponseWriter, v *visit) {
	defer v.leave()
	a.writeHeader(w)
	control := http.NewResponseController(w)
	// A stream may take longer than an issuer's answer does.
	_ = control.SetWriteDeadline(time.Time{})
	from := 0
	for n, end := range a.events.ends {
		if n > 0 && !wait(ctx, a.events.pause) {
			v.count(left)
			v.leave()
			sever(w) // or it would end as though it were whole
			return
		}
		if end == len(a.body) {
			v.count(granted)
			v.leave()
		}
		_, err := w.Write(a.body[from:end])
		if err != nil || control.Flush() != nil {
			v.count(left)
			return
		}
		from = end
	}
}

// maxTokens is how many tokens are told apart: a stream of new ones shall not fill the memory.
const maxTokens = 1024

// see takes down that a token was presented, under the first half of its SHA-256.
func (i *issuer) see(token string) {
	sum := sha256.Sum256([]byte(token))
	name := hex.EncodeToString(sum[:16])
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.tokens == nil {
		i.tokens = make(map[string]int64)
	}
	if _, known := i.tokens[name]; known || len(i.tokens) < maxTokens {
		i.tokens[name]++
	}
}
