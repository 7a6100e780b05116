package daemon

import (
	"crypto/tls"
	"net/http"
	"sync/atomic"

	"freshet.dev/broker"
)

// front is what is served at an address: dialects, one path each, or a proxy's routes, or bridges.
type front struct {
	http.Handler
	kinds   []string // in words, for the ready line
	doors   []*broker.Door
	held    []*route      // it holds each from its beginning to its end
	bridges []*bridge     // and these
	gates   []*shownGate  // by which these are reached
	tls     *tls.Config   // nil: none
	users   atomic.Int64  // requests, and one for being shown; at 0 it is closed
	gone    chan struct{} // closed then
}

func newFront() *front {
	f := &front{gone: make(chan struct{})}
	f.users.Store(1)
	return f
}

// enter counts a request, unless the front is closed.
func (f *front) enter() bool { return enter(&f.users) }

// leave ends what enter began, or that the front is shown. Its doors follow the configuration until the last has left.
func (f *front) leave() {
	if f.users.Add(-1) == 0 {
		f.close()
	}
}

func (f *front) close() {
	for _, door := range f.doors {
		door.Close()
	}
	for _, r := range f.held {
		r.leave()
	}
	for _, m := range f.bridges {
		m.leave()
	}
	close(f.gone)
}

// cut ends what is under way at its routes. A bridge ends by itself, when its name does; its address may be another by now.
func (f *front) cut() {
	for _, r := range f.held {
		r.Close()
	}
}

// enter counts a user of what is closed when the last one leaves, unless it is closed by now.
func enter(users *atomic.Int64) bool {
	for n := users.Load(); n > 0; n = users.Load() {
		if users.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}
