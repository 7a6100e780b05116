package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"freshet.dev/builtin"
	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/internal/wire"
	"freshet.dev/mcp/tools"
)

// mcpFlags are a bridge as the command line has it.
type mcpFlags struct {
	spec               wire.MCP
	signing            signing
	upstream           *url.URL // nil: the bridge is one of the configuration's
	profiles, metadata []string
	allow              []string
	pin                string
	level              slog.Level
}

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

// target adds the flags that say which server it is, and how to reach it.
func (f *mcpFlags) target(c *cobra.Command, g *global) {
	l := c.Flags()
	l.StringVar(&f.spec.Identity, "as", "", "sign as `IDENTITY`")
	l.StringArrayVar(&f.profiles, "profile", nil, "calls may name the profile `NAME=IDENTITY`; or IDENTITY, or several with commas; may be repeated; the first is --as if that is missing")
	l.StringVar(&f.spec.Parameter, "profile-parameter", "", "they do so by the parameter `NAME` (default profile)")
	l.StringVar(&f.signing.Signer, "signer", "", "sign with `NAME`: "+strings.Join(signerNames(), ", ")+" (default: by what the identity consists of)")
	l.StringVar(&f.signing.Service, "service", "", "sign for `SERVICE` of AWS (default: by the URL's host)")
	l.StringVar(&f.signing.Region, "region", "", "sign for `REGION` of AWS (default: by the URL's host, else $AWS_REGION, else the identity's)")
	l.StringVar(&f.signing.Header, "header", "", "put a token into the header `NAME`, such as api-key")
	l.StringArrayVar(&f.spec.Scopes, "scope", nil, "ask for `SCOPE`; may be repeated")
	l.StringVar(&f.spec.Tenant, "tenant", "", "ask in `TENANT`")
	l.StringVar(&f.spec.Audience, "audience", "", "ask for a token for `AUDIENCE`")
	l.StringArrayVar(&f.metadata, "metadata", nil, "put `KEY=VALUE` into the _meta of every request that has no such key; may be repeated")
	l.IntVar(&f.spec.Retries, "retries", 1, "further attempts, `0-10`, after 429 and 502 to 504, where a request may be repeated")
	l.IntVar(&f.spec.Sessions, "sessions", 1, "the server's sessions at once, `1-100`")
	l.Var(&limit{&f.spec.Timeouts.Request}, "timeout", "wait so long for an answer that is no tool's (default 180s)")
	l.Var(&limit{&f.spec.Timeouts.Connect}, "connect-timeout", "wait so long for a connection (default 60s)")
	l.Var(&limit{&f.spec.Timeouts.Read}, "read-timeout", "wait so long for a byte of an answer (default 120s)")
	l.Var(&limit{&f.spec.Timeouts.Write}, "write-timeout", "send a request for so long (default 180s)")
	l.Var(&limit{&f.spec.Timeouts.Tool}, "tool-timeout", "wait so long for a tool's answer (default 300s)")
	l.BoolVar(&f.spec.SkipAuth, "skip-auth", false, "send requests without a credential where none is to be had")
	l.StringVar(&f.spec.CAFile, "ca-file", "", "trust the authorities in `FILE` for the server")
	_ = c.RegisterFlagCompletionFunc("as", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return g.completeIdentity(c, nil, "")
	})
	_ = c.RegisterFlagCompletionFunc("profile", g.completeProfile)
	_ = c.RegisterFlagCompletionFunc("signer", names(signerNames()...))
}

// limit is a duration, or a number of seconds, as the wire has it.
type limit struct{ text *string }

func (l *limit) String() string {
	if l.text == nil {
		return ""
	}
	return *l.text
}

func (l *limit) Type() string { return "DURATION" }

func (l *limit) Set(text string) error {
	d, err := time.ParseDuration(text)
	if seconds, bare := strconv.ParseFloat(text, 64); bare == nil {
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil || d <= 0 || d > wire.MaxMCPTimeout {
		return fmt.Errorf("want a duration of at most %s, like 90s", field.Duration(wire.MaxMCPTimeout))
	}
	*l.text = d.String()
	return nil
}

// ofGateways are the flags that a bridge of the configuration's goes with: it has its own word on everything else.
var ofGateways = []string{"config", "read-only", "log-level", "help", "file", "check", "update", "upstream"}

// check reads the flags, so that what can be told without a broker is told at once.
func (f *mcpFlags) check(c *cobra.Command, target string) (err error) {
	if !strings.Contains(target, "://") {
		if strings.ContainsAny(target, "./") { // no name has one
			host, _, _ := strings.Cut(target, "?")
			host = strings.TrimLeft(host[strings.LastIndex(host, "@")+1:], "/") // without what may be a secret
			return usage(c, fmt.Errorf("not a URL: write https://%s", host))
		}
		f.spec = wire.MCP{Gateway: target, ReadOnly: f.spec.ReadOnly}
		for _, name := range changed(c) {
			if !slices.Contains(ofGateways, name) {
				return usage(c, fmt.Errorf("--%s goes with a URL: %s is an entry of mcp: in freshet.yaml, which says it there", name, target))
			}
		}
		return nil
	}
	f.spec.URL = target
	if f.upstream, err = mcpURL(target); err != nil {
		return err
	}
	if err := f.checkProfiles(c); err != nil {
		return err
	}
	if f.spec.Identity == "" && !f.spec.SkipAuth {
		return usage(c, errors.New("--as is missing"))
	}
	if f.spec.Meta, err = readMetadata(f.metadata); err != nil {
		return usage(c, err)
	}
	if f.spec.Retries < 0 || f.spec.Retries > 10 {
		return usage(c, errors.New("--retries: want 0 to 10"))
	}
	if f.spec.Sessions < 1 || f.spec.Sessions > 100 {
		return usage(c, errors.New("--sessions: want 1 to 100"))
	}
	if err := f.checkTools(c); err != nil {
		return err
	}
	// A daemon's folder is another.
	if f.spec.CAFile != "" {
		if f.spec.CAFile, err = filepath.Abs(f.spec.CAFile); err != nil {
			return usage(c, fmt.Errorf("--ca-file: not a path"))
		}
	}
	if _, err := f.spec.Request(); err != nil {
		return err
	}
	if err := f.signing.resolve(); err != nil {
		return usage(c, err)
	}
	return nil
}

// changed are the flags that were given.
func changed(c *cobra.Command) (list []string) {
	c.Flags().Visit(func(f *pflag.Flag) { list = append(list, f.Name) })
	return list
}

// mcpURL reads a server's URL. Some have a query, as Bedrock AgentCore's runtimes have a qualifier.
func mcpURL(target string) (*url.URL, error) {
	bare, _, _ := strings.Cut(target, "?")
	if _, err := field.Upstream("URL", bare); err != nil {
		return nil, err
	}
	if err := field.URL("URL", target); err != nil {
		return nil, err
	}
	return url.Parse(target)
}

// checkProfiles reads --profile: NAME=IDENTITY, or an identity that goes by its own name.
func (f *mcpFlags) checkProfiles(c *cobra.Command) error {
	f.spec.Profiles = nil
	first := f.spec.Identity == ""
	known := []string{f.spec.Identity}
	for _, value := range f.profiles {
		for one := range strings.SplitSeq(value, ",") {
			name, identity, named := strings.Cut(one, "=")
			if !named {
				identity = name
			}
			switch {
			case name == "" || identity == "":
				return usage(c, fmt.Errorf("--profile: %q is not NAME=IDENTITY", one))
			case slices.Contains(known, name):
				return usage(c, fmt.Errorf("--profile: two are named %q", name))
			}
			known = append(known, name)
			if first {
				f.spec.Identity, f.spec.Default, first = identity, name, false
				continue
			}
			f.spec.Profiles = append(f.spec.Profiles, wire.MCPProfile{Name: name, Identity: identity})
		}
	}
	if f.spec.Parameter != "" && len(f.spec.Profiles) == 0 {
		return usage(c, errors.New("--profile-parameter goes with a --profile beside --as"))
	}
	return nil
}

func readMetadata(list []string) (map[string]string, error) {
	var meta map[string]string
	for _, one := range list {
		key, value, found := strings.Cut(one, "=")
		switch {
		case !found || key == "":
			return nil, fmt.Errorf("--metadata: %q is not KEY=VALUE", one)
		case meta == nil:
			meta = make(map[string]string)
		}
		meta[key] = value
	}
	return meta, nil
}

// checkTools reads what is said of tools.
func (f *mcpFlags) checkTools(c *cobra.Command) error {
	if f.spec.Allow = nil; slices.Contains(changed(c), "allow-tool") {
		allow := slices.DeleteFunc(slices.Clone(f.allow), func(name string) bool { return name == "" })
		f.spec.Allow = &allow
	}
	for flag, list := range map[string][]string{"--deny-tool": f.spec.Deny, "--read-tool": f.spec.Read, "--write-tool": f.spec.Write} {
		for _, name := range list {
			if err := field.Tool(flag, name); err != nil {
				return err
			}
		}
	}
	if f.spec.Allow != nil {
		for _, name := range *f.spec.Allow {
			if err := field.Tool("--allow-tool", name); err != nil {
				return err
			}
		}
	}
	switch {
	case f.spec.Approve == "never":
		f.spec.Approve = ""
	case f.spec.Approve != "" && !slices.Contains(approvalWords, f.spec.Approve):
		return usage(c, fmt.Errorf("--approve: unknown word %q: there are %s", f.spec.Approve, strings.Join(approvalWords, ", ")))
	}
	if f.pin == "" {
		return nil
	}
	text, _, err := readSnapshot("--pin", f.pin)
	f.spec.Pin = text
	return err
}

// readSnapshot reads a file of pinned tools.
func readSnapshot(flag, path string) (json.RawMessage, *tools.Snapshot, error) {
	// Without O_NONBLOCK, a pipe in the file's place would hold us until somebody writes.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, freshet.Errorf(freshet.Invalid, "%s %s: %s", flag, path, cause(err)).WithHint("write it with: freshet mcp pin URL --as IDENTITY --file %s", path)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, nil, freshet.Errorf(freshet.Invalid, "%s %s: is not a regular file", flag, path).WithHint("name a file that freshet mcp pin wrote")
	}
	text, err := io.ReadAll(io.LimitReader(file, tools.MaxBytes+1))
	switch {
	case err != nil:
		return nil, nil, freshet.Errorf(freshet.Invalid, "%s %s: %s", flag, path, cause(err)).WithHint("name a file")
	case len(text) > tools.MaxBytes:
		return nil, nil, freshet.Errorf(freshet.Invalid, "%s %s: is over %d MiB", flag, path, tools.MaxBytes>>20).WithHint("name a file that freshet mcp pin wrote")
	}
	s, err := tools.Parse(text)
	if err != nil {
		return nil, nil, freshet.Errorf(freshet.Invalid, "%s %s: %s", flag, path, err).WithHint("name a file that freshet mcp pin wrote")
	}
	return text, s, nil
}

// place completes what the configuration and the environment tell. cfg may be nil.
func (f *mcpFlags) place(cfg *config.File) error {
	if f.upstream == nil {
		return nil
	}
	if f.signing.Signer == "" && givesKeys(cfg, f.spec.Identity) {
		f.signing.Signer = signerAWS
	}
	said, fromHost := f.signing.Region, ofAWS(f.upstream.Hostname())
	environment := os.Getenv("AWS_REGION")
	if environment == "" {
		environment = os.Getenv("AWS_DEFAULT_REGION")
	}
	if f.signing.Signer == signerAWS && said == "" && !fromHost {
		f.signing.Region = environment
	}
	if err := f.signing.place(cfg, f.spec.Identity, f.upstream); err != nil {
		return err
	}
	if err := f.signing.checkAWS(f.upstream); err != nil {
		return err
	}
	f.spec.Signer, f.spec.Settings = f.signing.Signer, f.signing.json()
	if f.signing.Signer != signerAWS && (f.signing.Signer != "" || !fromHost) {
		return nil
	}
	// As mcp-proxy-for-aws 1.6 does: AWS's servers act in that region, whatever theirs is.
	own, err := ownRegion(cfg, f.spec.Identity)
	if err != nil {
		return err
	}
	for _, region := range []string{said, environment, own, f.signing.Region, hostRegion(f.upstream.Hostname())} {
		if _, given := f.spec.Meta["AWS_REGION"]; given || region == "" {
			continue
		}
		if f.spec.Meta == nil {
			f.spec.Meta = make(map[string]string)
		}
		f.spec.Meta["AWS_REGION"] = region
	}
	return nil
}

// checkAWS says what a signature for AWS lacks, where that is known to be the signer.
func (s *signing) checkAWS(upstream *url.URL) error {
	if s.Signer != signerAWS {
		return nil
	}
	row := builtin.SignerNamed(signerAWS)
	settings := row.Config()
	if text := s.json(); text != nil {
		if err := json.Unmarshal(text, settings); err != nil {
			return freshet.Errorf(freshet.Bug, "settings of %s: %w", signerAWS, err)
		}
	}
	if checked, ok := settings.(interface{ Check() error }); ok {
		if err := checked.Check(); err != nil {
			return flagged(err)
		}
	}
	_, err := row.New(settings, upstream)
	return flagged(err)
}

// flagged is an error of a signer's settings as the command line has them: flags.
func flagged(err error) error {
	e, ok := errors.AsType[*field.Error](err)
	if !ok {
		return err
	}
	why := freshet.Errorf(freshet.Invalid, "--%s: %s", e.Field, e.Why).WithHint("see: freshet mcp --help")
	if strings.HasPrefix(e.Help, "add ") {
		why.WithHint("add --%s", e.Field)
	}
	return why
}

// hostRegion is the label of a host that names a region, as us-east-1; "" where there is none.
func hostRegion(host string) string {
	for label := range strings.SplitSeq(strings.ToLower(host), ".") {
		if field.Region("", label) == nil && strings.Count(label, "-") >= 2 && label[len(label)-1] >= '0' && label[len(label)-1] <= '9' {
			return label
		}
	}
	return ""
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
