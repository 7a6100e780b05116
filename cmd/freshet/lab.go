package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/internal/guard"
	"freshet.dev/internal/secret"
	"freshet.dev/internal/shell"
	"freshet.dev/lab"
)

func labCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lab",
		Short: "A cloud to try freshet with, on this machine",
		Long: `A cloud to try freshet with, on this machine: Entra ID, an OAuth issuer, AWS STS, a managed identity,
container credentials and an az, as SDKs know them. It needs no account and no network, and what it
gives opens nothing but itself.`,
		Example: "  freshet lab serve\n  freshet lab serve --latency 250ms --lifetime 2m\n  freshet lab fault entra outage --for 20m",
		Args: func(c *cobra.Command, a []string) error {
			if len(a) > 0 {
				return usage(c, fmt.Errorf("unknown command %q", a[0]))
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(labServeCommand(), labFaultCommand(), labAzCommand())
	return c
}

// labFlags are how a lab shall be.
type labFlags struct {
	listen, write, adminTokenFile string
	latency, lifetime, refreshIn  []string
	verbose                       bool
}

func labServeCommand() *cobra.Command {
	var f labFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a lab until Ctrl-C",
		Long: `Run a lab until Ctrl-C, and write a configuration that works with it.

Standard output gets the lines that make a shell's freshet use that configuration. Its folder also
has a file env, for a shell whose programs shall ask the lab itself, and an admin-token, for
freshet lab fault and for the API that counts what each issuer was asked and changes how it behaves
while it runs. All of it is removed at the end.

A duration goes for every issuer, or for one as ISSUER=DURATION: ` + strings.Join(lab.Issuers(), ", ") + `.`,
		Example: `  freshet lab serve > lab.env &          in the same shell, once it is ready:
  . ./lab.env; freshet token entra
  freshet exec aws -- aws sts get-caller-identity --endpoint-url "$FRESHET_LAB"

  freshet lab serve --write ~/lab --listen 127.0.0.1:9920 --latency 250ms --latency entra=2s --lifetime 2m
  freshet token --config ~/lab/freshet.yaml oauth
  curl -H "Authorization: Bearer $(cat ~/lab/admin-token)" http://127.0.0.1:9920/admin/issuers
  curl -H "Authorization: Bearer $(cat ~/lab/admin-token)" -X PUT -d '{"latency":"5s"}' http://127.0.0.1:9920/admin/issuers/sts`,
		Args: want(),
		RunE: func(c *cobra.Command, _ []string) error { return f.serve(c) },
	}
	flags := c.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:0", "listen on `ADDRESS`, a loopback one; port 0 is any that is free")
	flags.StringVar(&f.write, "write", "", "write the configuration into `DIR` (default: a new folder for temporary files)")
	flags.StringVar(&f.adminTokenFile, "admin-token-file", "", "take the admin API's token from `FILE`, in place of a random one")
	flags.StringArrayVar(&f.latency, "latency", nil, "how long issuers take to answer, as `DURATION`; may be repeated")
	flags.StringArrayVar(&f.lifetime, "lifetime", nil, "how long what they give lives (default 1h), as `DURATION`")
	flags.StringArrayVar(&f.refreshIn, "refresh-in", nil, "what they give as refresh_in, as `DURATION`")
	flags.BoolVar(&f.verbose, "verbose", false, "log every request")
	return c
}

func (f *labFlags) serve(c *cobra.Command) error {
	settings, err := f.settings(c)
	if err != nil {
		return err
	}
	cfg := lab.Config{Issuers: settings}
	if f.verbose {
		cfg.Log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if cfg.AdminToken, err = f.adminToken(c); err != nil {
		return err
	}
	cloud, err := lab.New(cfg)
	if err != nil {
		return err
	}
	addr, err := field.Listen("listen", f.listen)
	if err != nil || !addr.Addr().IsLoopback() {
		return usage(c, fmt.Errorf("--listen: want a loopback address, as 127.0.0.1:9920"))
	}
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		return freshet.Errorf(freshet.Invalid, "lab serve: cannot listen on %s", addr).WithHint("choose another port, or 0 for any")
	}
	defer l.Close() // Serve does, unless it is not reached
	base := "http://" + l.Addr().String()
	dir, remove, err := f.files(cloud, base)
	if err != nil {
		return err
	}
	defer remove()
	config := filepath.Join(dir, lab.ConfigName)
	fmt.Fprintf(c.OutOrStdout(), "export FRESHET_CONFIG=%s\nexport %s=%s\nexport %s=%s\n",
		shell.Quote(config), envLab, base, envLabAdmin, shell.Quote(filepath.Join(dir, lab.AdminTokenName)))
	fmt.Fprintf(c.ErrOrStderr(), "freshet: ready: a lab at %s; its configuration is %s\nhint: freshet token --config %s entra\n", base, config, config)
	return cloud.Serve(c.Context(), l)
}

// files writes the configuration, in a new folder unless one was named.
func (f *labFlags) files(cloud *lab.Cloud, base string) (dir string, remove func(), err error) {
	binary, err := os.Executable()
	if err != nil {
		return "", nil, freshet.Errorf(freshet.Bug, "lab serve: this program does not know its own path")
	}
	if f.write != "" {
		if dir, err = filepath.Abs(f.write); err != nil {
			return "", nil, freshet.Errorf(freshet.Invalid, "lab serve: --write: not a folder's path")
		}
		remove, err = cloud.WriteConfig(dir, binary, base)
		return dir, remove, err
	}
	if dir, err = os.MkdirTemp("", "freshet-lab-"); err != nil {
		return "", nil, freshet.Errorf(freshet.Invalid, "lab serve: no folder for temporary files").WithHint("name one: --write DIR")
	}
	inner, err := cloud.WriteConfig(dir, binary, base)
	if err != nil {
		_ = os.Remove(dir)
		return "", nil, err
	}
	return dir, func() { inner(); _ = os.Remove(dir) }, nil
}

func (f *labFlags) adminToken(c *cobra.Command) (string, error) {
	if f.adminTokenFile == "" {
		return "", nil
	}
	path, err := filepath.Abs(f.adminTokenFile)
	if err != nil {
		return "", usage(c, fmt.Errorf("--admin-token-file: not a path"))
	}
	token, err := secret.Ref{File: path}.Read(c.Context(), nil)
	if err != nil {
		return "", err
	}
	if len(token) < guard.MinSecret {
		return "", freshet.Errorf(freshet.Invalid, "lab serve: --admin-token-file: shorter than %d bytes", guard.MinSecret).
			WithHint("openssl rand -hex 32 makes one")
	}
	return token, nil
}

// settings reads the durations: those for every issuer first, then those for one.
func (f *labFlags) settings(c *cobra.Command) (map[string]lab.Settings, error) {
	all := make(map[string]lab.Settings)
	for _, name := range lab.Issuers() {
		all[name] = lab.Settings{}
	}
	for _, flag := range []struct {
		name   string
		values []string
		set    func(*lab.Settings, time.Duration)
	}{
		{"latency", f.latency, func(s *lab.Settings, d time.Duration) { s.Latency = d }},
		{"lifetime", f.lifetime, func(s *lab.Settings, d time.Duration) { s.Lifetime = d }},
		{"refresh-in", f.refreshIn, func(s *lab.Settings, d time.Duration) { s.RefreshIn = d }},
	} {
		for _, one := range []bool{false, true} {
			for _, value := range flag.values {
				issuer, text, named := strings.Cut(value, "=")
				if named != one {
					continue
				}
				if !named {
					issuer, text = "", value
				}
				var d field.Duration
				if d.UnmarshalText([]byte(text)) != nil {
					return nil, usage(c, fmt.Errorf("--%s: want a duration such as 250ms, or ISSUER=250ms", flag.name))
				}
				if _, known := all[issuer]; named && !known {
					return nil, usage(c, fmt.Errorf("--%s: unknown issuer %q: there are %s", flag.name, issuer, strings.Join(lab.Issuers(), ", ")))
				}
				for name, s := range all {
					if !named || name == issuer {
						flag.set(&s, time.Duration(d))
						all[name] = s
					}
				}
			}
		}
	}
	return all, nil
}

// labAzCommand is what the lab's az runs.
func labAzCommand() *cobra.Command {
	return &cobra.Command{
		Use: "az", Short: "The lab's az", Hidden: true, DisableFlagParsing: true,
		RunE: func(c *cobra.Command, a []string) error {
			if code := lab.RunAzureCLI(c.Context(), a, os.Getenv, c.OutOrStdout(), c.ErrOrStderr()); code != 0 {
				return exit(code)
			}
			return nil
		},
	}
}
