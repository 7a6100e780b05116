package metrics

import "sync"

// labels are values of a label that have series of their own. They come from the configuration, or from who is let in; the bound
// is for one in which a caller's tenant is a part of an issuer's name, or whose reloads bring ever other names.
type labels struct {
	most int

	mu    sync.RWMutex
	known map[string]struct{}
}

const (
	maxHosts   = 256
	maxRoutes  = 256
	maxCallers = 100
	other      = "other"
)

// label is a value's; one past the bound has that of all the others.
func (l *labels) label(value string) string {
	l.mu.RLock()
	_, ok := l.known[value]
	l.mu.RUnlock()
	if ok {
		return value
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.known[value]; ok {
		return value
	}
	if len(l.known) >= l.most {
		return other
	}
	if l.known == nil {
		l.known = make(map[string]struct{})
	}
	l.known[value] = struct{}{}
	return value
}
