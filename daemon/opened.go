package daemon

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"freshet.dev/broker"
	"freshet.dev/proxy"
)

// opened is what is held for a caller for as long as its request lasts: a listener of its own, with the doors behind it.
type opened struct {
	leave    func()
	listener net.Listener // nil until there is one
	server   *http.Server // nil until it serves
	done     chan struct{}
	doors    []*broker.Door
	route    *proxy.Route // nil: none
}

func (o *opened) serve(s *http.Server) {
	o.server, o.done = s, make(chan struct{})
	go func() {
		defer close(o.done)
		_ = o.server.Serve(o.listener)
	}()
}

// openedDrain is how long the end waits for answers under way, so that they are counted.
const openedDrain = time.Second

func (o *opened) close() {
	switch {
	case o.server != nil:
		ctx, cancel := context.WithTimeout(context.Background(), openedDrain)
		if o.server.Shutdown(ctx) != nil {
			o.server.Close()
		}
		cancel()
		<-o.done
	case o.listener != nil:
		o.listener.Close()
	}
	if o.route != nil {
		o.route.Close()
	}
	for _, d := range o.doors {
		d.Close()
	}
	o.leave()
}

// quota bounds what each user has open.
type quota struct {
	mu   sync.Mutex
	open map[uint32]int // uid → how many
}

// enter counts one more, unless the user has the most there may be.
func (q *quota) enter(uid uint32, most int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open[uid] >= most {
		return false
	}
	if q.open == nil {
		q.open = make(map[uint32]int)
	}
	q.open[uid]++
	return true
}

func (q *quota) leave(uid uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open[uid]--; q.open[uid] == 0 {
		delete(q.open, uid)
	}
}
