package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Columns of the table: a name, and figures that end where their heading does.
const (
	nameWidth  = 36
	cellWidth  = 9
	tableWidth = nameWidth + 7*cellWidth // 99: the widest that fits into 100 without a terminal's wrapping
)

// Print writes the ledger as a person reads it, in colour if asked to.
func (l *Ledger) Print(w io.Writer, colour bool) error {
	t := table{}
	if colour {
		t.strong, t.dim, t.plain = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"
	}
	t.row("", fmt.Sprintf("%d callers of each client,", l.Callers), "issuer", "az pro-", "peak", "wall")
	t.row("", "all at the same moment", "calls", "cesses", "memory", "time", "p50", "p99", "failed")
	for _, r := range l.Rows {
		t.rule()
		t.row("", r.Client+" "+strings.TrimPrefix(r.Release, "v"))
		t.row("", "  without freshet", r.Without.cells()...)
		t.row(t.strong, "  with freshet: "+r.Door, r.With.cells()...)
	}
	t.rule()
	without, with := l.Total.Without, l.Total.With
	t.row(t.strong, fmt.Sprintf("%d issuer calls → %d · %d az processes → %d · %s → %s · %d failures → %d",
		without.IssuerCalls, with.IssuerCalls, without.Processes, with.Processes,
		size(without.PeakMemoryBytes), size(with.PeakMemoryBytes), without.Failures, with.Failures))
	t.row("", "")
	c, r := l.Cancelled.With, l.Rejected.With
	t.row("", fmt.Sprintf("cancelled  the first of %d callers, mid-flight: %d of %d others got theirs · issuer calls %d → %d",
		c.Callers, c.Served, c.Callers-c.Cancelled, l.Cancelled.Without.IssuerCalls, c.IssuerCalls))
	t.row("", fmt.Sprintf("rejected   one version, by a service; %d callers said so: %d got the next · issuer calls %d → %d",
		r.Callers, r.Served, l.Rejected.Without.IssuerCalls, r.IssuerCalls))
	t.row("", "")
	t.text(l.footnotes())
	_, err := io.WriteString(w, t.b.String())
	return err
}

// footnotes say what was measured.
func (l *Ledger) footnotes() string {
	az, less := l.AzureCLI, ""
	if az.Reduced {
		less = ", less than usual as this machine has little memory"
	}
	return fmt.Sprintf("Measured in %s on %d processors. Each phase is a process of its own, in which no client holds a credential yet. "+
		"Issuers are a lab in this process and take %.0f ms; the container's takes %.0f ms, as long as the chain that freshet has in its place. "+
		"The lab's az takes %s, %.0f ms of it processor time, and %d MiB%s: a real one burns 600 ms and holds 56 MiB. "+
		"azidentity runs one for every call and gives up on it after 10 s; callers that share its credential get theirs one after the other. "+
		"Memory is what processes do not share, freshet's daemon included.",
		seconds(l.WallSeconds*1000), l.Machine.CPUs, l.IssuerLatencyMS, 2*l.IssuerLatencyMS,
		seconds(az.WallMS), az.ProcessorMS, az.MemoryBytes>>20, less)
}

// table is a table being written.
type table struct {
	b                  strings.Builder
	strong, dim, plain string // escape sequences; "" without colours
}

// row writes a name and its cells.
func (t *table) row(dress, name string, cells ...string) {
	line := name
	if len(cells) > 0 {
		line = fmt.Sprintf("%-*s", nameWidth, name)
	}
	for _, c := range cells {
		line += fmt.Sprintf("%*s", cellWidth, c)
	}
	if dress != "" {
		line = dress + line + t.plain
	}
	t.b.WriteString(line + "\n")
}

func (t *table) rule() {
	t.b.WriteString(t.dim + strings.Repeat("─", tableWidth) + t.plain + "\n")
}

// text fills lines with words.
func (t *table) text(s string) {
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > tableWidth {
			t.row(t.dim, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	t.row(t.dim, line)
}

// cells are a side's figures, in the order of the table's columns.
func (f Figures) cells() []string {
	return []string{
		fmt.Sprint(f.IssuerCalls), fmt.Sprint(f.Processes), size(f.PeakMemoryBytes), seconds(f.WallMS), seconds(f.P50MS), seconds(f.P99MS),
		fmt.Sprint(f.Failures),
	}
}

// size is a number of bytes in two or three digits.
func size(n *int64) string {
	switch {
	case n == nil:
		return "–"
	case *n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(*n)/1e9)
	}
	return fmt.Sprintf("%.0f MB", float64(*n)/1e6)
}

// seconds is a time in milliseconds, in two or three digits.
func seconds(ms float64) string {
	if d := time.Duration(ms * float64(time.Millisecond)); d >= 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.2f s", ms/1000)
}
