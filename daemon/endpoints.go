package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"freshet.dev/broker"
	"freshet.dev/builtin"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/field"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/secret"
)

// endpoint is a listening server with the dialects that share its address.
type endpoint struct {
	listener net.Listener
	routes   routes
	kinds    []string
	doors    []*broker.Door
}

// listen opens the configured endpoints: every port is taken before any request is answered.
func (d *Daemon) listen(ctx context.Context, cfg *config.File, run *child.Runner) error {
	byAddress := make(map[netip.AddrPort]*endpoint) // entries that spell one address differently share a server too
	for i := range cfg.Endpoints {
		c := &cfg.Endpoints[i]
		door, err := openDoor(d.broker, c)
		if err != nil {
			return err
		}
		secret, err := endpointSecret(ctx, c, run)
		if err != nil {
			return err
		}
		address, err := field.Listen("listen", c.Listen)
		if err != nil {
			return c.Explain(err)
		}
		e := byAddress[address]
		if e == nil {
			l, err := net.Listen("tcp", address.String())
			if err != nil {
				return inUse(c, err)
			}
			e = &endpoint{listener: l}
			byAddress[address] = e
			d.endpoints = append(d.endpoints, e)
		}
		row := builtin.EndpointNamed(c.Kind)
		e.routes.add(*row, []string{address.Addr().String()}, row.New(c.Settings, door, secret))
		e.kinds = append(e.kinds, c.Kind)
		e.doors = append(e.doors, door)
	}
	return nil
}

// openDoor opens an endpoint's way to the identities it serves. Its errors are the configuration's.
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

// endpointSecret reads what an endpoint's callers must send. Its errors are the configuration's.
func endpointSecret(ctx context.Context, c *config.Endpoint, run *child.Runner) (guard.Secret, error) {
	secret, err := readSecret(ctx, c.Secret, run)
	if err != nil {
		return guard.Secret{}, c.Explain(err)
	}
	return guard.NewSecret(secret), nil
}

// readSecret reads the secret of a server of ours, named by its key secret.
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

func inUse(c *config.Endpoint, err error) error {
	return c.Explain(&field.Error{Field: "listen", Why: fmt.Sprintf("cannot listen at %s: %v", c.Listen, reason(err)),
		Help: "stop what listens there, or set another address"})
}
