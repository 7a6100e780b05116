package freshettest

import (
	"context"
	"sync"
	"sync/atomic"

	"freshet.dev/freshet"
)

// Door is what an endpoint under test asks for credentials. It answers as it was told, and counts. Its methods may be called by
// many goroutines.
type Door struct {
	names []string
	asked atomic.Int64

	mu       sync.Mutex
	identity string
	request  freshet.Request
	answer   func(context.Context) (freshet.Answer, error)
}

// NewDoor makes a door to identities that refuses everybody until [Door.Answer] or [Door.Fail].
func NewDoor(names ...string) *Door {
	d := &Door{names: names}
	d.Fail(freshet.Errorf(freshet.Denied, "closed"))
	return d
}

// Answer makes the door hand this out from now on.
func (d *Door) Answer(a freshet.Answer) {
	d.set(func(context.Context) (freshet.Answer, error) { return a, nil })
}

// Fail makes the door fail from now on.
func (d *Door) Fail(err error) {
	d.set(func(context.Context) (freshet.Answer, error) { return freshet.Answer{}, err })
}

func (d *Door) set(answer func(context.Context) (freshet.Answer, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

// Asked is how often the door was asked.
func (d *Door) Asked() int64 { return d.asked.Load() }

// Last is what the door was last asked for.
func (d *Door) Last() (identity string, req freshet.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.identity, d.request
}

// Names lists the door's identities.
func (d *Door) Names() []string { return d.names }

// Get answers an endpoint.
func (d *Door) Get(ctx context.Context, identity string, req freshet.Request) (freshet.Answer, error) {
	d.asked.Add(1)
	d.mu.Lock()
	d.identity, d.request = identity, req
	answer := d.answer
	d.mu.Unlock()
	return answer(ctx)
}
