package freshet

import (
	"context"
	"fmt"
	"io"
	"math"
	"sync"

	"freshet.dev/freshet/internal/clock"
)

// CacheConfig sets a cache's bounds. The zero value is ready to use.
type CacheConfig struct {
	Entries int   // how many keys are kept; 0 means 100,000
	Bytes   int64 // memory for them, in bytes; 0 means 256 MiB
	// Observe is told of every retrieval once it has ended, from the retrieval's goroutine and with no lock held, before those
	// who wait for it are released. It must not block.
	Observe func(Event)
}

const (
	defaultEntries = 100_000
	defaultBytes   = 256 << 20

	// entryBytes is what an entry costs beyond its secrets and key: slot, version, credential, places in table and ring.
	entryBytes = 300
)

// Cache holds the credentials of any number of identities. Its methods may be called by many goroutines.
//
// It is bounded. When full, an identity that holds more than its fair share (the bound over the number of identities) makes
// room among its own entries, and otherwise the identity that holds most does: requests for one cannot push out another's.
// Within an identity expired entries go first, then those not asked for lately (CLOCK). An entry with a flight stays.
// Making room costs O(1) amortised, plus O(identities) where the largest must be found.
type Cache struct {
	entries int
	bytes   int64
	observe func(Event)

	ctx       context.Context // ends every flight at Close
	cancel    context.CancelFunc
	governor  governor
	scheduler scheduler
	index     index

	mu         sync.Mutex // for changes: insertion, eviction, accounting. Never held over I/O or waiting
	identities []*Identity
	count      int
	size       int64
}

// ring is an identity's slots, in the order the eviction hand passes them.
type ring struct {
	slots []*slot
	hand  int
	size  int64
}

// NewCache returns an empty cache. [Cache.Close] ends it.
func NewCache(cfg CacheConfig) *Cache {
	c := &Cache{entries: cfg.Entries, bytes: cfg.Bytes, observe: cfg.Observe}
	if c.entries <= 0 {
		c.entries = defaultEntries
	}
	if c.bytes <= 0 {
		c.bytes = defaultBytes
	}
	if c.observe == nil {
		c.observe = func(Event) {}
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.governor.init()
	c.index.init()
	return c
}

// Format implements [fmt.Formatter], for every verb alike: everything in a cache is somebody's.
func (c *Cache) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "cache") }

// Add makes a source an identity of this cache. Adding a name again with another version makes a second identity beside the
// first, which keeps working for who holds it; they share nothing. Errors are of kind [Invalid].
func (c *Cache) Add(cfg IdentityConfig) (*Identity, error) {
	id, err := newIdentity(c, cfg)
	if err != nil {
		return nil, err
	}
	if err := c.register(id); err != nil {
		return nil, err
	}
	if cfg.Pin {
		if err := id.Pin(true); err != nil {
			c.Remove(id)
			return nil, err
		}
	}
	return id, nil
}

func (c *Cache) register(id *Identity) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, other := range c.identities {
		if other.name == id.name && other.version == id.version {
			return Errorf(Invalid, "identity %s: there is one of that name and version already", id.name)
		}
	}
	if id.from != nil && id.from.cache != c {
		return Errorf(Invalid, "identity %s: its input %s is in another cache", id.name, id.from.name)
	}
	c.identities = append(c.identities, id)
	return nil
}

// Close ends every flight and waits, up to ctx, for their sources to return and their goroutines to end. Sources that have not
// returned are counted in the error.
// Afterwards what is in memory is still served, and nothing is retrieved.
func (c *Cache) Close(ctx context.Context) error {
	drained := c.governor.close()
	c.cancel()
	for _, s := range c.scheduler.close() {
		s.turnAway()
	}
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		if n := c.Stats().Flights; n > 0 {
			return Errorf(Unavailable, "%d retrievals have not ended", n)
		}
		return nil
	}
}

// Stats are a cache's figures at one moment.
type Stats struct {
	Entries int
	Bytes   int64 // accounted, not measured
	Flights int   // under way, those included whose source outlived its deadline
	Workers int   // refreshes running that nobody waits for
	Waiting int   // keys that wait for a worker
}

// Stats reads the figures.
func (c *Cache) Stats() Stats {
	g := &c.governor
	g.mu.Lock()
	st := Stats{Flights: g.total, Workers: g.workers}
	for _, h := range g.hosts {
		st.Waiting += h.waiting
	}
	g.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	st.Entries, st.Bytes = c.count, c.size
	return st
}

// slot returns the slot of a key, made if there is none; nil if the identity was removed.
func (c *Cache) slot(a *ask) *slot {
	key := []byte(a.key)
	if s := c.index.find(a.id, a.hash, key); s != nil {
		return s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.index.find(a.id, a.hash, key); s != nil {
		return s
	}
	if a.id.removed {
		return nil
	}
	s := &slot{id: a.id, key: a.key, hash: a.hash, place: int32(len(a.id.ring.slots))}
	a.id.ring.slots = append(a.id.ring.slots, s)
	c.index.put(s)
	c.count++
	c.resizeLocked(s, entryBytes+int64(len(s.key)))
	c.makeRoomLocked(s)
	return s
}

// account corrects a slot's size after its flight has landed.
func (c *Cache) account(s *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.gone {
		return
	}
	size := entryBytes + int64(len(s.key))
	if v := s.cur.Load(); v != nil {
		size += v.cred.size()
	}
	c.resizeLocked(s, size)
	c.makeRoomLocked(s)
}

// drop removes a slot that serves nothing, awaits nothing, and remembers no failure.
func (c *Cache) drop(s *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := clock.Now()
	s.mu.Lock()
	v := s.cur.Load()
	idle := !s.gone && s.flight == nil && s.past().late == 0 && !s.pinned && s.past().again <= now.Mono && (v == nil || v.at(now) == expired)
	if idle {
		s.gone = true
		s.cur.Store(nil)
	}
	s.mu.Unlock()
	if idle {
		c.removeLocked(s)
	}
}

func (c *Cache) resizeLocked(s *slot, size int64) {
	size = min(size, math.MaxInt32)
	delta := size - int64(s.size)
	s.size = int32(size)
	s.id.ring.size += delta
	c.size += delta
}

// removeLocked takes a slot that is gone out of table, ring and accounts.
func (c *Cache) removeLocked(s *slot) {
	c.index.remove(s)
	c.forget(s)
	r := &s.id.ring
	last := r.slots[len(r.slots)-1]
	r.slots[s.place], last.place = last, s.place
	r.slots[len(r.slots)-1] = nil
	r.slots = r.slots[:len(r.slots)-1]
	c.count--
	c.resizeLocked(s, 0)
}

// makeRoomLocked evicts until the bounds hold, sparing keep and whatever has a flight.
func (c *Cache) makeRoomLocked(keep *slot) {
	for c.count > c.entries || c.size > c.bytes {
		if r := c.payerLocked(keep.id); !c.evictLocked(r, keep) {
			return
		}
	}
}

// payerLocked chooses whose entries make room.
func (c *Cache) payerLocked(id *Identity) *ring {
	n := len(c.identities)
	byCount := c.count > c.entries
	weight := func(r *ring) int64 {
		if byCount {
			return int64(len(r.slots))
		}
		return r.size
	}
	share := c.bytes / int64(n)
	if byCount {
		share = int64(c.entries / n)
	}
	if weight(&id.ring) > share {
		return &id.ring
	}
	most := &id.ring
	for _, other := range c.identities {
		if weight(&other.ring) > weight(most) {
			most = &other.ring
		}
	}
	return most
}

// evictLocked moves the ring's hand to the first slot that can go, and removes it.
func (c *Cache) evictLocked(r *ring, keep *slot) bool {
	now := clock.Now()
	for range 2 * len(r.slots) {
		if r.hand >= len(r.slots) {
			r.hand = 0
		}
		s := r.slots[r.hand]
		if s != keep && s.evict(now) {
			c.removeLocked(s)
			return true
		}
		r.hand++
	}
	return false
}

// evict marks the slot gone, unless it has a flight or was asked for since the hand last passed.
func (s *slot) evict(now clock.Reading) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil || s.pinned {
		return false
	}
	if v := s.cur.Load(); v != nil && v.at(now) != expired && s.flags.And(^uint32(usedByHand))&usedByHand != 0 {
		return false
	}
	s.gone = true
	s.cur.Store(nil)
	return true
}
