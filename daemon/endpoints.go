package daemon

import (
	"context"
	"errors"
	"fmt"
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

// endpoint is one of a configuration's, with its secret.
type endpoint struct {
	*config.Endpoint
	secret guard.Secret
}

// readEndpoint reads an endpoint's secret. Without a runner, one that a command prints stays unknown.
func readEndpoint(ctx context.Context, c *config.Endpoint, run *child.Runner) (endpoint, error) {
	secret, err := readSecret(ctx, c.Secret, run)
	if err != nil {
		return endpoint{}, c.Explain(err)
	}
	return endpoint{c, guard.NewSecret(secret)}, nil
}

// showEndpoints opens the doors of a site's endpoints, and puts their dialects into a front.
func (o *opener) showEndpoints(f *front, s *site) error {
	d := new(dialects)
	f.Handler = d
	for _, e := range s.endpoints {
		door, err := openDoor(o.broker, e.Endpoint)
		if err != nil {
			return err
		}
		row := builtin.EndpointNamed(e.Kind)
		d.add(*row, s.hosts(), row.New(e.Settings, door, e.secret))
		f.kinds = append(f.kinds, e.Kind)
		f.doors = append(f.doors, door)
	}
	return nil
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

// readSecret reads what callers must know. Without a runner, what a command would print is "".
func readSecret(ctx context.Context, ref secret.Ref, run *child.Runner) (string, error) {
	if run == nil && len(ref.Command) > 0 {
		return "", nil
	}
	value, err := ref.Read(ctx, run)
	if e := (*field.Error)(nil); errors.As(err, &e) {
		inner := *e
		inner.Field = strings.TrimSuffix("secret."+e.Field, ".")
		return "", &inner
	}
	if err != nil {
		return "", &field.Error{Field: "secret", Why: err.Error()}
	}
	return value, checkSecret(value)
}

func checkSecret(value string) error {
	if len(value) < guard.MinSecret {
		return &field.Error{Field: "secret", Why: fmt.Sprintf("shorter than %d bytes", guard.MinSecret), Help: "make one with: openssl rand -hex 32"}
	}
	return nil
}
