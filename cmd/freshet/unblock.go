package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"freshet.dev/freshet"
)

func unblockCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "unblock IDENTITY",
		Short: "Have the daemon ask an identity's issuer again, now",
		Long: `Have the daemon forget the failures that keep an identity from being retrieved: a block that its
issuer asked for or earned, a login that was needed, a denial. What is due is retrieved at once.

The daemon finds out by itself when an issuer is well, a minute later at most. This is for whoever
knows sooner: the quota was raised, the login was made, the role's trust was changed. An issuer
that is still throttling answers with another block. Only the daemon's own user and root may; the
audit log says who did.`,
		ValidArgsFunction: g.completeIdentity,
		Example:           "  freshet unblock prod\n  freshet status                         what is blocked, why, and for how long",
		Args:              want("IDENTITY"),
		RunE: func(c *cobra.Command, a []string) error {
			s, err := g.connect(c.Context(), brief)
			if err != nil {
				return err
			}
			defer s.Close()
			if s.client == nil {
				return freshet.Errorf(freshet.Unavailable, "unblock: no daemon is running, so nothing is blocked").
					WithHint("start one with: freshet serve")
			}
			if err := s.client.Unblock(c.Context(), a[0]); err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "freshet: %s: its failures are forgotten, and what is due is retrieved now\n", a[0])
			return nil
		},
	}
}
