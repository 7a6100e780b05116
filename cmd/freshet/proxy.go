package main

import (
	"context"
	"fmt"
	"net/url"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/internal/wire"
)

// proxyFlags are a route as the command line has it.
type proxyFlags struct {
	spec       wire.Proxy
	signing    signing
	upstream   *url.URL
	secretFile string
	wait       time.Duration
}

func proxyCommand(g *global) *cobra.Command {
	f := &proxyFlags{}
	c := &cobra.Command{
		Use:   "proxy --to URL --as IDENTITY",
		Short: "Forward requests to an upstream, and sign them",
		Long: `Forward requests from an address of this machine to an upstream, with an identity's credential put
on each. Whoever sends them holds none.

It prints the address on standard output, and a ready line. Callers show a local secret, in whichever
way their client shows a key: as bearer token, as password, as api-key or x-api-key, or as the AWS
secret access key that they sign with (any access key id). It is in --secret-file, or in a file that
the ready line names, which goes when the proxy ends. On a Unix socket the kernel names the callers:
without --secret-file, all programs of this user may send.

With a daemon the route is opened there, and shares its credentials; without one this process
retrieves them. Ctrl-C or SIGTERM ends it, and so does the daemon's end, with exit code 5.`,
		Example: `  freshet proxy --to https://api.openai.com/v1 --as openai --secret-file ~/.openai-local &
  OPENAI_BASE_URL=http://127.0.0.1:PORT OPENAI_API_KEY=$(cat ~/.openai-local) node agent.js
  freshet proxy --to https://s3.eu-north-1.amazonaws.com --as prod --listen 127.0.0.1:9920 --secret-file s &
  AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=$(cat s) aws --endpoint-url http://127.0.0.1:9920 s3 ls
  freshet proxy --to https://api.example.com --as internal --listen unix:/run/user/1000/api.sock &
  curl --unix-socket /run/user/1000/api.sock http://localhost/v1/orders
  freshet proxy --to https://api.anthropic.com --as claude --header x-api-key --method POST --path /v1/messages`,
		Args: want(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			return runProxy(c, g, f)
		},
	}
	l := c.Flags()
	l.StringVar(&f.spec.Upstream, "to", "", "forward to `URL`: https, or http on this machine")
	l.StringVar(&f.spec.Identity, "as", "", "sign as `IDENTITY`")
	l.StringVar(&f.spec.Listen, "listen", "127.0.0.1:0", "listen at the loopback `ADDRESS`, or at unix:PATH")
	l.StringVar(&f.secretFile, "secret-file", "", "callers know the secret in `FILE`, which is made if it is not there")
	l.StringVar(&f.signing.Signer, "signer", "", "sign with `NAME`: "+strings.Join(signerNames(), ", ")+" (default: by what the identity consists of)")
	l.StringVar(&f.signing.Service, "service", "", "sign for `SERVICE` of AWS (default: by the URL's host)")
	l.StringVar(&f.signing.Region, "region", "", "sign for `REGION` of AWS (default: by the URL's host, else the identity's)")
	l.StringVar(&f.signing.Payload, "payload", "", "sign bodies for AWS as `FORM`: hash or unsigned")
	l.StringVar(&f.signing.Header, "header", "", "put a token into the header `NAME`, such as api-key")
	l.StringArrayVar(&f.spec.Scopes, "scope", nil, "ask for `SCOPE`; may be repeated")
	l.StringVar(&f.spec.Tenant, "tenant", "", "ask in `TENANT`")
	l.StringVar(&f.spec.Audience, "audience", "", "ask for a token for `AUDIENCE`")
	l.StringArrayVar(&f.spec.Methods, "method", nil, "let `METHOD` pass alone; may be repeated")
	l.StringArrayVar(&f.spec.Paths, "path", nil, "let `PATH` pass alone, with * at its end for all that begin so; may be repeated")
	l.StringVar(&f.spec.CAFile, "ca-file", "", "trust the authorities in `FILE` for the upstream")
	waitFlag(c, &f.wait)
	names := func(list ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return list, cobra.ShellCompDirectiveNoFileComp
		}
	}
	_ = c.RegisterFlagCompletionFunc("as", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return g.completeIdentity(c, nil, "")
	})
	_ = c.RegisterFlagCompletionFunc("signer", names(signerNames()...))
	_ = c.RegisterFlagCompletionFunc("payload", names("hash", "unsigned"))
	return c
}

// check reads the flags, so that what can be told without a broker is told at once.
func (f *proxyFlags) check(c *cobra.Command) (err error) {
	switch {
	case f.spec.Upstream == "":
		return usage(c, fmt.Errorf("--to is missing"))
	case f.spec.Identity == "":
		return usage(c, fmt.Errorf("--as is missing"))
	}
	if f.upstream, err = field.Upstream("--to", f.spec.Upstream); err != nil {
		return err
	}
	if err := f.checkListen(); err != nil {
		return err
	}
	for i, method := range f.spec.Methods {
		f.spec.Methods[i] = strings.ToUpper(method)
		if err := field.Method("--method", f.spec.Methods[i]); err != nil {
			return err
		}
	}
	for _, path := range f.spec.Paths {
		if err := field.Pattern("--path", path); err != nil {
			return err
		}
	}
	if err := f.signing.check(c, f.spec, &f.spec.CAFile); err != nil {
		return err
	}
	return checkWait(c, f.wait)
}

func (f *proxyFlags) checkListen() error {
	if path, unix := strings.CutPrefix(f.spec.Listen, "unix:"); unix && path != "" {
		abs, err := filepath.Abs(path)
		if err != nil {
			return freshet.Errorf(freshet.Invalid, "--listen: not a path")
		}
		f.spec.Listen = "unix:" + abs
	}
	if _, unix, err := field.Socket("--listen", f.spec.Listen); unix || err != nil {
		return err
	}
	address, err := field.Listen("--listen", f.spec.Listen)
	if err != nil {
		return err
	}
	if !address.Addr().IsLoopback() {
		return &field.Error{Field: "--listen", Why: "not an address of this machine alone", Help: "listen at 127.0.0.1, or configure it under proxies:, with TLS and expose: true"}
	}
	f.spec.Listen = address.String()
	return nil
}

// runProxy opens the route, says where, and stays until it is told to end.
func runProxy(c *cobra.Command, g *global, f *proxyFlags) (err error) {
	ctx := c.Context()
	if s := heeded(syscall.SIGHUP); len(s) > 0 { // the terminal's end: the secret's file is to go
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, s...)
		defer stop()
	}
	s, err := g.connect(ctx, lasting)
	if err != nil {
		return err
	}
	defer func() {
		if closed := s.Close(); err == nil {
			err = closed
		}
	}()
	if err := f.signing.place(s.cfg, f.spec.Identity, f.upstream); err != nil {
		return err
	}
	f.spec.Signer, f.spec.Settings = f.signing.Signer, f.signing.json()
	secret, err := secretFor(ctx, f.secretFile, strings.HasPrefix(f.spec.Listen, "unix:"))
	if err != nil {
		return err
	}
	defer secret.close()
	f.spec.Secret = secret.value
	stop := showWait(c.ErrOrStderr(), f.spec.Identity, f.wait)
	open, err := openDoors(ctx, s, nil, wanted{routes: []wire.Proxy{f.spec}, wait: f.wait})
	stop()
	if err != nil {
		return err
	}
	defer open.close()
	if _, err := fmt.Fprintln(c.OutOrStdout(), open.routes[0].URL); err != nil {
		return freshet.Errorf(freshet.Unavailable, "standard output: %w", err)
	}
	callers := "the secret is in " + secret.path
	if secret.value == "" {
		callers = "for this user's programs"
	}
	fmt.Fprintf(c.ErrOrStderr(), "freshet: ready: %s to %s as %s (%s); %s\n", open.routes[0].URL, f.upstream, f.spec.Identity, open.routes[0].Signer, callers)
	select {
	case <-ctx.Done():
		return nil
	case <-open.ended:
		return freshet.Errorf(freshet.Unavailable, "the daemon ended, and the proxy with it").WithHint("start the daemon, and then the proxy, again")
	}
}
