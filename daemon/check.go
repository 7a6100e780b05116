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
	all, err := readSites(ctx, cfg, nil)
	if err != nil {
		return err
	}
	bridges := &Bridges{Broker: b}
	gateways, err := bridges.prepareAll(cfg)
	if err != nil {
		return err
	}
	defer discard(gateways)
	fronts, err := (&opener{broker: b, routes: new(routes), bridges: bridges}).open(all, nil, gateways)
	for _, f := range fronts {
		f.leave()
	}
	return err
}
