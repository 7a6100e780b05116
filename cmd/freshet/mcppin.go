package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/mcp/tools"
)

func mcpPinCommand(g *global) *cobra.Command {
	f := &mcpFlags{}
	var file string
	var check, update bool
	c := &cobra.Command{
		Use:   "pin URL --as IDENTITY | pin NAME",
		Short: "Write down what a server's tools are, to be compared with later",
		Long: `Ask a server for its tools, and write down what an agent's model reads of each: name, description,
schemas and hints. Read the file, and keep it: with --pin FILE, or pin: in freshet.yaml, a tool that
is not as in it is neither listed nor called.

Where the file is there already, and the tools are not as in it, the difference is printed and nothing
written, with exit code 4; --update writes it. --check never writes. Without --file the text goes to
standard output.`,
		Example: `  freshet mcp pin https://mcp.example.com/mcp --as internal --file orders.json
  freshet mcp pin tools --upstream aws --file aws.json       one of an entry of mcp: in freshet.yaml
  freshet mcp pin tools --upstream aws --file aws.json --check
  freshet mcp https://mcp.example.com/mcp --as internal --pin orders.json`,
		Args:              want("URL or NAME"),
		ValidArgsFunction: g.completeBridge,
		RunE: func(c *cobra.Command, a []string) error {
			upstream := f.spec.Upstream
			switch {
			case check && update:
				return usage(c, errors.New("--check and --update are either or"))
			case file == "" && (check || update):
				return usage(c, errors.New("--file is missing"))
			}
			if err := f.check(c, a[0]); err != nil {
				return err
			}
			if f.spec.Gateway == "" && upstream != "" {
				return usage(c, errors.New("--upstream goes with an entry of mcp: in freshet.yaml"))
			}
			f.spec.Upstream = upstream
			return runPin(c, g, f, file, check, update)
		},
	}
	f.target(c, g)
	l := c.Flags()
	l.StringVar(&file, "file", "", "write to `FILE`, or compare with it")
	l.BoolVar(&check, "check", false, "compare alone")
	l.BoolVar(&update, "update", false, "write it where the tools have changed")
	l.StringVar(&f.spec.Upstream, "upstream", "", "of an entry that has several servers, the one of this `NAME`")
	return c
}

func runPin(c *cobra.Command, g *global, f *mcpFlags, file string, check, update bool) error {
	var before *tools.Snapshot
	if file != "" {
		_, err := os.Lstat(file)
		switch {
		case err == nil:
			if _, before, err = readSnapshot("--file", file); err != nil {
				return err
			}
		case check || !errors.Is(err, fs.ErrNotExist):
			return freshet.Errorf(freshet.Invalid, "--file %s: %s", file, cause(err)).WithHint("write it first: leave --check out")
		}
	}
	list, err := fetchTools(c.Context(), g, f)
	if err != nil {
		return err
	}
	now := tools.Take(list)
	if file == "" {
		return printed(c.OutOrStdout().Write(now.Encode()))
	}
	if before != nil {
		drift := before.Drift(list)
		if len(drift) == 0 {
			fmt.Fprintf(c.ErrOrStderr(), "freshet: %s: the tools are as in it (%s)\n", file, count(len(list), "tool", "tools"))
			return nil
		}
		if err := showDrift(c.OutOrStdout(), drift); err != nil {
			return err
		}
		if !update {
			return freshet.Errorf(freshet.Denied, "%s: %s not as in it", file, count(len(drift), "tool is", "tools are")).
				WithHint("read what changed, and if it may stay so, run this with --update")
		}
	}
	text := now.Encode()
	if len(text) > tools.MaxBytes {
		return freshet.Errorf(freshet.Invalid, "--file %s: the tools are over %d MiB, which no bridge reads", file, tools.MaxBytes>>20)
	}
	if err := writeWhole(file, text); err != nil {
		return freshet.Errorf(freshet.Invalid, "--file %s: %s", file, cause(err)).WithHint("name a file in a folder that you may write to")
	}
	fmt.Fprintf(c.ErrOrStderr(), "freshet: %s: %s written\n", file, count(len(list), "tool", "tools"))
	return nil
}

// fetchTools asks the server by way of the daemon, or by itself.
func fetchTools(ctx context.Context, g *global, f *mcpFlags) (_ []*sdk.Tool, err error) {
	s, err := g.connect(ctx, brief)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closed := s.Close(); err == nil {
			err = closed
		}
	}()
	if err := f.place(s.cfg); err != nil {
		return nil, err
	}
	text, err := s.tools(ctx, f)
	if err != nil {
		return nil, f.advised(err)
	}
	var list []*sdk.Tool
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, freshet.Errorf(freshet.Malformed, "the server's tools cannot be read")
	}
	return list, nil
}

func (s *service) tools(ctx context.Context, f *mcpFlags) (json.RawMessage, error) {
	if s.client != nil {
		text, err := s.client.MCPTools(ctx, f.spec)
		if err == nil || !s.vanished(ctx, err) {
			return text, err
		}
		if err := s.replace(); err != nil {
			return nil, err
		}
	}
	// What a file is written for need not be there.
	unpinned := *s
	unpinned.cfg = withoutPins(s.cfg)
	own, err := unpinned.bridges(f, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer own.Close()
	return own.Tools(ctx, self(), f.spec)
}

// withoutPins is a configuration whose bridges pin no tools. cfg may be nil.
func withoutPins(cfg *config.File) *config.File {
	if cfg == nil {
		return nil
	}
	c := *cfg
	c.MCP = slices.Clone(cfg.MCP)
	for i := range c.MCP {
		list := slices.Clone(c.MCP[i].Upstreams)
		for j := range list {
			list[j].Pin = ""
		}
		c.MCP[i].Upstreams = list
	}
	return &c
}

// showDrift prints what has changed.
func showDrift(w io.Writer, drift []tools.Change) error {
	var page bytes.Buffer
	for _, c := range drift {
		fmt.Fprintf(&page, "%s: %s\n", plain(c.Tool), c.Kind)
		if c.Diff != "" {
			fmt.Fprintf(&page, "%s\n", bytes.TrimRight([]byte(c.Diff), "\n"))
		}
	}
	return printed(w.Write(page.Bytes()))
}

// printed is the outcome of a write to standard output.
func printed(_ int, err error) error {
	if err != nil {
		return freshet.Errorf(freshet.Unavailable, "standard output: %w", err)
	}
	return nil
}

// writeWhole writes a file that others may read, which is there whole or as it was.
func writeWhole(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".freshet-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
