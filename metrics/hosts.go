package metrics

import "sync"

// hosts are the issuers that have a label of their own. They come from the configuration; the bound is for a configuration in
// which a caller's tenant is a part of the host's name.
type hosts struct {
	mu    sync.Mutex
	known map[string]struct{}
}

const (
	maxHosts   = 256
	otherHosts = "other"
)

// label is a host's; one past the bound has that of all the others.
func (h *hosts) label(host string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.known[host]; ok {
		return host
	}
	if len(h.known) >= maxHosts {
		return otherHosts
	}
	if h.known == nil {
		h.known = make(map[string]struct{})
	}
	h.known[host] = struct{}{}
	return host
}
