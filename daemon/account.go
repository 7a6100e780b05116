package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"sync"

	"freshet.dev/broker"
	"freshet.dev/builtin"
	"freshet.dev/freshet"
	"freshet.dev/internal/signing"
	"freshet.dev/proxy"
)

// account is how a bridge's requests to an upstream go in one identity's name. The route is made by the first of them where what
// signs depends on what the identity consists of, and that is not known before it is retrieved.
type account struct {
	*Bridges
	cfg    proxy.Config // but for what is made for each route
	signer string
	given  json.RawMessage // settings of the signer, from a caller
	of     any             // or from the configuration
	opener broker.Caller   // who has asked for the bridge; the zero Caller is the configuration
	self   broker.Caller   // the bridge

	mu     sync.Mutex
	door   *broker.Door
	route  *proxy.Route
	bare   *proxy.Route // without a credential
	why    error        // there is none
	closed bool
}

// RoundTrip implements [http.RoundTripper].
func (a *account) RoundTrip(req *http.Request) (*http.Response, error) {
	if len(a.opener.Ancestry) > 0 {
		req = req.WithContext(freshet.WithAncestry(req.Context(), a.opener.Ancestry...))
	}
	r, err := a.ready(req.Context())
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return r.RoundTrip(req)
}

// ready is the route, which is made if there is none.
func (a *account) ready(ctx context.Context) (*proxy.Route, error) {
	if r := a.made(); r != nil {
		return r, nil
	}
	if a.cfg.Identity == "" {
		return a.unsigned(errNobody)
	}
	typ, err := a.typ(ctx)
	if err != nil {
		if a.cfg.Anonymous && freshet.AsError(err).Kind == freshet.LoginNeeded {
			return a.unsigned(err)
		}
		return nil, err
	}
	r, err := a.open(typ)
	return r, invalid(err)
}

func (a *account) made() *proxy.Route {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.route
}

// known opens the route if what signs is known already, so that what is wrong with it is told before anybody uses it. It
// retrieves nothing.
func (a *account) known() error {
	if a.cfg.Identity == "" {
		return nil
	}
	var typ freshet.Type
	if row := builtin.SourceNamed(a.Broker.Kind(a.cfg.Identity)); row != nil {
		typ = row.Type
	}
	if typ == "" && a.signer == "" {
		return a.permitted()
	}
	_, err := a.open(typ)
	return err
}

// permitted reports why the identity is not the caller's to use.
func (a *account) permitted() error {
	if a.opener.Door == "" {
		return a.openDoor(true)
	}
	door, err := a.Broker.OpenDoorFor(a.opener, broker.Caller{Door: "bridge", Signs: true}, []string{a.cfg.Identity})
	if err == nil {
		door.Close()
	}
	return err
}

// typ retrieves the identity to know what it consists of.
func (a *account) typ(ctx context.Context) (freshet.Type, error) {
	req := a.cfg.Request
	req.Hold = proxy.OutboundPatience
	c := a.opener
	if c.Door == "" {
		c = a.self
		c.Grants = []string{a.cfg.Identity}
	}
	c.Signs = true // whether it may leave whole is the door's to say
	ans, err := a.Broker.Credential(ctx, c, a.cfg.Identity, req)
	if err != nil {
		return "", err
	}
	return ans.Credential.Type(), nil
}

// open makes the route, unless there is one by now. The type is "" where a signer is named and that is all that is known.
func (a *account) open(typ freshet.Type) (*proxy.Route, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.route != nil {
		return a.route, nil
	}
	if a.closed {
		return nil, errClosed
	}
	var signer proxy.Signer
	row := builtin.SignerNamed(a.signer)
	var err error
	if a.of != nil && row != nil {
		signer, err = row.New(a.of, a.cfg.Upstream)
	} else {
		signer, row, err = signerOf(a.signer, a.given, typ, a.cfg.Upstream)
	}
	if err != nil {
		return nil, err
	}
	signs := len(row.Types) == 1 && row.Types[0] == freshet.AWS && !yieldsKeys(signer) // every other type goes out itself
	if err := a.openDoorLocked(signs); err != nil {
		return nil, err
	}
	cfg := a.cfg
	cfg.Signer, cfg.Door, cfg.Observe = signer, a.door, recorder(a.door, a.Requests)
	a.route, err = proxy.New(cfg)
	return a.route, err
}

// openDoor opens the identity's door for the bridge, once. signs: what leaves is signed with the identity's credential, which stays here.
func (a *account) openDoor(signs bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.openDoorLocked(signs)
}

func (a *account) openDoorLocked(signs bool) (err error) {
	if a.door != nil {
		return nil
	}
	self := a.self
	if a.opener.Door == "" {
		self.Signs = true // the configuration has chosen where it goes
		a.door, err = a.Broker.OpenDoor(self, []string{a.cfg.Identity})
		return err
	}
	self.Signs = signs
	a.door, err = a.Broker.OpenDoorFor(a.opener, self, []string{a.cfg.Identity})
	if errors.Is(err, broker.ErrWithheld) {
		return freshet.Errorf(freshet.Denied, "identity %s: it is never handed out (release: false), and would go to a server that the caller chose", a.cfg.Identity).
			WithHint("configure that server under mcp:")
	}
	return err
}

// unsigned is a route on which nothing is signed, since there is no credential.
func (a *account) unsigned(why error) (*proxy.Route, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, errClosed
	}
	a.why = why
	if a.bare != nil {
		return a.bare, nil
	}
	cfg := a.cfg
	cfg.Signer, cfg.Door, cfg.Observe, cfg.Anonymous = plain{}, nobody{a}, a.Requests, true
	var err error
	a.bare, err = proxy.New(cfg)
	return a.bare, err
}

func (a *account) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, r := range []*proxy.Route{a.route, a.bare} {
		if r != nil {
			r.Close()
		}
	}
	if a.door != nil {
		a.door.Close()
	}
}

var (
	errClosed = freshet.Errorf(freshet.Unavailable, "this bridge has ended")
	errNobody = freshet.Errorf(freshet.LoginNeeded, "the server wants a credential, and the bridge was given no identity").WithHint("start it with --as IDENTITY")
)

// nobody is a door with no identity behind it.
type nobody struct{ account *account }

func (n nobody) Get(context.Context, string, freshet.Request) (freshet.Answer, error) {
	n.account.mu.Lock()
	defer n.account.mu.Unlock()
	return freshet.Answer{}, n.account.why
}

func (nobody) Reject(string, string) error { return nil }

// plain signs nothing.
type plain struct{}

func (plain) Prepare(r *http.Request) (signing.Plan, error) {
	delete(r.Header, "Authorization")
	return signing.Plan{}, nil
}

func (plain) Sign(*http.Request, *freshet.Credential, string) error {
	return freshet.Errorf(freshet.Bug, "a route without a credential was given one")
}

func (plain) Judge(*http.Response, []byte) signing.Verdict { return signing.Verdict{} }

func (plain) Explain(_ int, _, message string) (string, []byte) { return "text/plain", []byte(message) }

// withoutQuery is a URL as a route takes it.
func withoutQuery(u *url.URL) *url.URL {
	bare := *u
	bare.RawQuery, bare.ForceQuery = "", false
	return &bare
}
