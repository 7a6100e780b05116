package daemon

import (
	"context"
	"net/http"
	"reflect"
	"time"
)

// shownGate is a gate at a front. What was let in by it does not outlive who it lets in.
type shownGate struct {
	gate
	bridge *bridge
	*letIn
}

// letIn ends what was let in on the same terms: streams at once, what is asked after as long as a shutdown would wait for it.
type letIn struct {
	streams, asked       context.Context
	endStreams, endAsked context.CancelFunc
}

func newShownGate(g gate, m *bridge) *shownGate {
	l := new(letIn)
	l.streams, l.endStreams = context.WithCancel(context.Background())
	l.asked, l.endAsked = context.WithCancel(context.Background())
	return &shownGate{g, m, l}
}

// ServeHTTP implements [http.Handler].
func (g *shownGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ends := g.asked
	if r.Method == http.MethodGet {
		ends = g.streams
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(ends, cancel)()
	g.bridge.ServeHTTP(w, r.WithContext(ctx))
}

// succeed has a front's gates, which is to be shown in place of before, go on where those of before let the same callers in. What
// the others have let in ends. Nobody asks anything of the front yet.
func (f *front) succeed(before *front) {
	for _, old := range before.gates {
		ends := true
		for _, g := range f.gates {
			if g.name == old.name && g.path == old.path && reflect.DeepEqual(g.callers, old.callers) {
				g.letIn, ends = old.letIn, false
			}
		}
		if ends {
			old.letIn.end()
		}
	}
}

func (l *letIn) end() {
	l.endStreams()
	time.AfterFunc(drain, l.endAsked)
}
