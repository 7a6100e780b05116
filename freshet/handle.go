package freshet

import (
	"context"
	"sync/atomic"
	"time"
)

// Handle is an identity's request, encoded and hashed once. It is the fastest way to a credential: a hit is an atomic load and
// two comparisons. It may be shared by any number of goroutines.
type Handle struct {
	id   *Identity
	req  Request
	key  string
	hash uint64
	wish wish
	slot atomic.Pointer[slot]
}

// Handle prepares a request. Errors are of kind [Invalid].
func (id *Identity) Handle(req Request) (*Handle, error) {
	if err := id.normalise(&req); err != nil {
		return nil, err
	}
	key := appendKey(nil, id, &req)
	return &Handle{id: id, req: req, key: string(key), hash: hashKey(key), wish: wish{minTTL: req.MinTTL, rejected: req.Rejected}}, nil
}

// Get is like [Identity.Get] with the handle's request. A handle whose entry was evicted looks it up again.
func (h *Handle) Get(ctx context.Context) (Answer, error) {
	if s := h.slot.Load(); s != nil {
		if a, ok := s.hit(&h.wish); ok {
			return a, nil
		}
	}
	s, a, err := h.id.miss(ctx, h.key, h.hash, &h.req, h.wish)
	if s != nil && h.slot.Load() != s {
		h.slot.Store(s)
	}
	return a, err
}

// wish is which of a key's versions will do.
type wish struct {
	minTTL   time.Duration
	rejected string // fingerprint
	input    bool   // as an input: one that is due will not do, if a newer can be had
}
