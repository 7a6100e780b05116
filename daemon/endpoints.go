package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"freshet.dev/broker"
	"freshet.dev/builtin"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/field"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/secret"
)

// endpoint is a listener, and the front it shows at present.
type endpoint struct {
	listener net.Listener
	front    atomic.Pointer[front]
	server   *server // nil until it serves
}

// ServeHTTP answers as the front at present, which the request keeps to its end.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := e.front.Load()
	for !f.enter() {
		f = e.front.Load() // it was replaced, and the last of its requests has left
	}
	defer f.leave()
	f.routes.ServeHTTP(w, r)
}

// front is the dialects that share an address: one path each.
type front struct {
	routes routes
	kinds  []string
	doors  []*broker.Door
	users  atomic.Int64 // requests, and one for being shown; at 0 it is closed
}

// enter counts a request, unless the front is closed.
func (f *front) enter() bool {
	for n := f.users.Load(); n > 0; n = f.users.Load() {
		if f.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// leave ends what enter began, or that the front is shown. Its doors follow the configuration until the last has left.
func (f *front) leave() {
	if f.users.Add(-1) == 0 {
		f.close()
	}
}

func (f *front) close() {
	for _, door := range f.doors {
		door.Close()
	}
}

// endpointSecrets reads the secrets of a configuration's endpoints, in their order.
func endpointSecrets(ctx context.Context, cfg *config.File, run *child.Runner) ([]guard.Secret, error) {
	var all []guard.Secret
	for i := range cfg.Endpoints {
		secret, err := endpointSecret(ctx, &cfg.Endpoints[i], run)
		if err != nil {
			return nil, err
		}
		all = append(all, secret)
	}
	return all, nil
}

// openFronts opens the doors of a configuration's endpoints: address → front.
func openFronts(cfg *config.File, b *broker.Broker, secrets []guard.Secret) (_ map[netip.AddrPort]*front, err error) {
	all := make(map[netip.AddrPort]*front) // entries that spell one address differently share a server too
	defer func() {
		if err != nil {
			for _, f := range all {
				f.close()
			}
		}
	}()
	for i := range cfg.Endpoints {
		c := &cfg.Endpoints[i]
		address, err := field.Listen("listen", c.Listen)
		if err != nil {
			return nil, c.Explain(err)
		}
		door, err := openDoor(b, c)
		if err != nil {
			return nil, err
		}
		f := all[address]
		if f == nil {
			f = new(front)
			f.users.Store(1)
			all[address] = f
		}
		row := builtin.EndpointNamed(c.Kind)
		f.routes.add(*row, []string{address.Addr().String()}, row.New(c.Settings, door, secrets[i]))
		f.kinds = append(f.kinds, c.Kind)
		f.doors = append(f.doors, door)
	}
	return all, nil
}

// listenFor takes the addresses of a configuration's endpoints that have is without: all of them, or none.
func listenFor(cfg *config.File, have map[netip.AddrPort]*endpoint) (_ map[netip.AddrPort]*endpoint, err error) {
	taken := make(map[netip.AddrPort]*endpoint)
	defer func() {
		if err != nil {
			for _, e := range taken {
				e.listener.Close()
			}
		}
	}()
	for i := range cfg.Endpoints {
		c := &cfg.Endpoints[i]
		address, err := field.Listen("listen", c.Listen)
		if err != nil {
			return nil, c.Explain(err)
		}
		if have[address] != nil || taken[address] != nil {
			continue
		}
		l, err := net.Listen("tcp", address.String())
		if err != nil {
			help := "stop what listens there, or set another address"
			for own := range have {
				if own.Port() == address.Port() && own.Addr() != address.Addr() {
					help = fmt.Sprintf("the daemon itself listens at %s: restart it to change that", own)
				}
			}
			return nil, c.Explain(&field.Error{Field: "listen", Why: fmt.Sprintf("cannot listen at %s: %v", c.Listen, reason(err)), Help: help})
		}
		taken[address] = &endpoint{listener: l}
	}
	return taken, nil
}

func openDoor(b *broker.Broker, c *config.Endpoint) (*broker.Door, error) {
	names := c.Names()
	if !builtin.EndpointNamed(c.Kind).Many && len(names) != 1 {
		return nil, c.Explain(&field.Error{Field: "identities", Why: "this dialect serves one identity",
			Help: "write identity: NAME, and another entry with another listen for each of the others"})
	}
	door, err := b.OpenDoor(broker.Caller{Door: "endpoint", ID: c.Kind + "@" + c.Listen}, names)
	if err != nil {
		key := "identities"
		if c.Identity != "" {
			key = "identity"
		}
		e := freshet.AsError(err)
		return nil, c.Explain(&field.Error{Field: key, Why: e.Error(), Help: e.Hint})
	}
	return door, nil
}

func endpointSecret(ctx context.Context, c *config.Endpoint, run *child.Runner) (guard.Secret, error) {
	secret, err := readSecret(ctx, c.Secret, run)
	if err != nil {
		return guard.Secret{}, c.Explain(err)
	}
	return guard.NewSecret(secret), nil
}

func readSecret(ctx context.Context, ref secret.Ref, run *child.Runner) (string, error) {
	value, err := ref.Read(ctx, run)
	if e := (*field.Error)(nil); errors.As(err, &e) {
		inner := *e
		inner.Field = strings.TrimSuffix("secret."+e.Field, ".")
		return "", &inner
	}
	if err != nil {
		return "", &field.Error{Field: "secret", Why: err.Error()}
	}
	if len(value) < guard.MinSecret {
		return "", &field.Error{Field: "secret", Why: fmt.Sprintf("shorter than %d bytes", guard.MinSecret), Help: "make one with: openssl rand -hex 32"}
	}
	return value, nil
}
