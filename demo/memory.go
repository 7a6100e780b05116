package demo

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
)

// gauge samples the memory of processes and of all that they start.
type gauge struct {
	peak   atomic.Int64 // -1: it cannot be measured
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

const (
	// gaugePause is how long a gauge rests at least: short phases take a few hundred milliseconds.
	gaugePause = 15 * time.Millisecond
	// gaugeShare is how many times longer it rests than a sample took, so that it is no part of what it measures.
	gaugeShare = 12
	// gaugeMost is how long it rests at most, a third of what an az lives: a busy machine makes a sample look expensive.
	gaugeMost = 200 * time.Millisecond
)

// measure begins to sample the processes that lead the groups, and all of their groups and descendants.
func measure(leaders []int) *gauge {
	ctx, cancel := context.WithCancel(context.Background())
	g := &gauge{cancel: cancel}
	g.peak.Store(-1)
	g.ended.Go(func() {
		for {
			began := freshet.Now()
			if n, ok := privateMemory(leaders); ok && n > g.peak.Load() {
				g.peak.Store(n)
			}
			rest := time.NewTimer(min(max(gaugePause, gaugeShare*began.Elapsed()), gaugeMost))
			select {
			case <-rest.C:
			case <-ctx.Done():
				rest.Stop()
				return
			}
		}
	})
	return g
}

// stop ends the sampling and returns the peak, nil if there is none.
func (g *gauge) stop() *int64 {
	g.cancel()
	g.ended.Wait()
	return g.soFar()
}

func (g *gauge) soFar() *int64 {
	if n := g.peak.Load(); n >= 0 {
		return &n
	}
	return nil
}
