package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"freshet.dev/freshet"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/peer"
)

// Callers are who may send requests to a route. What is set must hold, all of it; over TCP, Secret or Certificates must be.
type Callers struct {
	// Secret is what they must know. They send it as Bearer token, as password of Basic, as API key (api-key, x-api-key,
	// x-goog-api-key), or sign with it as their secret access key (Signature Version 4, in the header or in a presigned URL), in
	// which case it does not travel. "" for none.
	Secret freshet.Secret
	// UIDs and GIDs are users of a Unix socket; with both empty, Owner alone.
	UIDs, GIDs []uint32
	Owner      uint32
	// Certificates tells that the server has verified their certificates.
	Certificates bool
}

type peerKey struct{}

// withPeer is a connection's context that knows who is at the other end of a Unix socket.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if c.LocalAddr().Network() != "unix" {
		return ctx
	}
	p, err := peer.Of(c)
	if err != nil {
		return ctx // nobody, who is let in nowhere
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// admit finds out who sends a request, and takes away what they showed for it. The errors' texts are for the caller.
func (c *Callers) admit(x *exchange, r *http.Request) (name string, err error) {
	return c.known(r, func() error { return c.secret(x, r) })
}

// known finds out who sends a request; secret checks that they show it, where there is one.
func (c *Callers) known(r *http.Request, secret func() error) (name string, err error) {
	known := false
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		p, ok := r.Context().Value(peerKey{}).(peer.Credentials)
		if !ok {
			return "", refusal(freshet.Denied, http.StatusForbidden, "AccessDenied", "the kernel does not say who you are")
		}
		if !c.User(p.UID, p.GIDs) {
			return "", refusal(freshet.Denied, http.StatusForbidden, "AccessDenied", fmt.Sprintf("uid %d may not use this proxy", p.UID))
		}
		name, known = fmt.Sprintf("uid:%d", p.UID), true
	}
	if c.Certificates {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			return "", refusal(freshet.Denied, http.StatusForbidden, "AccessDenied", "this proxy wants a client certificate")
		}
		name, known = "cert:"+r.TLS.PeerCertificates[0].Subject.CommonName, true
	}
	if c.Secret != "" {
		if err := secret(); err != nil {
			return "", err
		}
		if !known {
			name, known = "secret", true
		}
	}
	if !known {
		return "", refusal(freshet.Denied, http.StatusForbidden, "AccessDenied", "this proxy knows nobody here")
	}
	return name, nil
}

// User reports whether a user of this machine may use a Unix socket.
func (c *Callers) User(uid uint32, gids []uint32) bool {
	if len(c.UIDs) == 0 && len(c.GIDs) == 0 {
		return uid == c.Owner
	}
	return slices.Contains(c.UIDs, uid) || slices.ContainsFunc(gids, func(g uint32) bool { return slices.Contains(c.GIDs, g) })
}

// keyHeaders are where clients put an API key: Azure OpenAI's, Anthropic's and Amazon API Gateway's, Google's.
var keyHeaders = []string{"Api-Key", "X-Api-Key", "X-Goog-Api-Key"}

// secret checks that the request shows the secret, and takes it away wherever it stands.
func (c *Callers) secret(x *exchange, r *http.Request) error {
	if !c.shown(&x.route.secret, r) {
		return c.signature(x, r)
	}
	c.forget(r)
	return nil
}

// forget takes the secret away from a request.
func (c *Callers) forget(r *http.Request) {
	for name, values := range r.Header {
		if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, string(c.Secret)) }) {
			delete(r.Header, name)
		}
	}
}

// shown reports whether one of the places for a key holds the secret.
func (c *Callers) shown(want *guard.Secret, r *http.Request) bool {
	for _, name := range keyHeaders {
		if values := r.Header[name]; len(values) == 1 && want.Equal(values[0]) {
			return true
		}
	}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") && want.Equal(strings.TrimSpace(token)) {
		return true
	}
	_, password, ok := r.BasicAuth()
	return ok && want.Equal(password)
}
