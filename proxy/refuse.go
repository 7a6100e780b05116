package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch"
	"freshet.dev/internal/wire"
)

// refused is why a request is not forwarded, or not answered.
type refused struct {
	why    *freshet.Error
	status int
	code   string // in a word, as clients and figures have it
}

func (e *refused) Error() string { return e.why.Error() }
func (e *refused) Unwrap() error { return e.why }

func refusal(kind freshet.Kind, status int, code, why string) *refused {
	return &refused{freshet.Errorf(kind, "%s", why), status, code}
}

var errTooLarge = refusal(freshet.Invalid, http.StatusRequestEntityTooLarge, "EntityTooLarge", "the body is larger than this proxy forwards")

// codes are the words for what an identity's failure comes to. They are statuses' names as AWS's clients have them, who print them.
var codes = map[freshet.Kind]string{
	freshet.Invalid: "InvalidRequest", freshet.LoginNeeded: "LoginNeeded", freshet.Denied: "AccessDenied", freshet.Unavailable: "ServiceUnavailable",
	freshet.Malformed: "BadGateway", freshet.Bug: "InternalError",
}

// failed answers what could not be forwarded. It is a ReverseProxy's ErrorHandler.
func failed(_ http.ResponseWriter, r *http.Request, err error) {
	exchangeOf(r.Context()).refuse(r, err)
}

// refuse answers with the error that the upstream's clients can read. A caller that has left is answered nothing.
func (x *exchange) refuse(r *http.Request, err error) {
	w := &x.answer
	e := x.explain(err)
	x.Refused = e.code
	if e.status == 0 {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	contentType, body := x.route.cfg.Signer.Explain(e.status, e.code, wire.Message(e.why))
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("Freshet-Error", e.code) // tells freshet's own answers from the upstream's
	wire.TellRetryAfter(h, e.why)
	switch e.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="freshet"`)
	case http.StatusMethodNotAllowed:
		h.Set("Allow", strings.Join(x.route.methods(), ", "))
	}
	if (x.Err() != nil || x.body.ReadCloser != nil && !x.body.ended.Load()) && r.ProtoMajor == 1 {
		h.Set("Connection", "close") // rather than read what nobody wants
	}
	w.WriteHeader(e.status)
	_, _ = w.Write(body) // net/http leaves it out for HEAD
}

// explain says what an error is to the caller; status 0 is for one that has left.
func (x *exchange) explain(err error) *refused {
	cause := context.Cause(x)
	switch own, tooLarge, ours := (*refused)(nil), (*http.MaxBytesError)(nil), (*freshet.Error)(nil); {
	case errors.Is(cause, errIdle):
		return refusal(freshet.Unavailable, http.StatusGatewayTimeout, "GatewayTimeout", "no byte passed for "+x.route.cfg.Idle.String())
	case errors.Is(cause, errSlow):
		return refusal(freshet.Unavailable, http.StatusGatewayTimeout, "GatewayTimeout", "the request could not be sent within "+x.route.cfg.Write.String())
	case errors.Is(cause, errClosed):
		return refusal(freshet.Unavailable, http.StatusServiceUnavailable, "ServiceUnavailable", "this proxy has ended")
	case cause != nil:
		return &refused{freshet.AsError(cause), 0, "left"}
	case errors.As(err, &own):
		return own
	case errors.As(err, &tooLarge):
		return errTooLarge
	case errors.As(err, &ours):
		status := wire.Status(ours.Kind)
		if ours.Kind == freshet.Invalid {
			status = http.StatusForbidden // the configuration's fault, not the request's
		}
		return &refused{ours, status, codes[ours.Kind]}
	case errors.Is(err, errBody):
		return refusal(freshet.Invalid, http.StatusBadRequest, "IncompleteBody", "the request's body ended early, or could not be read")
	}
	status, code := http.StatusBadGateway, "BadGateway"
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		status, code = http.StatusGatewayTimeout, "GatewayTimeout"
	}
	return &refused{fetch.Failure(&http.Request{URL: x.route.cfg.Upstream}, err), status, code}
}
