package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/internal/field"
)

// Settings are how an issuer behaves. In JSON its durations are text, such as "250ms", and what is zero is left out.
type Settings struct {
	// Latency is how long it takes to answer; 0: no longer than it must.
	Latency time.Duration
	// Lifetime is how long what it gives lives, in whole seconds; 0: an hour. At STS it is the most: a shorter DurationSeconds
	// counts.
	Lifetime time.Duration
	// RefreshIn is what it says as refresh_in, in whole seconds, where its dialect has that (Entra, OAuth, managed identity);
	// 0: nothing.
	RefreshIn time.Duration
	// Events are how many words there are in what an API says, unless it is asked for a number of them; 0: eight.
	Events int
	// Pause is what an API lets pass between two events of a stream.
	Pause time.Duration
}

const (
	defaultLifetime = time.Hour
	maxLatency      = 5 * time.Minute
	defaultEvents   = 8
	maxEvents       = 10_000
	maxLifetime     = 10 * 365 * 24 * time.Hour
)

func (s Settings) check() error {
	switch {
	case s.Latency < 0 || s.Latency > maxLatency:
		return errors.New("latency: want 0s to 5m")
	case s.Lifetime < 0 || s.Lifetime > maxLifetime || s.Lifetime%time.Second != 0:
		return errors.New("lifetime: want whole seconds, at most 10 years")
	case s.RefreshIn < 0 || s.RefreshIn%time.Second != 0 || s.RefreshIn >= s.lifetime():
		return errors.New("refresh_in: want whole seconds, fewer than the lifetime has")
	case s.Events < 0 || s.Events > maxEvents:
		return fmt.Errorf("events: want up to %d", maxEvents)
	case s.Pause < 0 || s.Pause > maxLatency:
		return errors.New("pause: want 0s to 5m")
	}
	return nil
}

func (s Settings) lifetime() time.Duration {
	if s.Lifetime == 0 {
		return defaultLifetime
	}
	return s.Lifetime
}

// expires is when what is given now ends, by the same clock. It is a whole second, the first by which the lifetime has passed: a
// token's exp has no fractions, and none is born shorter than it was said to be.
func (s Settings) expires(now time.Time) time.Time {
	return now.Add(s.lifetime() + time.Second - 1).Truncate(time.Second)
}

// settingsJSON is how settings are written.
type settingsJSON struct {
	Latency   field.Duration `json:"latency,omitempty"`
	Lifetime  field.Duration `json:"lifetime,omitempty"`
	RefreshIn field.Duration `json:"refresh_in,omitempty"`
	Events    int            `json:"events,omitempty"`
	Pause     field.Duration `json:"pause,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (s Settings) MarshalJSON() ([]byte, error) {
	text := make(map[string]any)
	if s.Events != 0 {
		text["events"] = s.Events
	}
	for name, d := range map[string]time.Duration{"latency": s.Latency, "lifetime": s.Lifetime, "refresh_in": s.RefreshIn, "pause": s.Pause} {
		if d != 0 {
			text[name] = field.Duration(d).String()
		}
	}
	return json.Marshal(text)
}

// UnmarshalJSON implements [json.Unmarshaler]. A name that settings do not have is an error.
func (s *Settings) UnmarshalJSON(text []byte) error {
	var j settingsJSON
	if err := strictly(text, &j); err != nil {
		return err
	}
	*s = Settings{time.Duration(j.Latency), time.Duration(j.Lifetime), time.Duration(j.RefreshIn), j.Events, time.Duration(j.Pause)}
	return nil
}

// Count is what an issuer was asked. Each request counts as one of Requests, and as one of the rest but Peak at most: a fault
// that had a part in it keeps it out of Granted and Refused. So Requests less Faults.Total() is what the issuer was asked while
// it was well, and that less Granted, Refused and Left is under way, or its client did not wait for an answer.
type Count struct {
	Requests int64   `json:"requests"`
	Granted  int64   `json:"granted"`
	Refused  int64   `json:"refused"`
	Left     int64   `json:"left,omitzero"` // streams that somebody left before their end
	Peak     int64   `json:"peak"`          // the most that were under way at once
	Faults   Faulted `json:"faults,omitzero"`
}

// Faulted are the requests that faults had a part in, by kind. Those that were only slower, or by another clock, are among them,
// though they may have brought a credential.
type Faulted struct {
	Throttle  int64 `json:"throttle,omitzero"`
	Malformed int64 `json:"malformed,omitzero"`
	Outage    int64 `json:"outage,omitzero"`
	Slow      int64 `json:"slow,omitzero"`
	Skew      int64 `json:"skew,omitzero"`
}

// Total is the number of all of them.
func (f Faulted) Total() int64 { return f.Throttle + f.Malformed + f.Outage + f.Slow + f.Skew }

// issuer is one issuer's settings, faults and counts.
type issuer struct {
	settings atomic.Pointer[Settings] // nil: the defaults
	faults   faults

	mu       sync.Mutex
	counts   Count
	underway int64
	resets   int64            // how often the counts were reset
	tokens   map[string]int64 // that it was shown, by hash → in how many requests
}

func (i *issuer) now() Settings {
	if s := i.settings.Load(); s != nil {
		return *s
	}
	return Settings{}
}

func (i *issuer) count() Count {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counts
}

func (i *issuer) seen() map[string]int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return maps.Clone(i.tokens)
}

func (i *issuer) reset() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.counts = Count{Peak: i.underway}
	i.tokens = nil
	i.resets++
}

// outcome is how a request ended: what of the counts it belongs to.
type outcome func(*Count) *int64

func granted(c *Count) *int64 { return &c.Granted }
func refused(c *Count) *int64 { return &c.Refused }
func left(c *Count) *int64    { return &c.Left }

func outcomeOf(a reply) outcome {
	if a.status == http.StatusOK {
		return granted
	}
	return refused
}

// faulted is the outcome of what a fault has a part in.
func faulted(k Kind) outcome {
	return func(c *Count) *int64 {
		switch k {
		case Throttle:
			return &c.Faults.Throttle
		case Malformed:
			return &c.Faults.Malformed
		case Outage:
			return &c.Faults.Outage
		case Slow:
			return &c.Faults.Slow
		}
		return &c.Faults.Skew
	}
}

// visit is a request as it is counted.
type visit struct {
	i             *issuer
	began         int64 // the resets by then
	counted, gone bool
}

// begin counts a request that has arrived.
func (i *issuer) begin() *visit {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.counts.Requests++
	i.underway++
	i.counts.Peak = max(i.counts.Peak, i.underway)
	return &visit{i: i, began: i.resets}
}

// count counts how it ends, once: what is known first stands.
func (v *visit) count(o outcome) {
	v.i.mu.Lock()
	defer v.i.mu.Unlock()
	if !v.counted && v.began == v.i.resets { // otherwise it belongs to what was forgotten
		*o(&v.i.counts)++
	}
	v.counted = true
}

// leave says that it is no longer under way; again, it does nothing.
func (v *visit) leave() {
	v.i.mu.Lock()
	defer v.i.mu.Unlock()
	if !v.gone {
		v.i.underway--
	}
	v.gone = true
}

// wait lets an issuer's latency pass. It reports false if the request ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// list joins names for a sentence.
func list(names []string) string { return strings.Join(names, ", ") }
