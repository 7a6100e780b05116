// Package client speaks the daemon's local API. Its [Client.Source] is a freshet.Source, so that a program can use a daemon's
// identity wherever it could use an issuer.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"freshet.dev/broker"
	"freshet.dev/freshet"
	"freshet.dev/internal/socket"
	"freshet.dev/internal/wire"
)

// Client talks to one daemon. Its methods may be called by many goroutines; errors are [*freshet.Error]s.
type Client struct {
	http   *http.Client
	header http.Header
}

// Config says which daemon, and as whom.
type Config struct {
	Socket string // path
	// ConfigHash is the digest of the configuration that the daemon must run; "" accepts any.
	ConfigHash string
	// Ancestry are the retrievals that this process runs within; see [freshet.WithAncestry].
	Ancestry []string
}

// New makes a client. It connects when it is first used.
func New(cfg Config) *Client {
	h := http.Header{}
	if cfg.ConfigHash != "" {
		h.Set("Freshet-Config", cfg.ConfigHash)
	}
	if len(cfg.Ancestry) > 0 {
		h.Set("Freshet-Ancestry", strings.Join(cfg.Ancestry, ","))
	}
	return &Client{header: h, http: &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return socket.Dial(ctx, cfg.Socket) },
		DisableCompression: true,
		IdleConnTimeout:    time.Minute, // the daemon closes its end after two: whoever keeps it longer finds a dead one
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Close closes the connections that are kept for the next request.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// maxReply bounds what is read of a reply.
const maxReply = 4 << 20

// maxStatus bounds a status: some 300 bytes for each of a cache's keys.
const maxStatus = 64 << 20

// Credential asks for a credential.
func (c *Client) Credential(ctx context.Context, identity string, req freshet.Request) (freshet.Answer, error) {
	if req.Subject != "" || req.CAE {
		return freshet.Answer{}, freshet.Errorf(freshet.Invalid, "a daemon cannot be asked for a subject or CAE")
	}
	path, err := pathOf(identity, "credential")
	if err != nil {
		return freshet.Answer{}, err
	}
	sent := freshet.Now()
	var doc wire.Credential
	if err := c.call(ctx, "POST", path, wire.RequestOf(req), &doc); err != nil {
		return freshet.Answer{}, err
	}
	a, err := doc.Answer(sent)
	if err != nil {
		return freshet.Answer{}, err
	}
	return a, nil
}

// pathOf is the path of an identity's route. A name that a path would swallow is nobody's.
func pathOf(identity, route string) (string, error) {
	if identity == "" || path.Clean("/"+identity) != "/"+identity {
		return "", freshet.Errorf(freshet.Invalid, "unknown identity %q", identity)
	}
	return "/v1/identities/" + url.PathEscape(identity) + "/" + route, nil
}

// Source is an identity as a freshet.Source. It varies by what the daemon can be asked; the daemon refuses what the identity's
// own source cannot vary by.
func (c *Client) Source(identity string) freshet.Source { return source{c, identity} }

type source struct {
	client   *Client
	identity string
}

func (s source) Retrieve(ctx context.Context, req freshet.Request) (*freshet.Credential, error) {
	a, err := s.client.Credential(ctx, s.identity, req)
	return a.Credential, err
}

// Varies implements freshet.Varier.
func (s source) Varies() freshet.Fields {
	return freshet.FieldTenant | freshet.FieldScopes | freshet.FieldAudience | freshet.FieldClaims
}

// Reject says that a service refused the version with this fingerprint.
func (c *Client) Reject(ctx context.Context, identity, fingerprint string) error {
	path, err := pathOf(identity, "reject")
	if err != nil {
		return err
	}
	return c.call(ctx, "POST", path, map[string]string{"fingerprint": fingerprint}, nil)
}

// Unblock has the daemon forget the failures that keep an identity from being retrieved. It is for the daemon's own user and root.
func (c *Client) Unblock(ctx context.Context, identity string) error {
	path, err := pathOf(identity, "unblock")
	if err != nil {
		return err
	}
	return c.call(ctx, "POST", path, struct{}{}, nil)
}

// Status is what the daemon tells of itself and of the identities that the caller may use; no secret is in it.
type Status struct {
	wire.Running
	broker.Status
}

// Status asks for the daemon's status. It takes the daemon O(keys).
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	resp, err := c.send(ctx, "GET", "/v1/status", struct{}{})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body := &io.LimitedReader{R: resp.Body, N: maxStatus}
	if err := json.NewDecoder(body).Decode(&s); err != nil {
		if body.N <= 0 {
			return nil, freshet.Errorf(freshet.Unavailable, "the daemon's status is over %d MiB", maxStatus>>20)
		}
		return nil, unreadable(ctx, err, errCut)
	}
	return &s, nil
}

// Session is a door that the daemon keeps open until Close, or until this process ends.
type Session struct {
	wire.SessionOpened
	open
}

// OpenSession opens a session for identities. Where an issuer fails and nothing valid is to be had, it waits as long as hold.
func (c *Client) OpenSession(ctx context.Context, identities []string, hold time.Duration) (*Session, error) {
	var s Session
	var err error
	s.open, err = c.keep(ctx, "/v1/sessions", wire.SessionOf(identities, hold), &s.SessionOpened, "session")
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// ProxyRoute is a route of the signing proxy that the daemon keeps open until Close, or until this process ends.
type ProxyRoute struct {
	wire.ProxyOpened
	open
}

// OpenProxy opens a route. The identity is retrieved once; the request says how long to wait for an issuer that fails.
func (c *Client) OpenProxy(ctx context.Context, spec wire.Proxy) (*ProxyRoute, error) {
	var p ProxyRoute
	var err error
	p.open, err = c.keep(ctx, "/v1/proxies", spec, &p.ProxyOpened, "proxy")
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// open is a reply whose first line was read, and that lasts.
type open struct {
	body io.ReadCloser
	rest *bufio.Reader
}

// keep makes a request whose reply stays open, and reads its first line.
func (c *Client) keep(ctx context.Context, path string, body, into any, what string) (open, error) {
	resp, err := c.send(ctx, "POST", path, body)
	if err != nil {
		return open{}, err
	}
	o := open{body: resp.Body, rest: bufio.NewReader(io.LimitReader(resp.Body, maxReply))}
	line, err := o.rest.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, into)
	}
	if err != nil {
		resp.Body.Close()
		return open{}, freshet.Errorf(freshet.Unavailable, "the daemon ended before the %s had begun", what)
	}
	return o, nil
}

// Wait returns when the daemon has ended it: it stopped.
func (o open) Wait() { _, _ = io.Copy(io.Discard, o.rest) }

// Close ends it.
func (o open) Close() error { return o.body.Close() }

func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(into); err != nil {
		return unreadable(ctx, err, errCut)
	}
	return nil
}

// send makes a request, and turns every status but 2xx into its error.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	return c.ask(ctx, method, path, body, "")
}

// ask is send, which may ask for a change of protocol; 101 is no error then.
func (c *Client) ask(ctx context.Context, method, path string, body any, upgrade string) (*http.Response, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, freshet.Errorf(freshet.Bug, "request cannot be encoded")
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://freshet"+path, bytes.NewReader(b))
	if err != nil {
		return nil, freshet.Errorf(freshet.Invalid, "not an identity's name")
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/json")
	// Every request may be sent again, and this says so to net/http without going on the wire: a kept connection may be one to
	// a daemon that has restarted since.
	req.Header["Idempotency-Key"] = nil
	if upgrade != "" {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", upgrade)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreadable(ctx, err, ErrDied)
	}
	if resp.StatusCode/100 == 2 || upgrade != "" && resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, nil
	}
	defer resp.Body.Close()
	var p wire.Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(&p); err != nil || p.Detail == "" {
		return nil, freshet.Errorf(freshet.Unavailable, "the daemon answered %d, and not in its own way", resp.StatusCode)
	}
	return nil, p.Err()
}

// unreadable is the error of a request that got no answer: the caller's context, the dialer's own, or the daemon's death.
func unreadable(ctx context.Context, err, death error) error {
	if ctx.Err() != nil {
		return freshet.AsError(ctx.Err())
	}
	if e, ok := errors.AsType[*freshet.Error](err); ok {
		return e
	}
	e := freshet.Errorf(freshet.Unavailable, "the daemon ended before it answered").WithHint("see its log, and start it again: freshet serve")
	e.Cause = death
	return e
}

// ErrDied is the cause of the error of a request whose daemon ended before a byte of an answer had come; all of them may be made
// again. It, and errCut, stand in place of the network's error: the engine takes three of those in a row for an issuer's outage, and
// leaves that alone for seconds and more, while a daemon is back at once.
var ErrDied = errors.New("connection lost")

// errCut is the same of an answer that had begun.
var errCut = errors.New("connection lost in an answer")
