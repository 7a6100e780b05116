package measure

import (
	"runtime"
	"sync"
	"time"
)

// LoopColumns are those of a round that [Loop] makes.
func LoopColumns() []Column {
	return []Column{
		{Name: "serial", Unit: Nanoseconds, Compare: true},
		{Name: "parallel", Unit: Nanoseconds, Compare: true},
		{Name: "allocations", Unit: Count},
	}
}

// Loop is a round of work that takes nanoseconds to milliseconds: f does it n times, and is called from one goroutine, and then
// from as many as there are processors. Its values are those of [LoopColumns]: the time of one, by one goroutine; the time divided
// by all that were done, by many; and the allocations of one.
func Loop(s *Setup, f func(n int)) Round {
	f(1) // what only the first does
	n := enough(s, f)
	return func() ([]float64, error) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		serial := timed(1, n, f)
		runtime.ReadMemStats(&after)
		workers := runtime.GOMAXPROCS(0)
		parallel := timed(workers, n, f)
		return []float64{
			float64(serial) / float64(n),
			float64(parallel) / float64(n*workers),
			float64(after.Mallocs-before.Mallocs) / float64(n),
		}, nil
	}
}

// enough is how often to do f for a time that can be measured.
func enough(s *Setup, f func(n int)) int {
	long := 50 * time.Millisecond
	if s.Smoke {
		long = time.Millisecond
	}
	for n := 1; ; n *= 2 {
		if took := timed(1, n, f); took >= long || n >= 1<<30 {
			return n
		}
	}
}

func timed(workers, n int, f func(n int)) time.Duration {
	var wg sync.WaitGroup
	began := time.Now()
	for range workers {
		wg.Go(func() { f(n) })
	}
	wg.Wait()
	return time.Since(began)
}

// Heap is how many bytes of memory are in use, once what is not has been collected.
func Heap() int64 {
	runtime.GC()
	runtime.GC() // what the first had finalised
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
