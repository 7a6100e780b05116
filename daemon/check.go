package daemon

import (
	"context"

	"freshet.dev/config"
)

// Check finds what would keep a configuration from being served, without running a command, opening a connection or taking a
// port: secrets that a command prints stay unknown, and so do ports that somebody else has.
func Check(ctx context.Context, cfg *config.File) error {
	b, err := Broker(cfg, Options{})
	if err != nil {
		return err
	}
	defer b.Close(context.WithoutCancel(ctx)) // nothing was retrieved, so there is nothing to wait for
	if _, err := socketGroup(cfg); err != nil {
		return err
	}
	for i := range cfg.Endpoints {
		c := &cfg.Endpoints[i]
		door, err := openDoor(b, c)
		if err != nil {
			return err
		}
		door.Close()
		if len(c.Secret.Command) > 0 {
			continue
		}
		if _, err := endpointSecret(ctx, c, nil); err != nil {
			return err
		}
	}
	return nil
}
