package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"freshet.dev/freshet"
	"freshet.dev/proxy"
)

const (
	maxMessage = 16 << 20 // bytes of one message; the SDK's own bound of an event
	maxFault   = 64 << 10 // of an answer that tells of an error
)

// repeatKey marks the context of requests that may be sent twice; budgetKey holds how many bytes more a request's answers may have.
type (
	repeatKey struct{}
	budgetKey struct{}
)

// attemptKey is where a request's context has what is to be known of its answer beside what the SDK makes of it.
type attemptKey struct{}

// attempt is what becomes of one message that is sent to an upstream.
type attempt struct {
	sent       atomic.Bool                     // at least in part: the upstream may have begun
	untaken    atomic.Bool                     // the upstream knew no such session, and so has not begun
	structured atomic.Pointer[json.RawMessage] // the result's structuredContent, digit by digit
	broken     atomic.Pointer[freshet.Error]   // what is wrong with its answer, of which the SDK has an error of JSON-RPC made in its place
}

func attemptOf(ctx context.Context) *attempt {
	t, _ := ctx.Value(attemptKey{}).(*attempt)
	return t
}

// traced is the request whose sending is noted.
func (t *attempt) traced(req *http.Request) *http.Request {
	if t == nil {
		return req
	}
	return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{WroteHeaders: func() { t.sent.Store(true) }}))
}

// unclear reports whether the upstream may have done what was asked all the same. Where it has said no, it has not.
func (t *attempt) unclear(err error) bool {
	if !t.sent.Load() || remote(err) != nil {
		return false
	}
	e, ok := errors.AsType[*freshet.Error](err)
	return !ok || (e.Kind == freshet.Unavailable || e.Kind == freshet.Malformed) && (e.Status < 300 || e.Status >= 500)
}

// keep looks for what the SDK's decoding alters: integers over 2^53.
func (t *attempt) keep(answer []byte) {
	if t == nil || !bytes.Contains(answer, []byte(`"structuredContent"`)) {
		return
	}
	var whole, result map[string]json.RawMessage
	if json.Unmarshal(answer, &whole) != nil || json.Unmarshal(whole["result"], &result) != nil {
		return
	}
	if text := result["structuredContent"]; len(text) > 0 && string(text) != "null" {
		t.structured.Store(&text)
	}
}

// round sends the requests of one upstream session. The SDK gives its whole session up where an answer is none; round lets the
// request alone fail, and says why.
type round struct {
	name     string // the upstream's
	caller   string
	next     http.RoundTripper
	panicked func(during string, with any) *freshet.Error // [Bridge.fault]
	lost     atomic.Bool                                  // the upstream does not know the session any more
	arrived  atomic.Int64                                 // notifications that answers have had
	early    sync.Map                                     // IDs of calls that were cancelled before the upstream had begun to answer
	cancels  counter                                      // calls whose cancelling the upstream was told of
	met      atomic.Bool                                  // the upstream has answered while the session was opened: what fails now is a request's own matter

	// unsent is why what was to open the session could not be sent. The SDK then tries the older era, which would wait once more for
	// the same credential.
	unsent atomic.Pointer[freshet.Error]
}

// RoundTrip implements [http.RoundTripper].
func (r *round) RoundTrip(req *http.Request) (*http.Response, error) {
	repeat, _ := req.Context().Value(repeatKey{}).(bool)
	req = req.WithContext(proxy.WithOutbound(req.Context(), proxy.Outbound{Caller: r.caller, Repeatable: repeat}))
	switch {
	case req.Method == http.MethodDelete && r.lost.Load():
		return &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
	case req.Method == http.MethodGet && req.Header.Get("Last-Event-ID") == "":
		return r.listen(req), nil
	case req.Method == http.MethodGet:
		resp, err := r.next.RoundTrip(req) // the rest of an answer that broke off
		if err == nil && resp.StatusCode == http.StatusOK {
			resp.Body = r.events(req, resp.Body, nil)
		}
		return resp, err
	case req.Method == http.MethodDelete:
		return r.part(req)
	case req.Method != http.MethodPost:
		return r.next.RoundTrip(req)
	}
	if err := r.unsent.Load(); err != nil && !r.met.Load() {
		return nil, err
	}
	sent := header(req)
	if sent.Method == "notifications/cancelled" {
		defer r.cancels.add(1)
		r.after(req.Context(), string(sent.Params.RequestID))
	}
	if sent.ID != nil {
		heard(req.Context(), false)
		req = attemptOf(req.Context()).traced(req)
	}
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		if sent.ID != nil && req.Context().Err() != nil {
			r.early.Store(string(sent.ID), struct{}{})
		}
		if e, ok := errors.AsType[*freshet.Error](err); ok && !r.met.Load() {
			r.unsent.CompareAndSwap(nil, e)
		}
		return nil, err
	}
	r.met.Store(true)
	if resp.StatusCode >= 300 {
		code := resp.StatusCode
		resp, err := r.fault(req, resp)
		if t := attemptOf(req.Context()); t != nil && err == errLost && code == http.StatusNotFound && sent.Method == "tools/call" {
			t.untaken.Store(true)
		}
		return resp, err
	}
	if sent.ID == nil {
		return resp, nil
	}
	switch kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind {
	case "text/event-stream":
		resp.Body = r.events(req, resp.Body, sent.ID)
		return resp, nil
	case "application/json":
		return r.whole(req, resp, sent)
	default:
		resp.Body.Close()
		return nil, r.malformed("what it answered is no message of MCP").WithHint("check the address of the upstream")
	}
}

// lastWord is how long an upstream may take to hear that a session ends. Whoever ends it waits.
const lastWord = time.Second

// part ends a session at the upstream.
func (r *round) part(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), lastWord)
	resp, err := r.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = released{resp.Body, cancel}
	return resp, nil
}

// released is a body that has something let go once it is closed.
type released struct {
	io.ReadCloser
	release func()
}

// Close implements [io.Closer].
func (r released) Close() error {
	defer r.release()
	return r.ReadCloser.Close()
}

// heardKey is where a request's context has whether its answer has come, and is one of JSON-RPC: what is wrong with it then, the
// connection is not to blame for.
type heardKey struct{}

func heard(ctx context.Context, is bool) {
	if h, ok := ctx.Value(heardKey{}).(*atomic.Bool); ok {
		h.Store(is)
	}
}

// sent is what is looked at of a message.
type sent struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		RequestID json.RawMessage `json:"requestId"`
	} `json:"params"`
}

// overtake is how long the cancelling of a call waits for the call, which goes by a connection of its own.
const overtake = 200 * time.Millisecond

// after holds the cancelling of a call back that the upstream may not have read yet: it would be of nothing, and the call go on.
func (r *round) after(ctx context.Context, id string) {
	if _, early := r.early.LoadAndDelete(id); !early {
		return
	}
	t := time.NewTimer(overtake)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func header(req *http.Request) (s sent) {
	if req.GetBody == nil {
		return s
	}
	body, err := req.GetBody()
	if err != nil {
		return s
	}
	defer body.Close()
	_ = json.NewDecoder(body).Decode(&s)
	if s.Method == "" { // an answer to the upstream is no call
		s.ID = nil
	}
	return s
}

// whole is an answer of one message, read to its end and known to be the one that was asked for.
func (r *round) whole(req *http.Request, resp *http.Response, sent sent) (*http.Response, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage+1))
	switch {
	case err != nil && req.Context().Err() != nil:
		return nil, context.Cause(req.Context())
	case err != nil:
		return nil, &freshet.Error{Kind: freshet.Unavailable, Why: r.name + ": the answer broke off", Cause: err}
	case len(body) > maxMessage:
		return nil, r.malformed("an answer over 16 MiB")
	case !budgetOf(req).take(len(body)):
		return nil, r.malformed("answers without an end")
	}
	message, err := jsonrpc.DecodeMessage(body)
	answer, ok := message.(*jsonrpc.Response)
	if err != nil || !ok {
		if e := errorIn(body); e != nil { // of a server that did not get as far as the id
			return nil, answered{e}
		}
		return nil, r.malformed("what it answered is no message of JSON-RPC")
	}
	if id, err := json.Marshal(answer.ID.Raw()); err != nil || !bytes.Equal(id, sent.ID) {
		return nil, r.malformed("it answered another request than it was asked")
	}
	attemptOf(req.Context()).keep(body)
	heard(req.Context(), true)
	switch mended, ok := mend(answer); {
	case !ok:
		return nil, r.malformed(noQuestion)
	case mended != nil:
		body = mended
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// fault turns an answer that is no success into an error. Only its status is shown: a body may hold anything. An error of JSON-RPC is
// left to the SDK where it looks for one.
func (r *round) fault(req *http.Request, resp *http.Response) (*http.Response, error) {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxFault))
	resp.Body.Close()
	told := errorIn(body)
	e := &freshet.Error{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	switch code := resp.StatusCode; {
	case req.Header.Get("Mcp-Session-Id") != "" && (code == 404 || code == 400 && told != nil && strings.Contains(strings.ToLower(told.Message), "session")):
		// Servers of the TypeScript SDK say 400 and "no valid session ID"; the specification says 404.
		r.lost.Store(true)
		return nil, errLost
	case code == 401:
		e.Kind, e.Why = freshet.Denied, "the upstream does not take this identity's credential (401)"
		e.Hint = "check that the identity, its audience and its scopes are the upstream's"
	case code == 403:
		e.Kind, e.Why = freshet.Denied, "the upstream does not allow this identity that (403)"
	case code == 429:
		e.Kind, e.Why = freshet.Unavailable, "the upstream is asked too much (429)"
	case told != nil && code >= 500:
		return nil, answered{told}
	case told != nil:
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return resp, nil
	case code >= 500:
		e.Kind, e.Why = freshet.Unavailable, "the upstream is in trouble ("+strconv.Itoa(code)+")"
	case code < 400:
		e.Kind, e.Why, e.Hint = freshet.Invalid, "the upstream leads elsewhere ("+strconv.Itoa(code)+"), and is not followed", "name the address that it leads to"
	default:
		e.Kind, e.Why, e.Hint = freshet.Malformed, "the upstream does not take this ("+strconv.Itoa(code)+")", "check the address of the upstream"
	}
	e.Why = r.name + ": " + e.Why
	return nil, e
}

// errorIn is the error of JSON-RPC in a body, or nil. Its id may be null, which the SDK does not read.
func errorIn(body []byte) *jsonrpc.Error {
	var m struct {
		Version string         `json:"jsonrpc"`
		Error   *jsonrpc.Error `json:"error"`
	}
	if json.Unmarshal(body, &m) != nil || m.Version != "2.0" {
		return nil
	}
	return m.Error
}

func (r *round) malformed(why string) *freshet.Error {
	return &freshet.Error{Kind: freshet.Malformed, Why: r.name + ": " + why}
}

// retryAfter reads seconds or a date (RFC 9110 §10.2.3), up to an hour.
func retryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return min(time.Duration(min(n, 3600))*time.Second, time.Hour)
	}
	if t, err := http.ParseTime(text); err == nil {
		return min(max(t.Sub(freshet.Now().Wall()), 0), time.Hour)
	}
	return 0
}

// budget is what may still be read for one request of an agent.
type budget struct{ left atomic.Int64 }

func budgetOf(req *http.Request) *budget {
	b, _ := req.Context().Value(budgetKey{}).(*budget)
	return b
}

func (b *budget) take(n int) bool { return b == nil || b.left.Add(int64(-n)) >= 0 }
