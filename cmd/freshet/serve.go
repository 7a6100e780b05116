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
		Long: `Run the daemon: the local socket, the configured endpoints, proxies and metrics.

It prints a ready line once everything listens, and tells systemd (Type=notify-reload). SIGHUP,
and any change of the configuration file or of a file that holds one of its secrets, puts the
file in force as it is then; one that is wrong is reported, and changes nothing. SIGTERM or
Ctrl-C stops it: requests under way are answered first, for at most 5 seconds.`,
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
			hangups := make(chan os.Signal, 1)
			if s := heeded(syscall.SIGHUP); len(s) > 0 {
				signal.Notify(hangups, s...) // one that comes before the ready line is obeyed after it
			}
			defer close(hangups)
			defer signal.Stop(hangups)
			defer tellOfTheEnd(c.Context())()
			return d.Serve(c.Context(), func() {
				fmt.Fprintf(c.ErrOrStderr(), "freshet: ready: %s of %s; %s\n", count(len(cfg.Identities), "identity", "identities"), cfg.Path, d)
				tell(systemd.SdNotifyReady)
				go reloadOn(hangups, d)
			})
		},
	}
}

// reloadOn has the daemon reload at each signal, until the channel is closed.
func reloadOn(hangups <-chan os.Signal, d *daemon.Daemon) {
	for range hangups {
		tell(systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec())
		_, _ = d.Reload() // it is in the log
		tell(systemd.SdNotifyReady)
	}
}

// tellOfTheEnd tells that the daemon stops, once ctx ends. The function that it returns lets the process end no sooner than that is
// told; a daemon that ends by itself says nothing, and its exit code all.
func tellOfTheEnd(ctx context.Context) (told func()) {
	done := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(done)
		tell(systemd.SdNotifyStopping)
	})
	return func() {
		if !forget() {
			<-done
		}
	}
}

// tell says something to the service manager, if there is one. That it cannot be told is no reason to stop.
func tell(state string) { _, _ = systemd.SdNotify(false, state) }
