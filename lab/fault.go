package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
)

// Kind is a kind of fault.
type Kind string

// The kinds of faults.
const (
	Throttle  Kind = "throttle"  // it says that too much is asked of it, as this issuer says that
	Malformed Kind = "malformed" // it answers what is not a credential, or not one to use
	Outage    Kind = "outage"    // it does not answer, breaks off, or says that it is down
	Slow      Kind = "slow"      // it takes longer
	Skew      Kind = "skew"      // its clock is off
)

// Kinds are all kinds, in their order.
func Kinds() []Kind { return []Kind{Throttle, Malformed, Outage, Slow, Skew} }

// Ways are how a kind of fault can show; the first is what a fault without a How does. A kind that shows in one way has none.
//
//	throttle   seconds (of Retry-After), date (the same as an HTTP date)
//	malformed  truncated (half of the answer, as though that were all), short (half, of a length that promises the whole),
//	           types (values of other types), html (a page, with status 200), error (an error's body, with status 200),
//	           expired (a credential that has expired already), again (from the first answer on, that one again)
//	outage     5xx (a status, in the issuer's words), refused (reset before an answer), hang (no answer until the client leaves
//	           or the fault ends), reset (in the middle of the answer)
func (k Kind) Ways() []string {
	switch k {
	case Throttle:
		return []string{waySeconds, wayDate}
	case Malformed:
		return []string{wayTruncated, wayShort, wayTypes, wayHTML, wayError, wayExpired, wayAgain}
	case Outage:
		return []string{way5xx, wayRefused, wayHang, wayReset}
	}
	return nil
}

const (
	waySeconds, wayDate                       = "seconds", "date"
	wayTruncated, wayShort, wayTypes, wayHTML = "truncated", "short", "types", "html"
	wayError, wayExpired, wayAgain            = "error", "expired", "again"
	way5xx, wayRefused, wayHang, wayReset     = "5xx", "refused", "hang", "reset"
	defaultFor, maxFor                        = 10 * time.Minute, 24 * time.Hour
	defaultStatus                             = 503
	maxRetryAfter                             = 24 * time.Hour
	maxClockSkew                              = 24 * time.Hour
	maxFaults                                 = 64 // of an issuer: one of each kind for a dozen tenants
)

// Fault is what shall be wrong with an issuer, and for how long. It touches requests for credentials alone, and all that an API is
// asked: neither metadata and keys, nor STS's GetCallerIdentity.
//
// In JSON its durations are text, such as "90s", and what is zero is left out.
type Fault struct {
	Kind Kind
	// How is one of the kind's ways; "": the first.
	How string
	// Tenant is whose requests are touched: a tenant of Entra or az, or the account of the role that STS is asked for; "": all.
	Tenant string
	// Probability is how many of the requests are touched, over 0 and up to 1; 0: all.
	Probability float64
	// Seed is where the stream of chances begins: the same requests in the same order, the same outcomes.
	Seed uint64
	// For is how long it lasts, up to a day; 0: ten minutes. It ends by itself, however the wall clock is set.
	For time.Duration
	// RetryAfter is what a throttle, or an outage with a status, says as Retry-After, in whole seconds; 0: nothing.
	RetryAfter time.Duration
	// Status is an outage's, 500 to 599; 0: 503.
	Status int
	// By is how much longer it takes, or how far its clock is ahead (behind, if it is negative).
	By time.Duration
	// Jitter is a random part on top of a slow issuer's By, at most.
	Jitter time.Duration
}

// Check says what is wrong with a fault for an issuer. Errors are of kind Invalid.
func (f Fault) Check(issuer string) error {
	if !slices.Contains(Issuers(), issuer) {
		return freshet.Errorf(freshet.Invalid, "lab: unknown issuer %q", issuer).WithHint("there are %s", list(Issuers()))
	}
	err := f.check()
	if err == nil {
		err = checkTenant(issuer, f.Tenant)
	}
	if err != nil {
		return freshet.Errorf(freshet.Invalid, "lab: %s: %s", issuer, err)
	}
	return nil
}

func (f Fault) check() error {
	ways := f.Kind.Ways()
	switch {
	case !slices.Contains(Kinds(), f.Kind):
		return fmt.Errorf("unknown fault %q: there are %s", f.Kind, list(words(Kinds())))
	case f.How != "" && len(ways) == 0:
		return fmt.Errorf("how: there is one way of %s alone; leave it out", f.Kind)
	case f.How != "" && !slices.Contains(ways, f.How):
		return fmt.Errorf("how: there is no %s of this name: there are %s", f.Kind, list(ways))
	case !(f.Probability >= 0 && f.Probability <= 1): // and no NaN
		return errors.New("probability: want a number over 0, and up to 1")
	case f.For < 0 || f.For > maxFor:
		return errors.New("for: want a duration up to 24h")
	case f.RetryAfter < 0 || f.RetryAfter > maxRetryAfter || f.RetryAfter%time.Second != 0:
		return errors.New("retry_after: want whole seconds, at most 24h")
	case f.RetryAfter != 0 && f.Kind != Throttle && !f.has(Outage, way5xx):
		return errors.New("retry_after: only a throttle, or an outage with a status, says that")
	case f.has(Throttle, wayDate) && f.RetryAfter == 0:
		return errors.New("how: date: of what retry_after there shall be; give that too")
	case f.Status != 0 && !f.has(Outage, way5xx):
		return errors.New("status: only an outage has one")
	case f.Status != 0 && (f.Status < 500 || f.Status > 599):
		return errors.New("status: want 500 to 599")
	case f.By != 0 && f.Kind != Slow && f.Kind != Skew:
		return errors.New("by: only slow and skew are by a duration")
	case f.Kind == Slow && (f.By <= 0 || f.By > maxLatency):
		return errors.New("by: how much longer it takes, up to 5m, is missing")
	case f.Kind == Skew && (f.By == 0 || f.By.Abs() > maxClockSkew):
		return errors.New("by: how far its clock is off, such as 90s or -90s, up to 24h, is missing")
	case f.Jitter != 0 && (f.Kind != Slow || f.Jitter < 0 || f.Jitter > maxLatency-f.By):
		return errors.New("jitter: only slow has it, up to 5m together with by")
	}
	return nil
}

// has reports whether it is of a kind, and shows in a way.
func (f Fault) has(k Kind, how string) bool {
	return f.Kind == k && (f.How == how || f.How == "" && k.Ways()[0] == how)
}

// whole is the fault with its defaults filled in.
func (f Fault) whole() Fault {
	if ways := f.Kind.Ways(); f.How == "" && len(ways) > 0 {
		f.How = ways[0]
	}
	if f.Probability == 0 {
		f.Probability = 1
	}
	if f.For == 0 {
		f.For = defaultFor
	}
	if f.has(Outage, way5xx) && f.Status == 0 {
		f.Status = defaultStatus
	}
	return f
}

// String is its kind and its way, such as "outage 5xx".
func (f Fault) String() string {
	if f.How == "" {
		return string(f.Kind)
	}
	return string(f.Kind) + " " + f.How
}

// words are kinds as text.
func words(kinds []Kind) []string {
	text := make([]string, len(kinds))
	for i, k := range kinds {
		text[i] = string(k)
	}
	return text
}

// faultJSON is how a fault is written.
type faultJSON struct {
	Kind        Kind     `json:"kind"`
	How         string   `json:"how,omitzero"`
	Tenant      string   `json:"tenant,omitzero"`
	Probability *float64 `json:"probability,omitempty"`
	Seed        uint64   `json:"seed,omitzero"`
	For         duration `json:"for,omitzero"`
	RetryAfter  duration `json:"retry_after,omitzero"`
	Status      int      `json:"status,omitzero"`
	By          duration `json:"by,omitzero"`
	Jitter      duration `json:"jitter,omitzero"`
}

func (f Fault) text() faultJSON {
	j := faultJSON{f.Kind, f.How, f.Tenant, nil, f.Seed, duration(f.For), duration(f.RetryAfter), f.Status, duration(f.By), duration(f.Jitter)}
	if f.Probability != 0 {
		j.Probability = &f.Probability
	}
	return j
}

func (j faultJSON) fault() (Fault, error) {
	f := Fault{j.Kind, j.How, j.Tenant, 0, j.Seed, time.Duration(j.For), time.Duration(j.RetryAfter), j.Status, time.Duration(j.By), time.Duration(j.Jitter)}
	if j.Probability != nil {
		if f.Probability = *j.Probability; f.Probability == 0 {
			return f, errors.New("probability: want a number over 0, and up to 1")
		}
	}
	return f, nil
}

// MarshalJSON implements [json.Marshaler].
func (f Fault) MarshalJSON() ([]byte, error) { return json.Marshal(f.text()) }

// UnmarshalJSON implements [json.Unmarshaler]. A name that a fault does not have is an error, and so is a probability of 0.
func (f *Fault) UnmarshalJSON(text []byte) error {
	var j faultJSON
	if err := strictly(text, &j); err != nil {
		return err
	}
	got, err := j.fault()
	if err == nil {
		*f = got
	}
	return err
}

// strictly reads a JSON value, without names that v does not have.
func strictly(text []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// duration is one as JSON has it here: text, which may have a sign.
type duration time.Duration

func (d duration) MarshalText() ([]byte, error) {
	if d < 0 {
		return []byte("-" + field.Duration(-d).String()), nil
	}
	return []byte(field.Duration(d).String()), nil
}

func (d *duration) UnmarshalText(text []byte) error {
	digits, negative := strings.CutPrefix(string(text), "-")
	var got field.Duration
	if err := got.UnmarshalText([]byte(digits)); err != nil {
		return err
	}
	if *d = duration(got); negative {
		*d = -*d
	}
	return nil
}
