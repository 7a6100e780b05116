package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"freshet.dev/broker"
	"freshet.dev/freshet"
	"freshet.dev/internal/field"
)

// exitDrill is the exit code of drill --check if somebody would fail.
const exitDrill exit = 5

func drillCommand(g *global) *cobra.Command {
	var asJSON, check bool
	var down time.Duration
	c := &cobra.Command{
		Use:   "drill IDENTITY --down DURATION",
		Short: "Rehearse an outage of an identity's issuers: who would fail, and when",
		Long: `Rehearse an outage of the issuers behind an identity, against what the daemon holds now. Nothing is
retrieved, blocked or changed: it is worked out from how long each credential still lives.

Every identity that depends on the same issuers takes part, those too that are made from others.
A key fails from when its credential ends until the outage does, and at most a minute longer, as
the daemon then has to find out. Keys that nobody asks for count for nobody. What would be asked
for only during the outage is not known, and would fail at once.

It exits 0 whatever it finds; with --check 5 if somebody would fail.`,
		ValidArgsFunction: g.completeIdentity,
		Example: `  freshet drill prod --down 40m
  freshet drill azure-dev --down 2h --check          in a script: may the issuer be taken down?
  freshet drill prod --down 40m --json | jq '.outcomes[] | select(.outcome == "fails")'`,
		Args: want("IDENTITY"),
		RunE: func(c *cobra.Command, a []string) error {
			if !c.Flags().Changed("down") {
				return usage(c, freshet.Errorf(freshet.Invalid, "--down is missing"))
			}
			if down <= 0 {
				return usage(c, freshet.Errorf(freshet.Invalid, "--down is not a duration over 0s"))
			}
			s, err := g.connect(c.Context(), anyhow)
			if err != nil {
				return err
			}
			defer s.Close()
			if s.client == nil {
				return freshet.Errorf(freshet.Unavailable, "drill: no daemon is running, so there is nothing to rehearse with").
					WithHint("start one with: freshet serve")
			}
			status, err := s.client.Status(c.Context())
			if err != nil {
				return err
			}
			d, err := broker.Rehearse(status.Status, a[0], down)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(c.OutOrStdout()).Encode(d)
			} else {
				err = showDrill(c.OutOrStdout(), &d)
			}
			if err != nil {
				return freshet.Errorf(freshet.Unavailable, "standard output: %w", err)
			}
			if check && d.Failing > 0 {
				return exitDrill
			}
			return nil
		},
	}
	f := c.Flags()
	f.DurationVar(&down, "down", 0, "how long the issuers are down, from now on, such as 40m")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&check, "check", false, "exit 5 if somebody would fail")
	return c
}

// showDrill prints the verdict, and what becomes of each key.
func showDrill(w io.Writer, d *broker.Drill) error {
	var page strings.Builder
	fmt.Fprintf(&page, "%s\n%s down for %s from now on\n", verdict(d), strings.Join(d.Issuers, ", "), field.Duration(d.Down*float64(time.Second)))
	if len(d.Outcomes) > 0 {
		page.WriteByte('\n')
		table := tabwriter.NewWriter(&page, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "IDENTITY\tKEY\tLASTS\tOUTCOME\tUSED BY")
		for i := range d.Outcomes {
			o := &d.Outcomes[i]
			key, lasts := "–", "–"
			if o.Key != "" {
				key = fmt.Sprintf("%.8s", o.Key)
			}
			if o.Lasts != nil {
				lasts = seconds(*o.Lasts)
			}
			used := "–"
			if len(o.UsedBy) > 0 {
				used = strings.Join(o.UsedBy, ", ")
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", o.Identity, key, lasts, fate(o), used)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	if d.Partial {
		page.WriteString("\nonly of the identities that you may use\n")
	}
	_, err := io.WriteString(w, page.String())
	return err
}

// verdict is the outcome in one line.
func verdict(d *broker.Drill) string {
	switch {
	case d.Failing > 0 && *d.First <= 0:
		return fmt.Sprintf("%d of %s would fail, the first at once (%s)", d.Failing, count(d.Wanted, "key", "keys"), d.Shortest)
	case d.Failing > 0:
		return fmt.Sprintf("%d of %s would fail, the first in %s (%s)", d.Failing, count(d.Wanted, "key", "keys"), seconds(*d.First), d.Shortest)
	case d.Runway == nil:
		return "nobody would fail: no key is in use"
	}
	return fmt.Sprintf("nobody would fail: the shortest runway is %s (%s)", seconds(*d.Runway), d.Shortest)
}

// fate is what becomes of a key.
func fate(o *broker.Outcome) string {
	switch o.Outcome {
	case broker.Fails:
		from := "fails at once"
		if *o.From > 0 {
			from = "fails after " + seconds(*o.From)
		}
		return fmt.Sprintf("%s, for %s at most", from, seconds(*o.Until-*o.From))
	case broker.Lapses:
		return "unused: it lapses"
	case broker.Idle:
		return "nothing held: who asks first fails"
	case broker.Refused:
		return "not served now either"
	case broker.Loading:
		return "being retrieved"
	}
	return "survives"
}

// forever is what a credential lasts that does not expire: no other lasts so long.
const forever = 10 * 365 * 24 * time.Hour

// seconds is a span that a document has in seconds.
func seconds(s float64) string {
	if s >= forever.Seconds() {
		return "forever"
	}
	return span(time.Duration(s * float64(time.Second)))
}
