package mcp

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
)

const (
	parkLife   = 5 * time.Minute // how long a call waits for its agent to come back
	maxParked  = 256
	maxParkedA = 16 // of one caller
)

// parking holds calls that wait for their agents to answer a question.
type parking struct {
	mu   sync.Mutex
	held map[string]*parked
}

// parked is a call that goes on at its upstream, whatever becomes of the request that began it.
type parked struct {
	agent  *agent
	digest []byte
	who    *asker
	cancel context.CancelFunc
	done   chan struct{}
	result *sdk.CallToolResult
	err    error
	open   map[string]*question // asked, and not answered
	timer  *time.Timer
}

// parkable runs a call of an agent of the stateless era so that its upstream may ask meanwhile.
func (a *agent) parkable(ctx context.Context, c *call, who *asker, run func(context.Context) (*sdk.CallToolResult, error)) (*sdk.CallToolResult, error) {
	who.asks = make(chan *question)
	on, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &parked{agent: a, digest: c.digest, who: who, cancel: cancel, done: make(chan struct{}), open: map[string]*question{}}
	if !a.background(func() {
		defer close(p.done)
		defer cancel()
		p.result, p.err = run(on)
	}) {
		cancel()
		return nil, errClosed
	}
	return a.attend(ctx, p)
}

// attend waits for a call, for as long as its agent does.
func (a *agent) attend(ctx context.Context, p *parked) (*sdk.CallToolResult, error) {
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
		p.cancel()
		<-p.done // the upstream is told
		return nil, &freshet.Error{Kind: freshet.Unavailable, Why: "cancelled", Cause: context.Canceled}
	case q := <-p.who.asks:
		p.open[q.id] = q
		return a.bridge.parked.park(p)
	}
}

// park leaves a call to itself until its agent is back with an answer.
func (l *parking) park(p *parked) (*sdk.CallToolResult, error) {
	id := rand.Text()
	l.mu.Lock()
	same := 0
	for _, other := range l.held {
		if other.agent.caller == p.agent.caller {
			same++
		}
	}
	if len(l.held) >= maxParked || same >= maxParkedA {
		l.mu.Unlock()
		p.cancel()
		return nil, &freshet.Error{Kind: freshet.Unavailable, Why: "too many calls wait for an answer of their agent's"}
	}
	if l.held == nil {
		l.held = map[string]*parked{}
	}
	l.held[id] = p
	p.timer = time.AfterFunc(parkLife, func() {
		if l.take(id, p.digest) != nil {
			p.cancel()
		}
	})
	l.mu.Unlock()
	out := inputCall.copy()
	out.InputRequests = sdk.InputRequestMap{}
	for _, q := range p.open {
		out.InputRequests[q.id] = q.params
	}
	out.RequestState = p.agent.bridge.vouch.seal(state{Call: p.digest, Parked: id})
	return &out, nil
}

func (l *parking) take(id string, digest []byte) *parked {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.held[id]
	if p == nil || string(p.digest) != string(digest) {
		return nil
	}
	delete(l.held, id)
	p.timer.Stop()
	return p
}

// resume goes on with a call whose agent is back.
func (a *agent) resume(ctx context.Context, r *sdk.CallToolRequest, id string, c *call, who *asker) (*sdk.CallToolResult, error) {
	p := a.bridge.parked.take(id, c.digest)
	if p == nil {
		return nil, refused{"the answer came too late; call the tool again"}
	}
	p.who.move(ctx, r.Session, who.token)
	for id, answer := range c.responses {
		if q := p.open[id]; q != nil {
			q.reply <- answer
			delete(p.open, id)
		}
	}
	if len(p.open) > 0 {
		select {
		case <-p.done:
			return p.result, p.err
		default:
			return a.bridge.parked.park(p)
		}
	}
	return a.attend(ctx, p)
}
