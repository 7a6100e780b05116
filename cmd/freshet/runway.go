package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"freshet.dev/broker"
)

// pageWidth is how wide lines may be, where they can be broken.
const pageWidth = 100

// showRunway prints a line for each issuer: how it is, and who fails for it when.
func showRunway(w io.Writer, issuers []broker.IssuerStatus) {
	if len(issuers) == 0 {
		return
	}
	fmt.Fprintln(w, "\nRUNWAY if an issuer goes down now")
	widest := 0
	for i := range issuers {
		widest = max(widest, utf8.RuneCountInString(issuers[i].Host))
	}
	for i := range issuers {
		s := &issuers[i]
		host := s.Host + strings.Repeat(" ", min(widest, 40)-min(utf8.RuneCountInString(s.Host), min(widest, 40)))
		state := "up"
		switch {
		case s.Blocked:
			state = blocked(s.Host, s.RetryIn, s.Why)
		case len(s.Blocks) > 0:
			state = "blocked in part"
		}
		fmt.Fprintln(w, fold(host, state, consequence(s)))
		if s.Hint != "" {
			fmt.Fprintf(w, "    hint: %s\n", line(s.Hint))
		}
		for _, b := range s.Blocks {
			var as []string
			if b.Tenant != "" {
				as = append(as, "tenant "+b.Tenant)
			}
			if b.Client != "" {
				as = append(as, "client "+b.Client)
			}
			fmt.Fprintln(w, fold("    "+strings.Join(as, ", "), blocked(b.Host, b.RetryIn, b.Why)))
		}
	}
}

// blocked says for how long an issuer is not asked, and why. While one retrieval finds out whether it is well there is no time.
func blocked(host string, retryIn float64, why string) string {
	why = line(strings.TrimPrefix(why, host+": "))
	if retryIn <= 0 {
		return "blocked, and being tried: " + why
	}
	return fmt.Sprintf("blocked for %s: %s", seconds(retryIn), why)
}

// consequence says what an outage of the issuer would do, or does.
func consequence(s *broker.IssuerStatus) string {
	switch {
	case s.Runway == nil:
		return "nobody uses it now"
	case seconds(*s.Runway) == "forever":
		return "nothing of it expires"
	case *s.Runway <= 0:
		return fmt.Sprintf("callers fail already (%s)", s.First)
	}
	return fmt.Sprintf("the first caller fails in %s (%s)", seconds(*s.Runway), s.First)
}

// fold joins the parts of a line, and begins another where the page ends.
func fold(parts ...string) string {
	var b strings.Builder
	column := 0
	for i, p := range parts {
		n := utf8.RuneCountInString(p)
		switch {
		case i == 0:
		case column+2+n > pageWidth:
			b.WriteString("\n        ")
			column = 8
		default:
			b.WriteString("  ")
			column += 2
		}
		b.WriteString(p)
		column += n
	}
	return b.String()
}
