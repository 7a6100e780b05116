package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"freshet.dev/demo"
	"freshet.dev/freshet"
)

func demoCommand(g *global) *cobra.Command {
	var document bool
	var callers int
	c := &cobra.Command{
		Use:   "demo",
		Short: "See what freshet changes: real SDK clients, without it and with it",
		Long: `See what freshet changes. A cloud within this command answers a few hundred callers of real SDK
clients, which all ask at the same moment: by themselves at first, then through freshet. What that
cost is measured and printed side by side.

It takes half a minute, needs no network and no account, and leaves nothing behind.`,
		Example: "  freshet demo\n  freshet demo --json",
		Args:    want(),
		RunE: func(c *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return freshet.Errorf(freshet.Unavailable, "freshet's own path is unknown: %w", err)
			}
			if callers < 2 || callers > demo.MaxCallers {
				return usage(c, fmt.Errorf("--callers: want 2 to %d", demo.MaxCallers))
			}
			ledger, err := demo.Run(c.Context(), demo.Config{
				Program: program, Version: version, Callers: callers, Progress: c.ErrOrStderr(), Columns: columns(c.ErrOrStderr()),
			})
			if err != nil {
				return err
			}
			if document {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				e.SetEscapeHTML(false)
				return e.Encode(ledger)
			}
			if err := ledger.Print(c.OutOrStdout(), columns(c.OutOrStdout()) > 0 && os.Getenv("NO_COLOR") == ""); err != nil {
				return err
			}
			_, err = fmt.Fprint(c.OutOrStdout(), demoNext)
			return err
		},
	}
	c.Flags().BoolVar(&document, "json", false, "print the figures as one JSON document")
	c.Flags().IntVar(&callers, "callers", 200, "how many callers each client has")
	c.AddCommand(demoPhaseCommand(), demoDaemonCommand(g))
	return c
}

const demoNext = `
next  freshet lab serve                  the same cloud, to try freshet with by hand
      freshet exec IDENTITY -- COMMAND   run a program with credentials from freshet
      README.md                          recipes, and the configuration they need
`

// demoPhaseCommand is the process of one phase. Its order comes through standard input.
func demoPhaseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "phase", Hidden: true, Args: want(),
		RunE: func(c *cobra.Command, _ []string) error {
			return demo.RunPhase(c.Context(), c.InOrStdin(), c.OutOrStdout())
		},
	}
}

// demoDaemonCommand is freshet serve, but ends with its standard input.
func demoDaemonCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "daemon", Hidden: true, Args: want(),
		RunE: func(c *cobra.Command, a []string) error {
			ctx, cancel := demo.WhileOpen(c.Context(), c.InOrStdin())
			defer cancel()
			serve := serveCommand(g)
			serve.SetContext(ctx)
			serve.SetErr(c.ErrOrStderr())
			return serve.RunE(serve, a)
		},
	}
}

// columns is the width of a stream that is a terminal which can rewrite a line and show colours; 0 if it is none.
func columns(stream any) int {
	f, ok := stream.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return 0
	case size.Col < 2: // a terminal that does not know
		return 80
	}
	return int(size.Col)
}
