package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"freshet.dev/client"
	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
)

func approveCommand(g *global) *cobra.Command {
	var deny, all, asJSON bool
	c := &cobra.Command{
		Use:   "approve [ID]...",
		Short: "Let agents' calls of tools go on, or refuse them",
		Long: `Without an ID, list the calls of tools that wait for a person: of which tool, for whom, and with which
arguments, in full and as they will be sent. With one, let the call go on. If its agent has stopped
waiting, the same call goes on when that caller makes it again, once. --deny refuses instead.

Only the daemon's own user and root may; the audit log says who did. A bridge in a process of its own,
without a daemon, asks the person at the agent alone.`,
		Example: `  freshet approve
  freshet approve hf0xjxf4
  freshet approve --deny hf0xjxf4
  freshet approve --json | jq '.approvals[] | select(.tool == "delete_bucket")'`,
		ValidArgsFunction: func(c *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
			return g.completePending(c.Context(), given), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, ids []string) error {
			switch {
			case all && len(ids) > 0:
				return usage(c, errors.New("--all goes without an ID"))
			case deny && !all && len(ids) == 0:
				return usage(c, errors.New("--deny goes with an ID, or --all"))
			case asJSON && (all || len(ids) > 0):
				return usage(c, errors.New("--json lists, and goes without an ID"))
			case slices.Contains(ids, ""):
				return usage(c, errors.New("an ID is empty"))
			}
			s, err := g.connect(c.Context(), anyhow)
			if err != nil {
				return err
			}
			defer s.Close()
			if s.client == nil {
				return freshet.Errorf(freshet.Unavailable, "approve: no daemon is running, so no call waits").
					WithHint("start one with: freshet serve; agents that are started then use it")
			}
			if all || len(ids) == 0 {
				pending, err := s.client.Approvals(c.Context())
				if err != nil {
					return err
				}
				if !all || len(pending) == 0 {
					return listPending(c, pending, asJSON)
				}
				for _, p := range pending {
					ids = append(ids, p.ID)
				}
			}
			return decide(c, s.client, ids, !deny)
		},
	}
	c.Flags().BoolVar(&deny, "deny", false, "refuse")
	c.Flags().BoolVar(&all, "all", false, "every call that waits now")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// listPending shows what waits.
func listPending(c *cobra.Command, pending []wire.Approval, asJSON bool) error {
	if asJSON {
		b, err := json.Marshal(struct {
			Approvals []wire.Approval `json:"approvals"`
		}{append([]wire.Approval{}, pending...)})
		if err != nil {
			return freshet.Errorf(freshet.Malformed, "the daemon's list cannot be printed")
		}
		return printed(c.OutOrStdout().Write(append(b, '\n')))
	}
	if len(pending) == 0 {
		fmt.Fprintln(c.ErrOrStderr(), "freshet: no call waits for an approval")
		return nil
	}
	var page bytes.Buffer
	showPending(&page, pending)
	return printed(c.OutOrStdout().Write(page.Bytes()))
}

// showPending prints a table. What an agent or a server has chosen is shown without what would move a terminal's cursor.
func showPending(w io.Writer, pending []wire.Approval) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tBRIDGE\tSERVER\tTOOL\tCALLER\tWAITED\tLAPSES\tARGUMENTS")
	for i := range pending {
		p := &pending[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\tin %s\t%s\n", plain(p.ID), plain(p.Bridge), plain(p.Upstream), plain(p.Tool), plain(p.Caller),
			ago(&p.Asked), span(max(0, p.Expires.Sub(freshet.Now().Wall()))), arguments(p.Arguments))
	}
	_ = table.Flush() // w is memory
}

// arguments are a call's, on one line.
func arguments(text json.RawMessage) string {
	var b bytes.Buffer
	if len(text) == 0 {
		return "{}"
	}
	if json.Compact(&b, text) != nil {
		return plain(string(text))
	}
	return plain(b.String())
}

// plain writes out what is not to be seen as it is: control characters, and those that turn the direction of what follows. In JSON it
// means the same.
func plain(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// decide gives a word on each, and goes on after one that nobody knows any more.
func decide(c *cobra.Command, daemon *client.Client, ids []string, approve bool) error {
	done := "approved"
	if !approve {
		done = "refused"
	}
	var first error
	for _, id := range ids {
		err := daemon.Decide(c.Context(), id, approve)
		if e, ok := errors.AsType[*freshet.Error](err); ok {
			of := *e
			of.Why = plain(id) + ": " + e.Why
			err = &of
		}
		switch {
		case err == nil:
			fmt.Fprintf(c.ErrOrStderr(), "freshet: %s: %s\n", plain(id), done)
		case first == nil:
			first = err
		default:
			report(c.ErrOrStderr(), err)
		}
	}
	return first
}

// completing bounds what a shell waits for.
const completing = 2 * time.Second

// completePending completes with the calls that wait, less those that were given.
func (g *global) completePending(ctx context.Context, given []string) []string {
	ctx, cancel := context.WithTimeout(ctx, completing)
	defer cancel()
	s, err := g.connect(ctx, anyhow)
	if err != nil {
		return nil
	}
	defer s.Close()
	if s.client == nil {
		return nil
	}
	pending, _ := s.client.Approvals(ctx)
	var list []string
	for _, p := range pending {
		if !slices.Contains(given, p.ID) {
			list = append(list, plain(p.ID)+"\t"+plain(p.Tool)+" for "+plain(p.Caller))
		}
	}
	return list
}
