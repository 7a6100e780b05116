package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func mcpCommand(g *global) *cobra.Command {
	f := &mcpFlags{}
	level := "warn"
	c := &cobra.Command{
		Use:   "mcp URL --as IDENTITY | mcp NAME",
		Short: "Let an agent use a remote MCP server's tools, without a key",
		Long: `Be the stdio server that an MCP client starts, in front of a remote one that wants a bearer token or
an AWS signature. The agent holds no credential. NAME is an entry of mcp: in freshet.yaml, which may
have several servers; a URL is one that the command line describes.

It starts while the issuer and the server are down, and retrieves nothing until a request needs it: the
tool call that cannot go on says what to do. With a daemon it is a pump of lines that takes a few
megabytes, and the daemon has the sessions; if that is restarted, the agent goes on. Without one this
process does it all.

Which tools an agent has is yours to say. --read-only leaves those that are known to read: by
--read-tool and --write-tool, else by the tool's own readOnlyHint. --approve has calls wait for a
person: at the agent, where it can ask one, else by freshet approve. --pin refuses tools that are not
as they were when freshet mcp pin looked. A tool's name may end with * for all that begin so.

A second account is a --profile: each tool takes a parameter then that names one. Standard output is
the protocol's; the log goes to standard error. The end of standard input ends it, with exit code 0.`,
		Example: `  freshet mcp https://mcp.example.com/mcp --as internal
  freshet mcp https://aws-mcp.us-east-1.api.aws/mcp --as prod --read-only
  freshet mcp https://aws-mcp.us-east-1.api.aws/mcp --as prod --profile dev --profile test=sandbox
  freshet mcp https://mcp.example.com/mcp --as internal --allow-tool 'get_*' --approve writes
  freshet mcp tools                                an entry of mcp: in freshet.yaml
  claude mcp add orders -- freshet mcp https://mcp.example.com/mcp --as internal`,
		Args:              want("URL or NAME"),
		ValidArgsFunction: g.completeBridge,
		RunE: func(c *cobra.Command, a []string) error {
			if err := f.level.UnmarshalText([]byte(level)); err != nil || !slices.Contains(logLevels, strings.ToLower(level)) {
				return usage(c, fmt.Errorf("--log-level: unknown level %q: there are %s", level, strings.Join(logLevels, ", ")))
			}
			if err := f.check(c, a[0]); err != nil {
				return err
			}
			return runMCP(c, g, f)
		},
	}
	f.target(c, g)
	l := c.Flags()
	l.BoolVar(&f.spec.ReadOnly, "read-only", false, "only tools that are known to read")
	l.StringArrayVar(&f.allow, "allow-tool", nil, "only `TOOL`; may be repeated; empty for none")
	l.StringArrayVar(&f.spec.Deny, "deny-tool", nil, "not `TOOL`; may be repeated")
	l.StringArrayVar(&f.spec.Read, "read-tool", nil, "`TOOL` reads, whatever it says; may be repeated")
	l.StringArrayVar(&f.spec.Write, "write-tool", nil, "`TOOL` writes, whatever it says; may be repeated")
	l.StringVar(&f.spec.Approve, "approve", "never", "which calls wait for a person: `never`, writes or all")
	l.StringVar(&f.pin, "pin", "", "refuse tools that are not as in `FILE`, which freshet mcp pin writes")
	l.StringVar(&level, "log-level", level, "log to standard error from `LEVEL` on: "+strings.Join(logLevels, ", "))
	_ = c.RegisterFlagCompletionFunc("log-level", names(logLevels...))
	_ = c.RegisterFlagCompletionFunc("approve", names(approvalWords...))
	c.AddCommand(mcpPinCommand(g))
	return c
}

var (
	logLevels     = []string{"debug", "info", "warn", "error"}
	approvalWords = []string{"never", "writes", "all"}
)

// names completes with a list.
func names(list ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeBridge completes with the bridges of the configuration.
func (g *global) completeBridge(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cfg, _, err := g.load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list := []string{"https://"}
	for _, m := range cfg.MCP {
		list = append(list, m.Name)
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// completeProfile completes a profile: an identity, after the = if there is one.
func (g *global) completeProfile(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	identities, directive := g.completeIdentity(c, nil, "")
	if name, _, found := strings.Cut(typed, "="); found {
		for i := range identities {
			identities[i] = name + "=" + identities[i]
		}
	}
	return identities, directive
}

// runMCP pumps between standard input and output and a bridge, until the agent ends it.
func runMCP(c *cobra.Command, g *global, f *mcpFlags) (err error) {
	// A write to an agent that has gone is an error then, and not this process's end: sessions are to be closed.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx := c.Context()
	b := &bridge{g: g, flags: f, log: slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: f.level}))}
	defer func() {
		if closed := b.close(); err == nil {
			err = closed
		}
	}()
	conn, err := b.first(ctx)
	if err != nil {
		return err
	}
	if b.own == nil {
		// What was read to begin, the configuration above all, is not needed any more, and there may be hundreds of these processes.
		debug.SetGCPercent(thrifty)
		debug.FreeOSMemory()
	}
	front := &front{in: c.InOrStdin(), out: c.OutOrStdout(), log: b.log, open: b.open}
	front.run(ctx, conn)
	return nil
}
