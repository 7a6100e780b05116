package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"freshet.dev/config"
	"freshet.dev/daemon"
)

func checkCommand(g *global) *cobra.Command {
	var schema bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration",
		Long: `Check the configuration: every problem is one line with file, line and column, and a hint.

It runs no command and opens no connection. --schema prints the file's JSON schema, for editors.`,
		Example: "  freshet check\n  freshet check --config ./freshet.yaml\n  freshet check --schema > freshet.schema.json",
		Args:    want(),
		RunE: func(c *cobra.Command, _ []string) error {
			if schema {
				_, err := c.OutOrStdout().Write(config.Schema(daemon.Kinds()))
				return err
			}
			cfg, _, err := g.load()
			if err != nil {
				return err
			}
			if err := cfg.CheckSecrets(); err != nil {
				return err
			}
			if err := daemon.Check(c.Context(), cfg); err != nil {
				return err
			}
			for _, w := range daemon.Warnings(cfg) {
				fmt.Fprintf(c.ErrOrStderr(), "freshet: warning: %s\n", line(w))
			}
			has := []string{count(len(cfg.Identities), "identity", "identities"), count(len(cfg.Endpoints), "endpoint", "endpoints")}
			if len(cfg.Proxies) > 0 {
				has = append(has, count(len(cfg.Proxies), "proxy", "proxies"))
			}
			if len(cfg.MCP) > 0 {
				has = append(has, count(len(cfg.MCP), "bridge", "bridges"))
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: ok: %s\n", cfg.Path, strings.Join(has, ", "))
			return nil
		},
	}
	c.Flags().BoolVar(&schema, "schema", false, "print the configuration's JSON schema")
	return c
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: want(),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "freshet", version)
			return err
		},
	}
}
