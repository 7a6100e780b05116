package lab

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
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
}

const (
	defaultLifetime = time.Hour
	maxLatency      = 5 * time.Minute
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
	}
	return nil
}

func (s Settings) lifetime() time.Duration {
	if s.Lifetime == 0 {
		return defaultLifetime
	}
	return s.Lifetime
}

// expires is when what is given now ends. It is a whole second, the first by which the lifetime has passed: a token's exp has
// no fractions, and none is born shorter than it was said to be.
func (s Settings) expires() time.Time {
	return freshet.Now().Wall().Add(s.lifetime() + time.Second - 1).Truncate(time.Second)
}

// settingsJSON is how settings are written.
type settingsJSON struct {
	Latency   field.Duration `json:"latency,omitempty"`
	Lifetime  field.Duration `json:"lifetime,omitempty"`
	RefreshIn field.Duration `json:"refresh_in,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (s Settings) MarshalJSON() ([]byte, error) {
	text := make(map[string]string)
	for name, d := range map[string]time.Duration{"latency": s.Latency, "lifetime": s.Lifetime, "refresh_in": s.RefreshIn} {
		if d != 0 {
			text[name] = field.Duration(d).String()
		}
	}
	return json.Marshal(text)
}

// UnmarshalJSON implements [json.Unmarshaler]. A name that settings do not have is an error.
func (s *Settings) UnmarshalJSON(text []byte) error {
	var j settingsJSON
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return err
	}
	*s = Settings{time.Duration(j.Latency), time.Duration(j.Lifetime), time.Duration(j.RefreshIn)}
	return nil
}

// Count is what an issuer was asked. A request that has been neither granted nor refused is under way, or its client left.
type Count struct {
	Requests int64 `json:"requests"`
	Granted  int64 `json:"granted"`
	Refused  int64 `json:"refused"`
	Peak     int64 `json:"peak"` // the most that were under way at once
}

// issuer is one issuer's settings and counts.
type issuer struct {
	settings atomic.Pointer[Settings] // nil: the defaults

	mu       sync.Mutex
	counts   Count
	underway int64
	resets   int64 // how often the counts were reset
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

func (i *issuer) reset() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.counts = Count{Peak: i.underway}
	i.resets++
}

// outcome is how a request ended.
type outcome int

const (
	left outcome = iota // before it was answered
	granted
	refused
)

// begin counts a request that has arrived. It is called again, once, with how that ended.
func (i *issuer) begin() (end func(outcome)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.counts.Requests++
	i.underway++
	i.counts.Peak = max(i.counts.Peak, i.underway)
	began := i.resets
	return func(o outcome) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.underway--
		switch {
		case began != i.resets: // it belongs to what was forgotten
		case o == granted:
			i.counts.Granted++
		case o == refused:
			i.counts.Refused++
		}
	}
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
