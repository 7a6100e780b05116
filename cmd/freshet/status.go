package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"freshet.dev/broker"
	"freshet.dev/client"
	"freshet.dev/freshet"
)

// watchEvery is how often --watch asks.
const watchEvery = 2 * time.Second

func statusCommand(g *global) *cobra.Command {
	var asJSON, watch bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what the daemon holds, and how its identities fare",
		Long: `Show what the daemon holds, and how its identities fare: never a secret.

One line for each key, which is an identity together with what was asked of it: how long its
credential still lives; when it is next replaced, or tried again after a failure; and what the
last attempt came to. What is pinned is kept loaded; what is unused, because nobody has asked for
it since it was last replaced, is not replaced again. Identities that nobody has asked for have no
keys. You see those you may use; the daemon's own user and root see all.

One line for each issuer: whether it is asked or blocked, and its runway, which is how long it may
be down from now on until the first caller fails.

--json prints the document of GET /v1/status, with --watch one a line.`,
		Example: "  freshet status\n  freshet status --watch\n  freshet status --json | jq '.identities[] | select(.last_error)'",
		Args:    want(),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := g.connect(c.Context(), anyhow)
			if err != nil {
				return err
			}
			defer s.Close()
			if s.client == nil {
				return freshet.Errorf(freshet.Unavailable, "status: no daemon is running").WithHint("start one with: freshet serve")
			}
			show := showStatus
			if asJSON {
				show = jsonStatus
			}
			if !watch {
				return oneStatus(c.Context(), s.client, c.OutOrStdout(), show)
			}
			return watchStatus(c.Context(), s.client, c.OutOrStdout(), show)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "print it again every 2 seconds, until interrupted")
	return c
}

func oneStatus(ctx context.Context, daemon *client.Client, w io.Writer, show func(io.Writer, *client.Status) error) error {
	s, err := daemon.Status(ctx)
	if err != nil {
		return err
	}
	if err := show(w, s); err != nil {
		return freshet.Errorf(freshet.Unavailable, "standard output: %w", err)
	}
	return nil
}

// watchStatus shows the status again and again; on a terminal each in place of the last.
func watchStatus(ctx context.Context, daemon *client.Client, w io.Writer, show func(io.Writer, *client.Status) error) error {
	for {
		var page strings.Builder
		if err := oneStatus(ctx, daemon, &page, show); err != nil {
			return err
		}
		if isTerminal(w) {
			fmt.Fprint(w, "\x1b[H\x1b[2J")
		}
		if _, err := io.WriteString(w, page.String()); err != nil {
			return freshet.Errorf(freshet.Unavailable, "standard output: %w", err)
		}
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
			return nil // Ctrl-C is how this ends
		}
	}
}

func jsonStatus(w io.Writer, s *client.Status) error { return json.NewEncoder(w).Encode(s) }

// showStatus prints a table, and what needs attention below it.
func showStatus(w io.Writer, s *client.Status) error {
	var page strings.Builder
	fmt.Fprintf(&page, "freshet %s, %s: %s, %s, %d under way\n", s.Version, s.Config,
		count(len(s.Identities), "identity", "identities"), count(s.Entries, "key", "keys"), s.Flights)
	if s.ConfigError != "" {
		fmt.Fprintf(&page, "the file as it is now is not in force: %s\n", line(s.ConfigError))
	}
	if s.AuditLost > 0 {
		fmt.Fprintf(&page, "the audit log lost %s\n", count(int(s.AuditLost), "line", "lines"))
	}
	page.WriteByte('\n')
	table := tabwriter.NewWriter(&page, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "IDENTITY\tSOURCE\tKEY\tLIVES\tDUE\tSTATE\tFINGERPRINT\tLAST SUCCESS")
	for i := range s.Identities {
		id := &s.Identities[i]
		source := id.Source
		if id.From != "" {
			source += " from " + id.From
		}
		if len(id.Keys) == 0 {
			fmt.Fprintf(table, "%s\t%s\t–\t–\t–\t%s\t–\t%s\n", id.Name, source, idle(id), ago(id.LastSuccess))
		}
		for _, k := range id.Keys {
			fmt.Fprintf(table, "%s\t%s\t%.8s\t%s\t%s\t%s\t%.8s\t%s\n", id.Name, source, k.Key, lives(&k), due(&k), state(&k), k.Fingerprint, ago(id.LastSuccess))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	showRunway(&page, s.Issuers)
	for i := range s.Identities {
		if id := &s.Identities[i]; id.LastError != "" {
			fmt.Fprintf(&page, "\n%s: failed %s ago: %s\n", id.Name, ago(id.LastFailure), line(id.LastError))
			if id.LastHint != "" {
				fmt.Fprintf(&page, "hint: %s\n", line(id.LastHint))
			}
			showRetry(&page, id, !s.Partial)
		}
	}
	_, err := io.WriteString(w, page.String())
	return err
}

// showRetry says when an identity that fails is tried again, where that is a while, and how to have it tried now.
func showRetry(w io.Writer, id *broker.IdentityStatus, oversees bool) {
	in := 0.0
	for i := range id.Keys {
		in = max(in, id.Keys[i].RetryIn)
	}
	switch {
	case in < worthTelling.Seconds():
	case oversees:
		fmt.Fprintf(w, "tried again in %s; at once with: freshet unblock %s\n", seconds(in), id.Name)
	default:
		fmt.Fprintf(w, "tried again in %s\n", seconds(in))
	}
}

func idle(id *broker.IdentityStatus) string {
	if id.LastError != "" {
		return "failing"
	}
	return "idle"
}

// state is a key's, with what keeps it there, or does not.
func state(k *broker.KeyStatus) string {
	switch {
	case k.Pinned:
		return condition(k) + ", pinned"
	case !k.Wanted && k.Fingerprint != "":
		return condition(k) + ", unused"
	}
	return condition(k)
}

// condition is a key's in one word.
func condition(k *broker.KeyStatus) string {
	switch {
	case k.Refreshing && k.Fingerprint == "":
		return "retrieving"
	case k.Fingerprint == "" && k.LastError != "":
		return "failing"
	case k.Fingerprint == "":
		return "empty"
	case k.Rejected:
		return "rejected"
	case k.Stale:
		return "stale"
	case k.Refreshing:
		return "refreshing"
	}
	return "fresh"
}

// lives is how long a key's credential still does.
func lives(k *broker.KeyStatus) string {
	switch {
	case k.Fingerprint == "":
		return "–"
	case k.ExpiresAt == nil:
		return "forever"
	}
	return span(time.Duration(k.Remaining * float64(time.Second)))
}

func due(k *broker.KeyStatus) string {
	switch {
	case k.RetryIn > 0:
		return "in " + span(time.Duration(k.RetryIn*float64(time.Second)))
	case k.Fingerprint == "" || k.RefreshAt == nil:
		return "–"
	case k.RefreshIn <= 0:
		return "now"
	}
	return "in " + span(time.Duration(k.RefreshIn*float64(time.Second)))
}

// ago is how long ago a time was.
func ago(at *time.Time) string {
	if at == nil {
		return "–"
	}
	return span(max(0, freshet.Now().Wall().Sub(*at)))
}

// span is a duration in its two largest units.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
