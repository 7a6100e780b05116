package daemon

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

// readyEvery is how often it is looked whether everything is loaded, for the log; who asks is answered as things are then.
const readyEvery = 100 * time.Millisecond

// readiness is whether the daemon has what it is to have before it is sent callers: the pinned identities that it was started
// with. Once ready it stays so: what a reload pins is loaded beside, and what an outage takes away, a restart would not bring back.
type readiness struct {
	unloaded func() []string // those that have a pinned credential and cannot serve it
	names    []string        // pinned at the start
	done     atomic.Bool
}

// missing lists what is still waited for; nothing if the daemon is ready.
func (r *readiness) missing() []string {
	if r.done.Load() {
		return nil
	}
	names := slices.DeleteFunc(r.unloaded(), func(name string) bool { return !slices.Contains(r.names, name) })
	if len(names) == 0 {
		r.done.Store(true)
	}
	return names
}

// await logs when everything is loaded, or, once the time is over, what is not: the daemon is ready then all the same, since
// callers of the others must not wait for it.
func (r *readiness) await(ctx context.Context, timeout time.Duration, log *slog.Logger) {
	if len(r.names) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		missing := r.missing()
		if len(missing) == 0 {
			log.Info("pinned identities are loaded", "identities", r.names)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				r.done.Store(true)
				log.Warn("ready, though pinned identities are not loaded", "identities", missing, "after", timeout.String())
			}
			return
		}
	}
}
