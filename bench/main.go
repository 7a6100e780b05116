// Bench puts freshet and what people would otherwise use to the same work, in turns, and prints what it cost each of them.
//
// It is a module of its own, so that what it compares with is no dependency of the product's. Run it from the repository's root with
//
//	go -C bench run .
//
// which takes about half an hour and writes RESULTS.md with its plots; go -C bench run . -help tells the rest.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"freshet.dev/bench/crowd"
	"freshet.dev/bench/hit"
	"freshet.dev/bench/internal/machine"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/report"
	"freshet.dev/bench/mcp"
	"freshet.dev/bench/process"
	"freshet.dev/bench/proxy"
	"freshet.dev/bench/scale"
	"freshet.dev/bench/serve"
	"freshet.dev/bench/trouble"
)

func cases() []measure.Case {
	var list []measure.Case
	for _, family := range []func() []measure.Case{hit.Cases, crowd.Cases, trouble.Cases, serve.Cases, proxy.Cases, mcp.Cases, process.Cases} {
		list = append(list, family()...)
	}
	return list
}

func curves() []measure.Curve { return append(hit.Curves(), scale.Curves()...) }

// plots is the folder of plots, beside the page.
const plots = "plots"

type flags struct {
	cases    *regexp.Regexp
	rounds   int
	json     string
	keep     string
	markdown string
	smoke    bool
	list     bool
}

func main() {
	trouble.ChildMain() // this program is also what one of its cases crashes,
	scale.ChildMain()   // and what others fill with keys
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	f, err := parse(args, stderr)
	if err == flag.ErrHelp {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	if f.list {
		for _, c := range cases() {
			fmt.Fprintf(stdout, "%-28s %s\n", c.Name, c.Title)
		}
		for _, c := range curves() {
			fmt.Fprintf(stdout, "%-28s %s\n", c.Name, c.Title)
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measureAll(ctx, f, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (flags, error) {
	var f flags
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	cases := set.String("cases", "", "only those cases whose names match this regular `expression`")
	set.IntVar(&f.rounds, "rounds", 7, "how many rounds at most")
	set.StringVar(&f.json, "json", "", "write every round's figures to this `file`; - for standard output")
	set.StringVar(&f.keep, "keep", "", "with -cases: take all others from this `file`, which an earlier run wrote with -json")
	set.StringVar(&f.markdown, "markdown", "", "write the page to this `file`, and its plots beside it; RESULTS.md if all cases are run")
	set.BoolVar(&f.smoke, "smoke", false, "only see that every case works: one round of little work, whose figures mean nothing")
	set.BoolVar(&f.list, "list", false, "list the cases, and run none")
	usage := func() {
		fmt.Fprint(stderr, "Bench compares freshet with what people would otherwise use. It takes half an hour on an idle machine, and uses wrk, nginx,\n"+
			"python3 and az where they are installed; what is missing is left out, and said to be.\n\n  go -C bench run . [flags]\n\n")
		set.SetOutput(stderr)
		set.PrintDefaults()
		fmt.Fprint(stderr, "\nExamples:\n  go -C bench run .                                 all of it, into RESULTS.md\n"+
			"  go -C bench run . -cases '^hit/' -rounds 3        hits alone, for a first look\n"+
			"  go -C bench run . -cases '^serve/' -json -          figures of every round\n")
	}
	if err := set.Parse(args); err != nil {
		if err == flag.ErrHelp {
			usage()
			return f, err
		}
		return f, fmt.Errorf("%w; see -help", err)
	}
	switch {
	case set.NArg() > 0:
		return f, fmt.Errorf("unexpected argument %q; see -help", set.Arg(0))
	case f.rounds < 1:
		return f, fmt.Errorf("-rounds %d: there has to be one at least", f.rounds)
	}
	if *cases == "" && f.markdown == "" && !f.smoke {
		f.markdown = "RESULTS.md"
	}
	var err error
	if f.cases, err = regexp.Compile(*cases); err != nil {
		return f, fmt.Errorf("-cases: %w", err)
	}
	return f, nil
}

func measureAll(ctx context.Context, f flags, stdout, stderr io.Writer) error {
	tools, err := measure.NewTools()
	if err != nil {
		return err
	}
	defer tools.Close()
	if f.json == "-" {
		stdout = io.Discard // the figures alone are wanted there
	}
	r := &report.Report{Made: time.Now().UTC(), Command: "go -C bench run .", Rounds: f.rounds, Machine: machine.Read(ctx)}
	if f.cases.String() != "" {
		r.Command += " -cases '" + f.cases.String() + "'"
	}
	settle := machine.Watch()
	select {
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.Before = settle()
	if r.Before.Disturbed() && !f.smoke {
		fmt.Fprintf(stderr, "bench: the machine is busy: others have %.0f %% of its processors; figures will be noisy\n", 100*r.Before.Share)
	}
	during := machine.Watch()
	o := measure.Options{Rounds: f.rounds, Smoke: f.smoke, Tools: tools}
	p := newProgress(stderr)
	var earlier report.Report
	if f.keep != "" {
		if earlier, err = report.Read(f.keep); err != nil {
			return err
		}
	}
	for _, c := range cases() {
		if !f.cases.MatchString(c.Name) {
			r.Cases = append(r.Cases, earlier.Case(c.Name)...)
			continue
		}
		o.Step = p.of(c.Name)
		res, err := measure.Run(ctx, c, o)
		p.clear()
		if err != nil {
			return err
		}
		res.Commit = r.Machine.Commit
		r.Cases = append(r.Cases, res)
		report.Text(stdout, res)
	}
	for _, c := range curves() {
		if !f.cases.MatchString(c.Name) {
			r.Curves = append(r.Curves, earlier.Curve(c.Name)...)
			continue
		}
		o.Step = p.of(c.Name)
		res, err := measure.RunCurve(ctx, c, o)
		p.clear()
		if err != nil {
			return err
		}
		res.Commit = r.Machine.Commit
		r.Curves = append(r.Curves, res)
		report.TextCurve(stdout, res)
	}
	if len(r.Cases)+len(r.Curves) == 0 {
		return fmt.Errorf("-cases %q matches none; -list tells their names", f.cases)
	}
	r.During = during()
	if f.keep != "" {
		r.Command, r.Rounds, r.Before, r.During = earlier.Command, earlier.Rounds, earlier.Before, earlier.During // of most of it
	}
	r.Used(machine.Versions())
	if warning := r.Warning(); warning != "" && !f.smoke {
		fmt.Fprintln(stderr, "bench:", warning)
	}
	if err := write(r, f); err != nil {
		return err
	}
	if failed := r.Failed(); len(failed) > 0 {
		return fmt.Errorf("%d subjects did not do their work:\n  %s", len(failed), strings.Join(failed, "\n  "))
	}
	return nil
}
