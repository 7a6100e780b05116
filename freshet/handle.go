package freshet

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// Handle is an identity's request, encoded and hashed once. It is the fastest way to a credential: a hit is an atomic load and
// two comparisons. It may be shared by any number of goroutines.
type Handle struct {
	ask   *ask // behind a pointer, so that no print of a handle shows its key
	slot  atomic.Pointer[slot]
	plain bool // no wish: whatever is served will do
}

// Handle prepares a request. Errors are of kind [Invalid].
func (id *Identity) Handle(req Request) (*Handle, error) {
	if err := id.normalise(&req); err != nil {
		return nil, err
	}
	key := appendKey(nil, id, &req)
	a := &ask{id: id, key: string(key), hash: hashKey(id, key), hold: req.Hold, wish: wish{minTTL: req.MinTTL, rejected: req.Rejected}}
	return &Handle{ask: a, plain: a.wish == wish{}}, nil
}

// Format implements [fmt.Formatter], for every verb alike: it names the identity, and nothing of the request.
func (h *Handle) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "handle of "+h.ask.id.String())
}

// Get is like [Identity.Get] with the handle's request. A handle whose entry was evicted looks it up again.
func (h *Handle) Get(ctx context.Context) (Answer, error) { return h.GetHeld(ctx, h.ask.hold) }

// GetHeld is Get for a caller that can wait hold for a further attempt, whatever the handle's request says; see [Request].Hold.
func (h *Handle) GetHeld(ctx context.Context, hold time.Duration) (Answer, error) {
	if s := h.slot.Load(); s != nil {
		if h.plain {
			if v := s.calm(); v != nil {
				return Answer{Credential: v.cred, due: v.due.Wall}, nil
			}
		}
		if a, ok := s.hit(&h.ask.wish); ok {
			return a, nil
		}
	}
	a := *h.ask
	a.hold = hold
	s, ans, err := h.ask.id.cache.wait(ctx, &a)
	if s != nil && h.slot.Load() != s {
		h.slot.Store(s)
	}
	return ans, err
}

// wish is which of a key's versions will do.
type wish struct {
	minTTL   time.Duration
	rejected string // fingerprint
	input    bool   // as an input: one that is due will not do, if a newer can be had
}
