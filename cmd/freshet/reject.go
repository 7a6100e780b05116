package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"freshet.dev/freshet"
)

func rejectCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "reject IDENTITY FINGERPRINT",
		Short: "Tell the daemon that a service refused a credential",
		Long: `Tell the daemon that a service refused one version of a credential.

The daemon replaces that version in the background, once however many say so, and leaves any
other alone. The fingerprint is in freshet token --format json, and in the audit log.`,
		ValidArgsFunction: g.completeIdentity,
		Example:           "  freshet reject prod 2f1c9d0e8b7a6f5e4d3c2b1a09f8e7d6",
		Args:              want("IDENTITY", "FINGERPRINT"),
		RunE: func(c *cobra.Command, a []string) error {
			s, err := g.connect(c.Context(), brief)
			if err != nil {
				return err
			}
			defer s.Close()
			if s.client == nil {
				return freshet.Errorf(freshet.Unavailable, "reject: no daemon is running, so there is no credential to replace").
					WithHint("start one with: freshet serve")
			}
			if err := s.client.Reject(c.Context(), a[0], a[1]); err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "freshet: %s: that version is being replaced, if it was still served\n", a[0])
			return nil
		},
	}
}
