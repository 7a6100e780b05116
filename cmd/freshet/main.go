// Command freshet is a credential broker: it retrieves a short-lived credential once and shares it with every caller.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"freshet.dev/config"
	"freshet.dev/freshet"
)

// version is set by the linker.
var version = "0.1.0-dev"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// exit is an outcome that has its own exit code and has said all there is to say.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// Ctrl-C and SIGTERM end what is under way. exec looks after its child's signals itself.
	ctx := context.Background()
	if ends := heeded(os.Interrupt, syscall.SIGTERM); len(ends) > 0 {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, ends...)
		defer stop()
	}
	g := &global{}
	root := &cobra.Command{
		Use:   "freshet",
		Short: "One refresh, every caller: a credential broker for clouds and agents",
		Long: `freshet retrieves a short-lived credential once, shares it with every caller that may have it,
and refreshes it ahead of expiry.

It reads one file: --config, $FRESHET_CONFIG, $XDG_CONFIG_HOME/freshet/freshet.yaml or
/etc/freshet/freshet.yaml, never one of the current folder. Commands use the daemon if one
listens, and retrieve by themselves otherwise.

Exit codes: 2 usage or configuration · 3 login needed · 4 denied · 5 try later, or no daemon · 1 bug`,
		Example: `  freshet check                          is the configuration right?
  freshet exec prod -- aws s3 ls         run a program with its SDK's credentials
  freshet token internal                 print a token
  freshet exec --proxy https://api.openai.com/v1=openai -- node agent.js
                                         run an agent that holds no key
  freshet mcp https://mcp.example.com/mcp --as internal
                                         give an agent a server's tools, and no key
  freshet serve                          share credentials among all programs`,
		SilenceUsage: true, SilenceErrors: true, Args: unknownCommand,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringVar(&g.config, "config", "", "read the configuration in `FILE`")
	root.AddCommand(demoCommand(g), serveCommand(g), execCommand(g), tokenCommand(g), proxyCommand(g), mcpCommand(g), approveCommand(g), rejectCommand(g), checkCommand(g), statusCommand(g), drillCommand(g), unblockCommand(g), completionCommand(), labCommand(), versionCommand())
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	command, err := root.ExecuteContextC(ctx)
	var code exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	report(stderr, err)
	if command.Name() == "exec" {
		return exitOwnFailure // every other code is the program's own
	}
	return exitCode(err)
}

// heeded are those of some signals that this process was not told to ignore when it started, as nohup and a shell's "&" do.
// The others stay ignored, here and in exec's child: catching one would undo that for both.
func heeded(signals ...os.Signal) []os.Signal {
	return slices.DeleteFunc(signals, signal.Ignored)
}

// usage is a mistake on the command line.
func usage(c *cobra.Command, err error) error {
	return freshet.Errorf(freshet.Invalid, "%s: %s", strings.TrimPrefix(c.CommandPath(), "freshet "), err.Error()).
		WithHint("see: %s --help", c.CommandPath())
}

// want is a cobra.PositionalArgs: the arguments that a command takes, by their names.
func want(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, a []string) error {
		switch {
		case len(a) < len(names):
			return usage(c, fmt.Errorf("%s is missing", names[len(a)]))
		case len(a) > len(names):
			return usage(c, fmt.Errorf("one argument too many: %q", a[len(names)]))
		}
		return nil
	}
}

// unknownCommand is what an argument of the root is.
func unknownCommand(c *cobra.Command, a []string) error {
	if len(a) == 0 {
		return nil
	}
	e := freshet.Errorf(freshet.Invalid, "unknown command %q", a[0]).WithHint("see: freshet --help")
	c.SuggestionsMinimumDistance = 2 // a transposition, or two slips
	if near := c.SuggestionsFor(a[0]); len(near) > 0 {
		e.WithHint("did you mean freshet %s?", near[0])
	}
	return e
}

// report prints "freshet: what: why", a line for each problem, with its hint.
func report(w io.Writer, err error) {
	var many config.Errors
	if errors.As(err, &many) {
		for _, one := range many {
			report(w, one)
		}
		return
	}
	fmt.Fprintf(w, "freshet: %s\n", line(err.Error()))
	if hint := advice(err); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", line(hint))
	}
}

// worthTelling is the least time to come back after that is told: who tries again by hand takes as long.
const worthTelling = 5 * time.Second

// advice is an error's hint, and when it is of use to try again.
func advice(err error) string {
	hint := hintOf(err)
	e := (*freshet.Error)(nil)
	if !errors.As(err, &e) || e.Kind != freshet.Unavailable || e.RetryAfter < worthTelling {
		return hint
	}
	when := "try again in " + span(e.RetryAfter.Round(time.Second))
	if hint == "" {
		return when
	}
	return hint + "; " + when
}

func hintOf(err error) string {
	if e := (*freshet.Error)(nil); errors.As(err, &e) {
		return e.Hint
	}
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// line keeps a message on one line.
func line(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// exitCode is the exit code of an error's kind. What is no freshet error is about the command line or the configuration.
func exitCode(err error) int {
	var e *freshet.Error
	if !errors.As(err, &e) {
		return 2
	}
	switch e.Kind {
	case freshet.Invalid:
		return 2
	case freshet.LoginNeeded:
		return 3
	case freshet.Denied:
		return 4
	case freshet.Unavailable, freshet.Malformed:
		return 5
	}
	return 1
}
