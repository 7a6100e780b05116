package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"freshet.dev/builtin"
	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
)

func tokenCommand(g *global) *cobra.Command {
	var req wire.Request
	var minTTL, wait time.Duration
	var format string
	c := &cobra.Command{
		Use:   "token IDENTITY",
		Short: "Print an identity's credential",
		Long: `Print an identity's credential on standard output.

Without --format a token is printed as it is, and AWS keys as an AWS credential_process prints
them. Without a daemon, processes that ask at the same time make one retrieval among them.

While nothing valid is to be had and the issuer fails, the command fails at once and says when to
come again; with --wait it waits for the issuer, as long as that.`,
		ValidArgsFunction: g.completeIdentity,
		Example: `  freshet token internal
  freshet token internal --scope orders.read --min-ttl 5m
  freshet token internal --wait 30s
  curl -H "Authorization: Bearer $(freshet token internal)" https://api.example.com/
  freshet token prod --format aws-process        in ~/.aws/config: credential_process = …`,
		Args: want("IDENTITY"),
		RunE: func(c *cobra.Command, a []string) error {
			if minTTL < 0 {
				return usage(c, freshet.Errorf(freshet.Invalid, "--min-ttl is negative"))
			}
			if err := checkWait(c, wait); err != nil {
				return err
			}
			if format != "" && builtin.FormatNamed(format) == nil {
				return usage(c, freshet.Errorf(freshet.Invalid, "unknown format %q: there are %s", format, builtin.FormatNames()))
			}
			r, err := req.Parse()
			if err != nil {
				return err
			}
			r.MinTTL, r.Hold = minTTL, wait
			return printToken(c, g, a[0], r, format)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&req.Scopes, "scope", nil, "ask for `SCOPE`; may be repeated")
	f.StringVar(&req.Tenant, "tenant", "", "ask in `TENANT`")
	f.StringVar(&req.Audience, "audience", "", "ask for a token for `AUDIENCE`")
	f.StringVar(&req.Claims, "claims", "", "answer a claims challenge, in `BASE64` as the service sent it")
	f.StringVar(&req.Rejected, "rejected", "", "do not answer with the version of this `FINGERPRINT`: a service refused it")
	f.DurationVar(&minTTL, "min-ttl", 0, "ask for at least this much life left, such as 5m")
	waitFlag(c, &wait)
	f.StringVar(&format, "format", "", "`FORMAT`: "+builtin.FormatNames())
	_ = c.RegisterFlagCompletionFunc("format", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return strings.Split(builtin.FormatNames(), ", "), cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

func printToken(c *cobra.Command, g *global, identity string, req freshet.Request, format string) error {
	s, err := g.connect(c.Context(), brief)
	if err != nil {
		return err
	}
	stop := showWait(c.ErrOrStderr(), identity, req.Hold)
	ans, err := s.Credential(c.Context(), identity, req)
	stop()
	// Before anything is printed: an audit that is required must have its lines by then.
	if closed := s.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if format == "" {
		format = "raw"
		if ans.Credential.Type() == freshet.AWS {
			format = "aws-process"
		}
	}
	out, err := builtin.FormatNamed(format).Render(ans, builtin.Rendering{Request: req, Getenv: os.Getenv})
	if err != nil {
		return err
	}
	if _, err := c.OutOrStdout().Write(out); err != nil {
		return freshet.Errorf(freshet.Unavailable, "standard output: %w", err)
	}
	return nil
}
