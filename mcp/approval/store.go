package approval

import (
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"freshet.dev/freshet"
)

const (
	usualExpiry  = 15 * time.Minute
	maxCalls     = 1000     // kept at once, decided ones too
	maxOfCaller  = 32       // of them, one caller's
	maxKeptBytes = 32 << 20 // of arguments
)

// Config is a store's settings.
type Config struct {
	Expire  time.Duration // how long a call can be decided upon, and how long a decision holds; 0: 15 minutes
	Observe func(Event)   // called once for each event, by whoever causes it, without a lock held; nil: nobody
}

// Store holds what waits, for all bridges of a daemon. It is safe for concurrent use.
type Store struct {
	expire time.Duration
	*book
}

// book is what stores that were made of each other share.
type book struct {
	observe func(Event)

	mu    sync.Mutex
	calls map[[sha256.Size]byte]*entry // key → what waits, or is decided and not used up
	byID  map[string]*entry
	held  map[string]int // caller → entries
	bytes int            // of arguments
}

// entry is a call: pending, approved or denied.
type entry struct {
	Pending
	key     [sha256.Size]byte
	outcome string // "" while it is pending, then "approved" or "denied"
	by      string
	since   freshet.Instant // when it was asked, or decided: from then on it lives for…
	life    time.Duration
	changed chan struct{} // closed once it is decided or expired
	timer   *time.Timer
}

// NewStore makes an empty store.
func NewStore(c Config) *Store {
	return &Store{cmp.Or(max(0, c.Expire), usualExpiry), &book{
		observe: c.Observe, calls: map[[sha256.Size]byte]*entry{}, byID: map[string]*entry{}, held: map[string]int{},
	}}
}

// Expiring is the same store, but for the expiry of what is asked through it.
func (s *Store) Expiring(d time.Duration) *Store {
	return &Store{cmp.Or(max(0, d), usualExpiry), s.book}
}

// Ask returns nil once a call is approved, and that approval is then used up. It waits for a decision, as long as it is told to
// and ctx lasts; then its error names the command that decides. What was asked stays until it expires, whoever still waits: the same
// call finds it, or the decision, when it comes again. Of several equal calls that wait one approval serves one; the others
// are asked for anew.
//
// Its errors are [freshet.Denied] for a call that an operator has denied, [freshet.Invalid] for arguments that cannot be shown as they are,
// and [freshet.Unavailable].
func (s *Store) Ask(ctx context.Context, c Call, wait time.Duration) error {
	if err := c.canonical(); err != nil {
		return err
	}
	key := c.key()
	timer := time.NewTimer(max(0, wait))
	defer timer.Stop()
	for patient := true; ; {
		// An approval must not be lost on a caller that has left.
		if err := ctx.Err(); err != nil {
			return freshet.AsError(err)
		}
		e, done, err := s.ask(key, c)
		if done {
			return err
		}
		if !patient {
			return freshet.Errorf(freshet.Unavailable, "waits for approval by the operator of this bridge").
				WithHint("the operator runs freshet approve %s; then the same call is served", e.ID)
		}
		select {
		case <-e.changed:
		case <-ctx.Done():
		case <-timer.C:
			patient = false // one more look: it may have been decided at the same moment
		}
	}
}

// ask takes what was decided, or finds the entry to wait for, which it makes if there is none.
func (s *Store) ask(key [sha256.Size]byte, c Call) (e *entry, done bool, err error) {
	var events []Event
	defer func() { s.tell(events) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	e = s.calls[key]
	if e != nil && e.over() {
		events = append(events, s.expireLocked(e)...)
		e = nil
	}
	switch {
	case e == nil:
		if err := s.roomLocked(c); err != nil {
			return nil, true, err
		}
		e = s.addLocked(key, c)
		events = append(events, e.event("asked"))
		return e, false, nil
	case e.outcome == "approved":
		s.removeLocked(e)
		events = append(events, e.event("used"))
		return nil, true, nil
	case e.outcome == "denied":
		return nil, true, freshet.Errorf(freshet.Denied, "the operator of this bridge has denied this call")
	}
	return e, false, nil
}

// roomLocked refuses what would be too much to keep, and for anybody to look at.
func (s *Store) roomLocked(c Call) error {
	switch {
	case s.held[c.Caller] >= maxOfCaller:
		return freshet.Errorf(freshet.Unavailable, "%d calls of this caller wait for approval, or have been decided of late", maxOfCaller).
			WithHint("the operator decides them by freshet approve")
	case len(s.calls) >= maxCalls || s.bytes+len(c.Arguments) > maxKeptBytes:
		return freshet.Errorf(freshet.Unavailable, "too many calls wait for approval").WithHint("the operator decides them by freshet approve")
	}
	return nil
}

func (s *Store) addLocked(key [sha256.Size]byte, c Call) *entry {
	e := &entry{Pending: Pending{ID: s.newIDLocked(), Call: c}, key: key, changed: make(chan struct{})}
	s.calls[key], s.byID[e.ID] = e, e
	s.held[c.Caller]++
	s.bytes += len(c.Arguments)
	s.liveLocked(e, s.expire)
	e.Asked = e.since.Wall()
	return e
}

// liveLocked begins an entry's life, or begins it anew.
func (s *Store) liveLocked(e *entry, life time.Duration) {
	e.since, e.life = freshet.Now(), life
	e.Expires = e.since.Wall().Add(life)
	if e.timer != nil {
		e.timer.Stop()
	}
	e.timer = time.AfterFunc(life, func() {
		var events []Event
		defer func() { s.tell(events) }()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.byID[e.ID] == e && e.over() { // else it has been used, or lives anew
			events = s.expireLocked(e)
		}
	})
}

// over reports whether an entry's life has ended by either clock: one can be stepped, the other stops while a machine sleeps.
func (e *entry) over() bool {
	return e.since.Elapsed() >= e.life || !freshet.Now().Wall().Before(e.Expires)
}

// expireLocked ends an entry. A decision that nobody came back for is no event: it was told when it was made.
func (s *Store) expireLocked(e *entry) []Event {
	s.removeLocked(e)
	if e.outcome != "" {
		return nil
	}
	close(e.changed)
	return []Event{e.event("expired")}
}

func (s *Store) removeLocked(e *entry) {
	e.timer.Stop()
	delete(s.calls, e.key)
	delete(s.byID, e.ID)
	s.bytes -= len(e.Arguments)
	if s.held[e.Caller]--; s.held[e.Caller] == 0 {
		delete(s.held, e.Caller)
	}
}

// List is what waits for a decision, the first asked first.
func (s *Store) List() []Pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []Pending{}
	for _, e := range s.calls {
		if e.outcome == "" && !e.over() {
			p := e.Pending
			p.Arguments = slices.Clone(p.Arguments)
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Pending) int { return cmp.Or(a.Asked.Compare(b.Asked), cmp.Compare(a.ID, b.ID)) })
	return all
}

// Decide approves or denies a call by its ID, however it was typed. A decision that has not been used can be changed; from then on it holds
// as long as a new one. An ID that is not known, or no more, is [freshet.Invalid].
func (s *Store) Decide(id string, approve bool, by string) error {
	outcome := "denied"
	if approve {
		outcome = "approved"
	}
	var events []Event
	wake := func() {}
	defer func() {
		s.tell(events)
		wake() // once it is told: the call that goes on is told of as well
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[typed(id)]
	if e != nil && e.over() {
		events = append(events, s.expireLocked(e)...)
		e = nil
	}
	switch {
	case e == nil:
		return freshet.Errorf(freshet.Invalid, "no call waits for approval by this id").WithHint("freshet approve lists those that do")
	case e.outcome == outcome:
		return nil
	case e.outcome == "":
		wake = func() { close(e.changed) }
	}
	e.outcome, e.by = outcome, by
	s.liveLocked(e, e.life)
	events = append(events, e.event(outcome))
	return nil
}

func (e *entry) event(outcome string) Event {
	p := e.Pending
	p.Arguments = nil
	return Event{Pending: p, Outcome: outcome, By: e.by}
}

func (b *book) tell(events []Event) {
	for _, e := range events {
		if b.observe != nil {
			b.observe(e)
		}
	}
}
