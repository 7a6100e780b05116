package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"freshet.dev/daemon"
)

func serveCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Run the daemon: the local socket, the configured endpoints and metrics.

It prints a ready line once everything listens, and stops on SIGTERM or Ctrl-C: requests under
way are answered first, for at most 10 seconds.`,
		Example: "  freshet serve\n  freshet serve --config ./freshet.yaml",
		Args:    want(),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := g.load()
			if err != nil {
				return err
			}
			if err := cfg.CheckSecrets(); err != nil {
				return err
			}
			d, err := daemon.Start(c.Context(), cfg, version, logger(c.ErrOrStderr(), cfg.Log))
			if err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "freshet: ready: %s of %s; %s\n", count(len(cfg.Identities), "identity", "identities"), cfg.Path, d)
			return d.Serve(c.Context())
		},
	}
}
