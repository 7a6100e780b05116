package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"freshet.dev/daemon"
)

func serveCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Run the daemon: the local socket, the configured endpoints and metrics.

It prints a ready line once everything listens, and tells systemd (Type=notify-reload). SIGHUP,
and any change of the configuration file or of a file that holds one of its secrets, puts the
file in force as it is then; one that is wrong is reported, and changes nothing. SIGTERM or
Ctrl-C stops it: requests under way are answered first, for at most 10 seconds.`,
		Example: `  freshet serve
  freshet serve --config ./freshet.yaml
  kill -HUP $(pidof freshet)                     read the configuration again, now`,
		Args: want(),
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
			defer reloadOnHangup(c.Context(), d)()
			context.AfterFunc(c.Context(), func() { tell(systemd.SdNotifyStopping) })
			return d.Serve(c.Context(), func() {
				fmt.Fprintf(c.ErrOrStderr(), "freshet: ready: %s of %s; %s\n", count(len(cfg.Identities), "identity", "identities"), cfg.Path, d)
				tell(systemd.SdNotifyReady)
			})
		},
	}
}

// reloadOnHangup has the daemon reload on SIGHUP, unless that is ignored, as under nohup. What it returns ends that.
func reloadOnHangup(ctx context.Context, d *daemon.Daemon) (end func()) {
	hangups := make(chan os.Signal, 1)
	if s := heeded(syscall.SIGHUP); len(s) > 0 {
		signal.Notify(hangups, s...)
	}
	go func() {
		for range hangups {
			tell(systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec())
			_, _ = d.Reload(ctx) // it is in the log
			tell(systemd.SdNotifyReady)
		}
	}()
	return func() { signal.Stop(hangups); close(hangups) }
}

// tell says something to the service manager, if there is one. That it cannot be told is no reason to stop.
func tell(state string) { _, _ = systemd.SdNotify(false, state) }
