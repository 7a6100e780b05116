package freshet

import (
	"sync"
	"time"

	"freshet.dev/freshet/internal/chance"
	"freshet.dev/freshet/internal/clock"
)

const (
	// longestSleep bounds how late a step of the wall clock, or a suspend, is noticed.
	longestSleep = 30 * time.Second
	// stepped is how far the wall clock and the monotonic one must part between two looks to count as a step: less is the slewing
	// of a time daemon, which every plan bears.
	stepped = 5 * time.Second
	// passBatch is how many slots a pass takes at a time, so that nobody waits long for the scheduler's lock.
	passBatch = 256
)

// scheduler is the one timer of a cache. It holds every slot that something is to happen to without a caller: a credential that
// is to be replaced, one that ends with nobody to want another, a failure that is forgotten, callers who are held for an attempt.
// Between passes there is no goroutine.
//
// A change takes O(log slots). A step of the wall clock takes O(slots), once.
type scheduler struct {
	mu      sync.Mutex
	heap    []planned // a binary heap, the first to wake on top; each slot knows its place
	timer   *time.Timer
	armed   int64 // monotonic: when the timer fires; 0 if it does not
	gap     int64 // wall − monotonic as of the last pass; 0 before anything is planned
	closed  bool
	passing sync.WaitGroup
}

// planned is a slot that is to be looked at.
type planned struct {
	wake int64 // monotonic
	slot *slot
}

// at has a slot looked at when the monotonic clock comes to wake, in place of any earlier arrangement; it reports whether it will
// be, which it is not once the cache is closed. slot.mu may be held.
func (c *Cache) at(s *slot, wake int64) bool {
	x := &c.scheduler
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return false
	}
	now := clock.Now()
	if x.gap == 0 {
		x.gap = now.Wall - now.Mono
	}
	p := planned{wake, s}
	if s.heaped == 0 {
		x.heap = append(x.heap, p)
		s.heaped = int32(len(x.heap))
	}
	i := int(s.heaped) - 1
	x.heap[i] = p
	x.settle(i)
	c.armLocked(wake, now)
	return true
}

// plan arranges the next look at what a slot serves: when it is due, on either clock.
func (c *Cache) plan(s *slot, at clock.Reading, now clock.Reading) {
	if at == clock.Never {
		c.forget(s)
		return
	}
	c.at(s, now.Mono+int64(max(0, now.Until(at))))
}

// forget takes a slot out of the schedule.
func (c *Cache) forget(s *slot) {
	x := &c.scheduler
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeLocked(s)
}

func (x *scheduler) removeLocked(s *slot) {
	if s.heaped == 0 {
		return
	}
	i, last := int(s.heaped)-1, len(x.heap)-1
	s.heaped = 0
	moved := x.heap[last]
	x.heap[last] = planned{}
	x.heap = x.heap[:last]
	if i != last {
		x.heap[i] = moved
		moved.slot.heaped = int32(i + 1)
		x.settle(i)
	}
}

// armLocked sees to it that the timer fires when wake comes, or in longestSleep at most.
func (c *Cache) armLocked(wake int64, now clock.Reading) {
	x := &c.scheduler
	wake = min(max(wake, now.Mono), now.Mono+int64(longestSleep))
	if x.armed != 0 && x.armed <= wake {
		return
	}
	x.armed = wake
	in := time.Duration(wake - now.Mono)
	if x.timer == nil {
		x.timer = time.AfterFunc(in, c.pass)
		return
	}
	x.timer.Reset(in)
}

// pass looks at every slot whose time has come.
func (c *Cache) pass() {
	x := &c.scheduler
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return
	}
	x.passing.Add(1)
	defer x.passing.Done()
	x.armed = 0
	now := clock.Now()
	if gap := now.Wall - now.Mono; time.Duration(gap-x.gap).Abs() > stepped {
		x.gap = gap
		x.replanLocked(now)
	}
	var batch [passBatch]*slot
	for {
		n := 0
		for n < passBatch && len(x.heap) > 0 && x.heap[0].wake <= now.Mono {
			batch[n] = x.heap[0].slot
			x.removeLocked(batch[n])
			n++
		}
		if n == 0 {
			break
		}
		x.mu.Unlock()
		for i, s := range batch[:n] {
			c.look(s, now)
			batch[i] = nil
		}
		c.dispatch()
		x.mu.Lock()
		if x.closed {
			break
		}
	}
	if len(x.heap) > 0 && !x.closed {
		c.armLocked(x.heap[0].wake, clock.Now())
	}
	x.mu.Unlock()
}

// replanLocked plans everything anew after the clocks have parted: the wall clock was stepped, or the machine was suspended.
// What is due is looked at once more, spread over half the life it has left, up to half a minute.
func (x *scheduler) replanLocked(now clock.Reading) {
	for i := range x.heap {
		p := &x.heap[i]
		s := p.slot
		v := s.cur.Load()
		if v == nil {
			continue // it waits for a time of the monotonic clock
		}
		wait := now.Until(v.due)
		if wait <= 0 {
			wait = jitter(s.key, min(longestSleep, max(0, now.Until(v.cred.until())/2)))
		}
		p.wake = min(p.wake, now.Mono+int64(wait))
	}
	for i := len(x.heap)/2 - 1; i >= 0; i-- {
		x.down(i)
	}
}

// close ends the schedule, waits for a pass under way, and returns what was in it.
func (x *scheduler) close() []*slot {
	x.mu.Lock()
	x.closed = true
	if x.timer != nil {
		x.timer.Stop()
	}
	left := make([]*slot, len(x.heap))
	for i, p := range x.heap {
		p.slot.heaped = 0
		left[i] = p.slot
	}
	x.heap = nil
	x.mu.Unlock()
	x.passing.Wait()
	return left
}

// settle moves the slot at i to where it belongs.
func (x *scheduler) settle(i int) {
	if !x.up(i) {
		x.down(i)
	}
}

// before orders the heap. Many may be held for one moment, and the first of them is the probe: lots decide, so that no key is it
// time after time, which may be the one that fails.
func (x *scheduler) before(p, other planned) bool {
	return p.wake < other.wake || p.wake == other.wake && x.lot(p) < x.lot(other)
}

// lot is a key's for one moment, by the wall clock: the monotonic one is another in each process.
func (x *scheduler) lot(p planned) uint64 {
	return chance.Lot(p.slot.id.name, p.slot.key, p.wake+x.gap)
}

func (x *scheduler) up(i int) (moved bool) {
	for i > 0 {
		parent := (i - 1) / 2
		if !x.before(x.heap[i], x.heap[parent]) {
			break
		}
		x.swap(i, parent)
		i, moved = parent, true
	}
	return moved
}

func (x *scheduler) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(x.heap) {
			return
		}
		if right := child + 1; right < len(x.heap) && x.before(x.heap[right], x.heap[child]) {
			child = right
		}
		if !x.before(x.heap[child], x.heap[i]) {
			return
		}
		x.swap(i, child)
		i = child
	}
}

func (x *scheduler) swap(i, j int) {
	h := x.heap
	h[i], h[j] = h[j], h[i]
	h[i].slot.heaped, h[j].slot.heaped = int32(i+1), int32(j+1)
}
