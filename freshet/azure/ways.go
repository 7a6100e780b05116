package azure

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"freshet.dev/freshet"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// way is how a request without claims is answered.
type way struct {
	request freshet.Request // with claims, if it met a challenge
	handle  *freshet.Handle // of request
}

// detour is a challenge that was answered.
type detour struct {
	claims string
	handle *freshet.Handle
	issued freshet.Instant // the token that it was answered with
}

// ways knows the requests that come most, so that a hit hashes nothing, and those whose token a claims challenge has replaced.
// Lookups take no lock. It is bounded: other requests go by the cache's own table, and detours past the bound are forgotten,
// which costs one more challenge each.
type ways struct {
	latest  atomic.Pointer[[]*way]
	detours atomic.Pointer[map[string]detour] // request → its challenge

	mu sync.Mutex // for changes of either, each of which replaces it whole. Never held over I/O or waiting
}

const (
	maxRecent  = 8    // what is looked through one by one
	maxDetours = 1024 // copied at every challenge
	// admission is one in how many requests, of those that are not among the recent ones, takes the place of one: a service
	// that goes through a thousand tenants then seldom changes the list, and a request that comes often is soon in it.
	admission = 1024
)

// recent is the way of a request, if it is known.
func (w *ways) recent(o *policy.TokenRequestOptions) *way {
	list := w.latest.Load()
	if list == nil {
		return nil
	}
	for _, way := range *list {
		if r := &way.request; r.CAE == o.EnableCAE && r.Tenant == o.TenantID && slices.Equal(r.Scopes, o.Scopes) {
			return way
		}
	}
	return nil
}

// add finds the way of a request that is not among the recent ones, and may make it one. It returns nil where that is the
// request's own and the list stays as it is.
func (w *ways) add(id *freshet.Identity, o *policy.TokenRequestOptions) *way {
	if list := w.latest.Load(); list != nil && len(*list) >= maxRecent && rand.IntN(admission) != 0 {
		if d, ok := w.detoured(o); ok {
			made := &way{request: request(o), handle: d.handle}
			made.request.Claims = d.claims
			return made
		}
		return nil
	}
	made := &way{request: request(o)}
	made.request.Scopes = slices.Clone(o.Scopes)
	h, err := id.Handle(made.request)
	if err != nil {
		return nil // Get says so too
	}
	made.handle = h
	w.mu.Lock()
	defer w.mu.Unlock()
	// Under the lock, so that no challenge is answered before made is in the list, which that empties.
	if d, ok := w.detoured(o); ok {
		made.handle, made.request.Claims = d.handle, d.claims
	}
	if known := w.recent(o); known != nil {
		return known
	}
	var list []*way
	if p := w.latest.Load(); p != nil {
		list = slices.Clone(*p)
	}
	if len(list) < maxRecent {
		list = append(list, made)
	} else {
		list[rand.IntN(len(list))] = made
	}
	w.latest.Store(&list)
	return made
}

// detoured is the challenge that a request met, if it did.
func (w *ways) detoured(o *policy.TokenRequestOptions) (detour, bool) {
	detours := w.detours.Load()
	if detours == nil || len(*detours) == 0 {
		return detour{}, false
	}
	d, ok := (*detours)[name(o.TenantID, o.Scopes, o.EnableCAE)]
	return d, ok
}

// detour sends a request by way of the challenge that it met, unless a later one was answered meanwhile.
func (w *ways) detour(o *policy.TokenRequestOptions, h *freshet.Handle, issued freshet.Instant) {
	key := name(o.TenantID, o.Scopes, o.EnableCAE)
	w.mu.Lock()
	defer w.mu.Unlock()
	var old map[string]detour
	if p := w.detours.Load(); p != nil {
		old = *p
	}
	was, known := old[key]
	if known && (was.claims == o.Claims || was.issued.Elapsed() < issued.Elapsed()) {
		return
	}
	detours := make(map[string]detour, len(old)+1)
	for k, d := range old {
		if known || len(detours) < maxDetours-1 {
			detours[k] = d
		}
	}
	detours[key] = detour{claims: o.Claims, handle: h, issued: issued}
	w.detours.Store(&detours)
	w.latest.Store(nil)
}

// straighten ends a detour.
func (w *ways) straighten(old *way) {
	key := name(old.request.Tenant, old.request.Scopes, old.request.CAE)
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.detours.Load()
	if p == nil || (*p)[key].handle != old.handle {
		return
	}
	detours := make(map[string]detour, len(*p))
	for k, d := range *p {
		if k != key {
			detours[k] = d
		}
	}
	w.detours.Store(&detours)
	w.latest.Store(nil)
}

// name is an injective encoding of a request without its claims, whose scopes are a set.
func name(tenant string, scopes []string, cae bool) string {
	b := appendText(nil, tenant)
	if cae {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	scopes = slices.Clone(scopes)
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	b = binary.AppendUvarint(b, uint64(len(scopes)))
	for _, s := range scopes {
		b = appendText(b, s)
	}
	return string(b)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
