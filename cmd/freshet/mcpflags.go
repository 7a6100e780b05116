package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
	return f.signing.check(c, &f.spec, &f.spec.CAFile)
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
	switch given := slices.Contains(changed(c), "profile-parameter"); {
	case given && len(f.spec.Profiles) == 0:
		return usage(c, errors.New("--profile-parameter goes with a --profile beside --as"))
	case given && !config.IsParameter(f.spec.Parameter):
		return usage(c, errors.New("--profile-parameter: want an argument's name, of letters, digits and underscores"))
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
	case slices.Contains(changed(c), "approve") && !slices.Contains(approvalWords, f.spec.Approve):
		return usage(c, fmt.Errorf("--approve: unknown word %q: there are %s", f.spec.Approve, strings.Join(approvalWords, ", ")))
	}
	switch {
	case f.pin != "":
	case slices.Contains(changed(c), "pin"): // as a variable that is not set has it; it must not let every tool through
		return usage(c, errors.New("--pin is empty"))
	default:
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
