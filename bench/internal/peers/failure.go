package peers

import (
	"errors"
	"net/http"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/freshet"
)

// failure is an issuer's refusal as a source of freshet tells it.
func failure(err error) error {
	r, ok := errors.AsType[*issuer.Refusal](err)
	if !ok {
		return &freshet.Error{Kind: freshet.Unavailable, Why: "token request failed", Cause: err}
	}
	e := &freshet.Error{
		Kind: freshet.Unavailable, Why: "issuer: " + r.Code, Status: r.Status, RetryAfter: r.RetryAfter, Cause: err,
	}
	if r.Status >= 400 && r.Status < 500 && r.Status != http.StatusTooManyRequests {
		e.Kind = freshet.Denied
	}
	return e
}
