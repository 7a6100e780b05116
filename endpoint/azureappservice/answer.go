package azureappservice

import (
	"encoding/json"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
)

// seat is a query that was answered before, and the answer that it had last.
type seat struct {
	resource string
	request  freshet.Request
	last     atomic.Pointer[rendered]
}

// rendered is an answer. It holds for a second: when to come back is relative.
type rendered struct {
	credential *freshet.Credential
	refreshIn  int64
	body       []byte
}

// answer renders a version once a second.
func (h *Handler) answer(s *seat, a freshet.Answer) []byte {
	in := refreshIn(a)
	if r := s.last.Load(); r != nil && r.credential == a.Credential && r.refreshIn == in {
		return r.body
	}
	body := h.render(s, a.Credential)
	if in > 0 {
		body = strconv.AppendInt(append(body, `,"refresh_in":`...), in, 10)
	}
	body = append(body, "}\n"...)
	if !a.Credential.Static() {
		s.last.Store(&rendered{a.Credential, in, body})
	}
	return body
}

// render renders what a version's answers begin with.
func (h *Handler) render(s *seat, c *freshet.Credential) []byte {
	expires := c.Expires()
	if c.Static() {
		expires = freshet.Now().Wall().Add(staticLife)
	}
	doc, _ := json.Marshal(struct {
		Token    string `json:"access_token"`
		Expires  int64  `json:"expires_on,string"`
		Resource string `json:"resource"`
		Type     string `json:"token_type"`
		ClientID string `json:"client_id,omitempty"` // never "": msal-go does not read that
	}{c.Token(), expires.Unix(), s.resource, c.TokenType(), h.cfg.ClientID})
	return doc[:len(doc)-1]
}

const (
	// behind is how long after freshet's own refresh a client is told to come: it then finds the new version.
	behind = 30 * time.Second
	// margin is when Azure's SDKs come back by themselves.
	margin = 5 * time.Minute
)

// refreshIn is when a client is to come back, in whole seconds; 0 where its own margin says it well enough: that is when the
// version is due already, or is replaced late in its life.
func refreshIn(a freshet.Answer) int64 {
	at := a.RefreshAt()
	if at.IsZero() {
		return 0
	}
	in := at.Sub(freshet.Now().Wall())
	if in <= 0 || in+behind >= a.Credential.Remaining()-margin {
		return 0
	}
	return int64((in + behind) / time.Second)
}

const (
	// maxSeats is more resources than programs ask for.
	maxSeats = 64
	// maxQuery is longer than the queries that are worth remembering.
	maxQuery = 1 << 10
)

// recent are the queries that were answered last: what they ask is parsed and rendered once. Reading takes no lock.
type recent struct {
	seats atomic.Pointer[map[string]*seat] // raw query → seat; never changed, replaced
	mu    sync.Mutex
}

func (r *recent) find(query string) *seat {
	if m := r.seats.Load(); m != nil {
		return (*m)[query]
	}
	return nil
}

// keep remembers a query that had an answer. When there are too many it begins anew, which costs each one parsing more.
func (r *recent) keep(query string, s *seat) {
	if r.find(query) != nil || len(query) > maxQuery {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	next := make(map[string]*seat)
	if m := r.seats.Load(); m != nil && len(*m) < maxSeats {
		next = maps.Clone(*m)
	}
	if next[query] == nil {
		next[query] = s
	}
	r.seats.Store(&next)
}
