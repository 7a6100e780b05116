package hit

import (
	"sync"
	"sync/atomic"
)

// copied is a map that is replaced whole by each change, and read without a lock.
type copied[K comparable] struct {
	entries atomic.Pointer[map[K]*entry]
}

// load finds an entry; nil if there is none.
func (c *copied[K]) load(k K) *entry { return (*c.entries.Load())[k] }

// replace is one change, of all its entries.
func (c *copied[K]) replace(m map[K]*entry) { c.entries.Store(&m) }

// shards is a map in 64 parts with a lock each, so that few wait for the same one.
type shards[K comparable] [64]struct {
	mu      sync.RWMutex
	entries map[K]*entry
	_       [96]byte // so that no two locks share a line of a processor's cache
}

// load finds an entry; nil if there is none. The hash is the key's, any of it.
func (s *shards[K]) load(k K, hash uint64) *entry {
	part := &s[hash%uint64(len(s))]
	part.mu.RLock()
	e := part.entries[k]
	part.mu.RUnlock()
	return e
}

func (s *shards[K]) store(k K, hash uint64, e *entry) {
	part := &s[hash%uint64(len(s))]
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.entries == nil {
		part.entries = make(map[K]*entry)
	}
	part.entries[k] = e
}
