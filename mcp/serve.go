package mcp

import (
	"context"
	"io"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	lastWords = 5 * time.Second       // for answers to an agent that says no more
	aMoment   = 50 * time.Millisecond // until what was read is being answered, and what was answered is written
)

// Serve speaks newline-delimited JSON with one agent until it hangs up or ctx ends, and ends the agent's upstream sessions. What an
// agent has asked before it said its last is answered, if that takes no more than seconds.
func (b *Bridge) Serve(ctx context.Context, rw io.ReadWriteCloser, caller string) error {
	a, err := b.agent(caller, false)
	if err != nil {
		_ = rw.Close()
		return err
	}
	defer a.close()
	line := &line{ReadWriteCloser: rw, agent: a}
	defer line.Close()
	session, err := a.server.Connect(context.WithoutCancel(ctx), &sdk.IOTransport{Reader: line, Writer: line, MaxLineLength: maxMessage}, nil)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- session.Wait() }()
	select {
	case err = <-ended:
		return err
	case <-ctx.Done():
	case <-a.ctx.Done():
	}
	a.cancel()
	_ = line.Close() // the SDK waits for requests that are going on, which end; and for its reader, which does only now
	_ = session.Close()
	<-ended
	return ctx.Err()
}

// line is an agent's connection.
type line struct {
	io.ReadWriteCloser
	agent *agent
	once  sync.Once
	err   error
}

// Read implements [io.Reader]. The SDK cancels all that is going on as soon as it reads an end.
func (l *line) Read(p []byte) (int, error) {
	n, err := l.ReadWriteCloser.Read(p)
	if n == 0 && err != nil {
		l.agent.finish()
	}
	return n, err
}

// Close implements [io.Closer].
func (l *line) Close() error {
	l.once.Do(func() { l.err = l.ReadWriteCloser.Close() })
	return l.err
}

// finish waits for requests that are going on, not long.
func (a *agent) finish() {
	late := time.NewTimer(lastWords)
	defer late.Stop()
	for quiet := 0; quiet < 2; {
		t := time.NewTimer(aMoment)
		select {
		case <-t.C:
		case <-late.C:
			t.Stop()
			return
		case <-a.ctx.Done():
			t.Stop()
			return
		}
		a.mu.Lock()
		busy := a.busy - a.listening
		a.mu.Unlock()
		if busy == 0 {
			quiet++
		} else {
			quiet = 0
		}
	}
}
