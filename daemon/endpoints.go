package daemon

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"freshet.dev/broker"
	"freshet.dev/builtin"
	"freshet.dev/config"
	"freshet.dev/internal/child"
	"freshet.dev/internal/field"
	"freshet.dev/internal/guard"
)

// endpoint is a listening server with the dialects that share its address.
type endpoint struct {
	listener net.Listener
	mux      *http.ServeMux
	kinds    []string
	doors    []*broker.Door
}

// listen opens the configured endpoints: every port is taken before any request is answered.
func (d *Daemon) listen(ctx context.Context, cfg *config.File, run *child.Runner) (err error) {
	byAddress := make(map[string]*endpoint)
	for i := range cfg.Endpoints {
		c := &cfg.Endpoints[i]
		row := builtin.EndpointNamed(c.Kind)
		names := c.Names()
		if !row.Many && len(names) != 1 {
			return c.Explain(&field.Error{Field: "identities", Why: "this dialect serves one identity",
				Help: "write identity: NAME, and another entry with another listen for each of the others"})
		}
		secret, err := c.Secret.Read(ctx, run)
		if err != nil {
			return c.Explain(err)
		}
		if len(secret) < guard.MinSecret {
			return c.Explain(&field.Error{Field: "secret", Why: fmt.Sprintf("shorter than %d bytes", guard.MinSecret), Help: "make one with: openssl rand -hex 32"})
		}
		door, err := d.broker.OpenDoor(broker.Caller{Door: "endpoint", ID: c.Kind + "@" + c.Listen}, names)
		if err != nil {
			return err
		}
		e := byAddress[c.Listen]
		if e == nil {
			l, err := net.Listen("tcp", c.Listen)
			if err != nil {
				return inUse(c, err)
			}
			e = &endpoint{listener: l, mux: http.NewServeMux()}
			byAddress[c.Listen] = e
			d.endpoints = append(d.endpoints, e)
		}
		host, _, _ := net.SplitHostPort(c.Listen)
		e.mux.Handle(row.Path, guard.Handler([]string{host}, row.Deny, row.New(c.Settings, door, guard.NewSecret(secret))))
		e.kinds = append(e.kinds, c.Kind)
		e.doors = append(e.doors, door)
	}
	return nil
}

func inUse(c *config.Endpoint, err error) error {
	return c.Explain(&field.Error{Field: "listen", Why: fmt.Sprintf("cannot listen at %s: %v", c.Listen, reason(err)),
		Help: "stop what listens there, or set another address"})
}
