package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/lab"
)

// The words beside issuers and kinds.
const (
	everyIssuer = "all"
	faultOff    = "off"
	faultStatus = "status"
)

// faultCommand is what freshet lab fault was told.
type faultCommand struct {
	admin  labAdmin
	fault  lab.Fault
	asJSON bool
}

func labFaultCommand() *cobra.Command {
	var f faultCommand
	c := &cobra.Command{
		Use:   "fault [ISSUER KIND | ISSUER off | status]",
		Short: "Let an issuer of a running lab fail, to rehearse that",
		Long: `Let an issuer of a running lab fail for a while, to rehearse that with one's own clients; without
arguments, show what fails, for how long yet, and what each issuer was asked.

ISSUER is ` + strings.Join(lab.Issuers(), ", ") + `, several of them with commas between,
or all. KIND is one of

` + kindsText() + `
A fault touches requests for credentials alone. It ends by itself, after 10 minutes unless --for says
otherwise, or with off. One of the same kind for the same tenant takes its place; others stand beside
it, and of those that could touch a request those for its tenant come first. What a fault made or
altered has a header ` + lab.FaultHeader + ` and is counted apart.

The lab and its admin token are those that freshet lab serve exports.`,
		Example: `  freshet lab fault entra outage --for 20m
  freshet lab fault entra,oauth outage --how hang --for 2m
  freshet lab fault sts throttle --retry-after 30s --probability 0.3 --seed 1
  freshet lab fault entra slow --by 2s --jitter 1s --tenant 1ab00000-0000-4000-8000-000000000001
  freshet lab fault oauth malformed --how expired
  freshet lab fault sts skew --by=-90s
  freshet lab fault                                 what fails, and for how long yet
  freshet lab fault all off`,
		ValidArgsFunction: completeFault,
		Args:              faultArgs,
		RunE: func(c *cobra.Command, a []string) error {
			switch {
			case len(a) < 2:
				return f.show(c)
			case a[1] == faultOff:
				return f.off(c, a[0])
			}
			return f.put(c, a[0], lab.Kind(a[1]))
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.fault.How, "how", "", "the `WAY` in which it shows (default: the first named above)")
	flags.StringVar(&f.fault.Tenant, "tenant", "", "only requests of `TENANT`; at sts, the role's account")
	flags.DurationVar(&f.fault.For, "for", 0, "how long it lasts, up to 24h (default 10m)")
	flags.Float64Var(&f.fault.Probability, "probability", 1, "how many of the requests it touches, up to 1")
	flags.Uint64Var(&f.fault.Seed, "seed", 0, "where chance begins: the same requests, the same outcomes")
	flags.DurationVar(&f.fault.RetryAfter, "retry-after", 0, "what a throttle or an outage says as Retry-After (default: nothing)")
	flags.IntVar(&f.fault.Status, "status", 0, "an outage's status (default 503)")
	flags.DurationVar(&f.fault.By, "by", 0, "how much slower, or how far the clock is ahead; behind, as --by=-90s")
	flags.DurationVar(&f.fault.Jitter, "jitter", 0, "a random part on top of a slow issuer's --by, at most")
	flags.BoolVar(&f.asJSON, "json", false, "show JSON: the document of GET /admin/issuers")
	f.admin.flags(flags)
	_ = c.RegisterFlagCompletionFunc("how", func(_ *cobra.Command, a []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(a) < 2 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return lab.Kind(a[1]).Ways(), cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

var aboutKinds = map[lab.Kind]string{
	lab.Throttle:  "it says that too much is asked of it: seconds, date (as --retry-after is told)",
	lab.Malformed: "truncated, short, types, html, error, expired, again",
	lab.Outage:    "5xx, refused, hang, reset",
	lab.Slow:      "it takes --by longer",
	lab.Skew:      "its clock is off --by",
}

func kindsText() string {
	var b strings.Builder
	for _, k := range lab.Kinds() {
		fmt.Fprintf(&b, "  %-10s %s\n", k, aboutKinds[k])
	}
	return b.String()
}

// faultArgs are none, status, or an issuer and what shall be with it.
func faultArgs(c *cobra.Command, a []string) error {
	switch {
	case len(a) == 0, len(a) == 1 && a[0] == faultStatus:
		return settled(c, "an issuer and a kind", "json", "lab", "admin-token-file")
	case len(a) == 1:
		return usage(c, fmt.Errorf("KIND is missing: there are %s, and %s", kindNames(), faultOff))
	case len(a) > 2:
		return usage(c, fmt.Errorf("one argument too many: %q", a[2]))
	}
	for _, name := range faultIssuers(a[0]) {
		if !slices.Contains(lab.Issuers(), name) {
			return usage(c, fmt.Errorf("unknown issuer %q: there are %s, and %s", name, strings.Join(lab.Issuers(), ", "), everyIssuer))
		}
	}
	if a[1] == faultOff {
		return settled(c, "a kind", "tenant", "lab", "admin-token-file")
	}
	if c.Flags().Changed("json") {
		return usage(c, fmt.Errorf("--json is for what fails: freshet lab fault --json"))
	}
	return nil
}

// settled refuses flags that would be ignored: all that were set but these go with something else.
func settled(c *cobra.Command, with string, these ...string) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && c.InheritedFlags().Lookup(f.Name) == nil && !slices.Contains(these, f.Name) {
			err = usage(c, fmt.Errorf("--%s goes with %s", f.Name, with))
		}
	})
	return err
}

func faultIssuers(text string) []string {
	if text == everyIssuer {
		return lab.Issuers()
	}
	return strings.Split(text, ",")
}

func kindNames() string {
	var names []string
	for _, k := range lab.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func (f *faultCommand) put(c *cobra.Command, issuers string, k lab.Kind) error {
	f.fault.Kind = k
	set := c.Flags().Changed
	switch {
	case !slices.Contains(lab.Kinds(), k):
		return usage(c, fmt.Errorf("unknown fault %q: there are %s, and %s", k, kindNames(), faultOff))
	case f.fault.Probability == 0, set("for") && f.fault.For == 0, set("status") && f.fault.Status == 0:
		return usage(c, fmt.Errorf("a fault with nothing to it: --probability, --for and --status are not 0"))
	}
	for _, name := range faultIssuers(issuers) {
		if err := f.fault.Check(name); err != nil {
			return usage(c, fmt.Errorf("%s", strings.ReplaceAll(strings.TrimPrefix(err.Error(), "lab: "), "_", "-")))
		}
	}
	if err := f.admin.find(c.Context()); err != nil {
		return err
	}
	for _, name := range faultIssuers(issuers) {
		if err := f.admin.inject(c.Context(), name, f.fault); err != nil {
			return err
		}
	}
	lasts := "10m"
	if f.fault.For != 0 {
		lasts = field.Duration(f.fault.For).String()
	}
	fmt.Fprintf(c.ErrOrStderr(), "freshet: %s: %s for %s; it ends by itself, or with: freshet lab fault %s off\n", issuers, f.fault, lasts, issuers)
	return nil
}

func (f *faultCommand) off(c *cobra.Command, issuers string) error {
	if err := f.admin.find(c.Context()); err != nil {
		return err
	}
	for _, name := range faultIssuers(issuers) {
		if err := f.admin.clear(c.Context(), name, f.fault.Tenant); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.ErrOrStderr(), "freshet: %s: nothing fails on purpose any more%s\n", issuers, ofTenant(f.fault.Tenant))
	return nil
}

func ofTenant(tenant string) string {
	if tenant == "" {
		return ""
	}
	return " for tenant " + tenant + " alone"
}

func (f *faultCommand) show(c *cobra.Command) error {
	if err := f.admin.find(c.Context()); err != nil {
		return err
	}
	all, err := f.admin.status(c.Context())
	if err != nil {
		return err
	}
	if f.asJSON {
		err = json.NewEncoder(c.OutOrStdout()).Encode(all)
	} else {
		err = showFaults(c.OutOrStdout(), all)
	}
	if err != nil {
		return freshet.Errorf(freshet.Unavailable, "standard output: %w", err)
	}
	return nil
}

// showFaults prints what fails, and what each issuer was asked.
func showFaults(w io.Writer, all map[string]lab.IssuerStatus) error {
	var page strings.Builder
	names := slices.Sorted(maps.Keys(all))
	table := tabwriter.NewWriter(&page, 0, 0, 2, ' ', 0)
	on := 0
	for _, name := range names {
		for _, a := range all[name].Faults {
			if on++; on == 1 {
				fmt.Fprintln(table, "ISSUER\tFAULT\tTENANT\tCHANCE\tENDS IN\tTOUCHED")
			}
			tenant := a.Tenant
			if tenant == "" {
				tenant = everyIssuer
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d of %d\n", name, faultText(&a.Fault), tenant,
				strconv.FormatFloat(a.Probability, 'g', -1, 64), span(a.Left.Round(time.Second)), a.Touched, a.Requests)
		}
	}
	if on == 0 {
		fmt.Fprintln(table, "nothing fails on purpose")
	}
	fmt.Fprintln(table, "\nISSUER\tREQUESTS\tGRANTED\tREFUSED\tFAULTS")
	for _, name := range names {
		n := all[name].Count
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\n", name, n.Requests, n.Granted, n.Refused, faultedText(n.Faults))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, page.String())
	return err
}

// faultText is a fault with what there is to it.
func faultText(f *lab.Fault) string {
	text := f.String()
	if f.Status != 0 {
		text = strings.Replace(text, "5xx", strconv.Itoa(f.Status), 1)
	}
	if f.By != 0 {
		text += " by " + f.By.String()
	}
	if f.Jitter != 0 {
		text += " to " + (f.By + f.Jitter).String()
	}
	if f.RetryAfter != 0 {
		text += ", retry after " + field.Duration(f.RetryAfter).String()
	}
	return text
}

// faultedText is how many requests faults had a part in.
func faultedText(n lab.Faulted) string {
	var parts []string
	for _, one := range []struct {
		kind lab.Kind
		n    int64
	}{{lab.Throttle, n.Throttle}, {lab.Malformed, n.Malformed}, {lab.Outage, n.Outage}, {lab.Slow, n.Slow}, {lab.Skew, n.Skew}} {
		if one.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", one.n, one.kind))
		}
	}
	if len(parts) == 0 {
		return "–"
	}
	return strings.Join(parts, ", ")
}

// completeFault completes issuers, and then kinds.
func completeFault(_ *cobra.Command, a []string, _ string) ([]string, cobra.ShellCompDirective) {
	var words []string
	switch len(a) {
	case 0:
		words = append(lab.Issuers(), everyIssuer, faultStatus)
	case 1:
		for _, k := range lab.Kinds() {
			words = append(words, string(k)+"\t"+aboutKinds[k])
		}
		words = append(words, faultOff+"\tno faults any more")
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
