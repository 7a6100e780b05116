package daemon

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"freshet.dev/broker"
	"freshet.dev/builtin"
	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
	"freshet.dev/internal/wire"
	"freshet.dev/localapi"
	"freshet.dev/proxy"
)

// Proxies opens routes for callers: to an upstream of theirs, for as long as their request lasts.
type Proxies struct {
	Broker  *broker.Broker
	Log     *slog.Logger      // nil logs nothing
	Observe func(proxy.Event) // nil: nobody
	n       atomic.Int64
	quota
}

const (
	// maxRoutes bounds a user's routes, for the same reason as sessions.
	maxRoutes = 256
	// adHoc is what all such routes are called in figures.
	adHoc = "ad-hoc"
	// anyPort is where a route listens by default.
	anyPort = "127.0.0.1:0"
	// privileged is the least port that every user may listen at, as on Linux by default.
	privileged = 1024
)

// Open retrieves the identity once, so that its type is known and what would fail fails now, and opens the route. The identity is
// waited for as long as hold, where its issuer fails and nothing valid is to be had.
//
// The upstream is the caller's choice, and whatever goes there the caller could read there. So an identity that is never handed out
// serves only where what goes out is a signature made with it, and what comes back are no keys.
func (p *Proxies) Open(ctx context.Context, c broker.Caller, spec wire.Proxy, hold time.Duration) (_ *localapi.Proxy, err error) {
	r, err := p.read(c, &spec)
	if err != nil {
		return nil, invalid(err)
	}
	if !p.enter(c.UID, maxRoutes) {
		return nil, freshet.Errorf(freshet.Unavailable, "uid %d has %d proxies open, the most there may be", c.UID, maxRoutes).
			WithHint("end some of the programs that use them")
	}
	o := &opened{leave: func() { p.leave(c.UID) }}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	typ, err := p.try(ctx, c, r, hold)
	if err != nil {
		return nil, err
	}
	signer, row, err := signerOf(spec.Signer, spec.Settings, typ, r.Upstream)
	if err != nil {
		return nil, invalid(err)
	}
	r.Signer = signer
	caller := broker.Caller{Door: "route", ID: strconv.FormatInt(p.n.Add(1), 10), Signs: typ == freshet.AWS && !yieldsKeys(r.Signer)} // every other type goes out itself
	door, err := p.Broker.OpenDoorFor(c, caller, []string{r.Identity})
	if errors.Is(err, broker.ErrWithheld) {
		return nil, freshet.Errorf(freshet.Denied, "identity %s: it is never handed out (release: false), and would go to an upstream that the caller chose", r.Identity).
			WithHint("configure that upstream under proxies:")
	}
	if err != nil {
		return nil, err
	}
	o.doors = []*broker.Door{door}
	r.Door, r.Observe = door, recorder(door, p.Observe)
	if o.route, err = proxy.New(r.Config); err != nil {
		return nil, err
	}
	if o.listener, err = listen(r.address, 0o600); err != nil {
		return nil, invalid(err)
	}
	o.serve(p.server(proxy.NewMux(nil, o.route)))
	told := wire.ProxyOpened{URL: "http://" + o.listener.Addr().String(), Secret: r.made, Signer: row.Name, Type: typ}
	if path, unix := unixPath(o.listener.Addr()); unix {
		told.URL = "unix:" + path
	}
	return &localapi.Proxy{Opened: told, Close: o.close}, nil
}

// adHocRoute is a route that somebody asks for.
type adHocRoute struct {
	proxy.Config
	address string
	made    string // the secret, if the daemon has made it
}

// read checks what a caller asks for, as far as that is known without the identity.
func (p *Proxies) read(c broker.Caller, spec *wire.Proxy) (*adHocRoute, error) {
	req, err := spec.Request()
	if err != nil {
		return nil, err
	}
	req.Hold = 0 // of the first retrieval alone
	r := &adHocRoute{Config: proxy.Config{
		Name: adHoc, Identity: spec.Identity, Request: req, Methods: spec.Methods, Paths: spec.Paths,
		Callers: proxy.Callers{Secret: freshet.Secret(spec.Secret), Owner: c.UID}, Retries: 1,
	}}
	if r.Upstream, err = field.Upstream("upstream", spec.Upstream); err != nil {
		return nil, err
	}
	for i, m := range spec.Methods {
		if err := field.Method(fmt.Sprintf("methods[%d]", i), m); err != nil {
			return nil, err
		}
	}
	for i, path := range spec.Paths {
		if err := field.Pattern(fmt.Sprintf("paths[%d]", i), path); err != nil {
			return nil, err
		}
	}
	if r.address, err = canonical(cmp.Or(spec.Listen, anyPort)); err != nil {
		return nil, err
	}
	if err := p.mayListen(c, r.address); err != nil {
		return nil, err
	}
	if spec.Secret != "" {
		if err := checkSecret(spec.Secret); err != nil {
			return nil, err
		}
	} else if !strings.HasPrefix(r.address, "unix:") {
		r.made = secret.New()
		r.Callers.Secret = freshet.Secret(r.made)
	}
	r.TLS, err = trust(p.Broker, c, spec.CAFile, "proxies:")
	return r, err
}

// mayListen refuses addresses that other machines reach, and what another user's daemon must not do for the caller.
func (p *Proxies) mayListen(c broker.Caller, address string) error {
	own := p.Broker.Oversees(c)
	if strings.HasPrefix(address, "unix:") {
		if !own {
			return freshet.Errorf(freshet.Denied, "listen: only the daemon's own user and root may have it listen at a path").
				WithHint("leave listen out, and use the port and secret that the daemon chooses")
		}
		return nil
	}
	addr, err := netip.ParseAddrPort(address)
	switch {
	case err != nil || !addr.Addr().IsLoopback():
		return &field.Error{Field: "listen", Why: "other machines can reach this address", Help: "listen on 127.0.0.1, or configure it under proxies:"}
	case addr.Port() != 0 && addr.Port() < privileged && !own:
		return freshet.Errorf(freshet.Denied, "listen: only the daemon's own user and root may have it listen at a port under %d", privileged)
	}
	return nil
}

// trust reads the upstream's own authorities. elsewhere is where in the configuration the upstream could be.
func trust(b *broker.Broker, c broker.Caller, path, elsewhere string) (*tls.Config, error) {
	switch {
	case path == "":
		return nil, nil
	case !b.Oversees(c):
		return nil, freshet.Errorf(freshet.Denied, "ca_file: only the daemon's own user and root may have it read a file").
			WithHint("have the upstream configured under %s", elsewhere)
	case !filepath.IsAbs(path):
		return nil, &field.Error{Field: "ca_file", Why: "not an absolute path"}
	}
	trusted, _, err := clientTLS(path)
	return trusted, err
}

// try retrieves the identity, and says what it consists of.
func (p *Proxies) try(ctx context.Context, c broker.Caller, r *adHocRoute, hold time.Duration) (freshet.Type, error) {
	c.Signs = true // whether it may leave whole is the door's to say
	req := r.Request
	req.Hold = hold
	a, err := p.Broker.Credential(ctx, c, r.Identity, req)
	if err != nil {
		return "", err
	}
	return a.Credential.Type(), nil
}

// yieldsKeys reports a service that answers signed requests with keys of the same rights.
func yieldsKeys(s proxy.Signer) bool {
	of, ok := s.(interface{ Service() string })
	return ok && of.Service() == "sts"
}

// signerOf makes the signer of a name, or the one for a type of credential. The type may be "", for one that is not known yet.
func signerOf(name string, given json.RawMessage, typ freshet.Type, upstream *url.URL) (proxy.Signer, *builtin.Signer, error) {
	row := builtin.SignerFor(typ)
	if name != "" {
		row = builtin.SignerNamed(name)
	}
	switch {
	case row == nil && name == "":
		return nil, nil, &field.Error{Field: "identity", Why: fmt.Sprintf("no signer signs with %s credentials", typ)}
	case row == nil:
		return nil, nil, &field.Error{Field: "signer", Why: "unknown signer", Help: "known are " + strings.Join(signers(), ", ")}
	case typ != "" && !slices.Contains(row.Types, typ):
		return nil, nil, &field.Error{Field: "signer", Why: fmt.Sprintf("%s does not sign with %s credentials, as the identity's are", row.Name, typ),
			Help: "leave it out to have the right one"}
	}
	settings := row.Config()
	if len(given) > 0 {
		d := json.NewDecoder(bytes.NewReader(given))
		d.DisallowUnknownFields()
		if err := d.Decode(settings); err != nil {
			return nil, nil, &field.Error{Field: "settings", Why: "not those of the signer " + row.Name}
		}
	}
	if checked, ok := settings.(interface{ Check() error }); ok {
		if err := checked.Check(); err != nil {
			return nil, nil, err
		}
	}
	s, err := row.New(settings, upstream)
	return s, row, err
}

func signers() []string {
	var names []string
	for _, s := range builtin.Signers() {
		names = append(names, s.Name)
	}
	return names
}

func (p *Proxies) server(h http.Handler) *http.Server {
	s := proxy.Server(h)
	log := p.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	return s
}

// invalid is an error as a caller is told it: a setting at fault is of kind [freshet.Invalid].
func invalid(err error) error {
	if e := (*field.Error)(nil); errors.As(err, &e) {
		return &freshet.Error{Kind: freshet.Invalid, Why: e.Error(), Hint: e.Help, Cause: err}
	}
	return err
}
