package proxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"freshet.dev/freshet"
)

// replays is what has come of a request's attempts.
type replays struct {
	n        int // attempts made
	left     int // retries after an answer that is the upstream's trouble
	rejected bool
	resigned bool
	signed   bool // one of them, at least

	response *http.Response // of the attempt before, until it is known whether there is another; nil: it is dropped
	refused  string         // the version that it refused
}

// drop lets go of the answer of an attempt that another follows.
func (a *replays) drop() {
	a.response.Body.Close()
	a.response = nil
}

// judge decides whether an answer is the caller's, or the request is to be sent again, once what it waits for has passed. c is what
// it was signed with; nil: nothing.
func (a *replays) judge(x *exchange, p *payload, resp *http.Response, c *freshet.Credential, want *freshet.Request) (again bool, err error) {
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		if c == nil {
			return false, nil
		}
		return a.about(x, p, resp, c, want), nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		wait, ok := a.worthRetrying(x, resp)
		if !ok || !p.claim() {
			return false, nil
		}
		a.left--
		resp.Body.Close()
		x.Replays++
		return true, pause(resp.Request.Context(), wait)
	}
	return false, nil
}

// maxHead is how much of an answer's body a signer is shown.
const maxHead = 64 << 10

// about looks at an answer that may be about the credential.
func (a *replays) about(x *exchange, p *payload, resp *http.Response, c *freshet.Credential, want *freshet.Request) (again bool) {
	cfg := &x.route.cfg
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxHead))
	resp.Body = joined{io.MultiReader(bytes.NewReader(head), failing{err}, resp.Body), resp.Body}
	v := cfg.Signer.Judge(resp, head)
	switch {
	case v.Rejected || v.Claims != "":
		x.Rejections++
		if a.rejected || !p.replayable() {
			_ = cfg.Door.Reject(cfg.Identity, c.Fingerprint()) // whoever comes next is not given it again
			return false
		}
		a.rejected = true
		want.Rejected, want.Claims = c.Fingerprint(), v.Claims
		a.response, a.refused = resp, c.Fingerprint()
		return true
	case v.Resign && !a.resigned && p.claim():
		a.resigned = true
		resp.Body.Close()
		x.Replays++
		return true
	}
	return false
}

const (
	// firstPause is before a request is repeated whose upstream does not say when. A client that repeats by itself waits as long.
	firstPause = 200 * time.Millisecond
	// maxPause is the longest that the proxy waits. An upstream that wants to be left alone for longer is the caller's to wait for.
	maxPause = 5 * time.Second
)

// worthRetrying reports whether a request may be repeated after this answer, and when. What an upstream did not take (429 with a
// time) may be repeated whatever it was; what failed on the way, if twice is as good as once.
func (a *replays) worthRetrying(x *exchange, resp *http.Response) (time.Duration, bool) {
	if a.left <= 0 {
		return 0, false
	}
	header := resp.Header.Get("Retry-After")
	wait := firstPause
	if header != "" {
		seconds, err := strconv.Atoi(header)
		if err != nil || seconds < 0 || time.Duration(seconds) > maxPause/time.Second {
			return 0, false
		}
		wait = max(firstPause, time.Duration(seconds)*time.Second)
	}
	if resp.StatusCode == http.StatusTooManyRequests && header != "" {
		return wait, true
	}
	return wait, x.repeatable || idempotent(resp.Request)
}

// idempotent reports whether a request may be sent twice (RFC 9110 §9.2.2, and the Idempotency-Key header).
func idempotent(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return r.Header.Get("Idempotency-Key") != ""
}

// pause waits, unless the caller leaves.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// joined is a body some of which was read, put together again.
type joined struct {
	io.Reader
	io.Closer
}

// failing is a reader of what reading came to: an error, or nothing.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}
