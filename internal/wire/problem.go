package wire

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"freshet.dev/freshet"
)

// Problem is an error's document (RFC 9457).
type Problem struct {
	Type       string       `json:"type"` // about:blank: kind says what it is
	Title      string       `json:"title"`
	Status     int          `json:"status"`
	Detail     string       `json:"detail"`
	Kind       freshet.Kind `json:"kind"`
	Hint       string       `json:"hint,omitempty"`
	RetryAfter float64      `json:"retry_after,omitempty"` // seconds
	Identity   string       `json:"identity,omitempty"`
	Source     string       `json:"source,omitempty"`
	Why        string       `json:"why,omitempty"`
}

// Status is the HTTP status of an error's kind on the local API.
func Status(k freshet.Kind) int {
	switch k {
	case freshet.Invalid:
		return http.StatusBadRequest
	case freshet.LoginNeeded:
		return http.StatusUnauthorized
	case freshet.Denied:
		return http.StatusForbidden
	case freshet.Unavailable:
		return http.StatusServiceUnavailable
	case freshet.Malformed:
		return http.StatusBadGateway
	}
	return http.StatusInternalServerError
}

// ProblemOf renders an error with its kind's status.
func ProblemOf(err error) Problem {
	e := freshet.AsError(err)
	return Problem{Type: "about:blank", Title: string(e.Kind), Status: Status(e.Kind), Detail: e.Error(), Kind: e.Kind, Hint: e.Hint,
		Identity: e.Identity, Source: e.Source, Why: e.Why,
		// What is left of a block is a few nanoseconds off the second that its issuer said.
		RetryAfter: e.RetryAfter.Round(time.Millisecond).Seconds()}
}

// Write answers with the document.
func (p Problem) Write(w http.ResponseWriter) {
	h := w.Header()
	if p.RetryAfter > 0 {
		h.Set("Retry-After", RetryAfter(time.Duration(p.RetryAfter*float64(time.Second))))
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// RetryAfter is a duration as the header has it: whole seconds (RFC 9110 §10.2.3), rounded up and never 0.
func RetryAfter(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}

// maxRetryAfter bounds what is believed of a document.
const maxRetryAfter = 24 * time.Hour

// Err is the inverse of [ProblemOf].
func (p Problem) Err() *freshet.Error {
	e := &freshet.Error{Kind: p.Kind, Identity: p.Identity, Source: p.Source, Why: p.Why, Hint: p.Hint,
		RetryAfter: time.Duration(min(max(p.RetryAfter, 0), maxRetryAfter.Seconds()) * float64(time.Second))}
	switch e.Kind {
	case freshet.Invalid, freshet.LoginNeeded, freshet.Denied, freshet.Unavailable, freshet.Malformed, freshet.Bug:
	default: // none, or one of a later version's
		e.Kind = freshet.Unavailable
	}
	if e.Why == "" {
		e.Why = p.Detail
	}
	return e
}
