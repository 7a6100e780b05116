package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"freshet.dev/bench/internal/report"
)

// write puts a report where it was asked for.
func write(r *report.Report, f flags) error {
	if f.json != "" {
		if err := writeFile(f.json, r.JSON); err != nil {
			return err
		}
	}
	if f.markdown == "" {
		return nil
	}
	for _, c := range r.Curves {
		if err := report.Plot(filepath.Join(filepath.Dir(f.markdown), plots), c); err != nil {
			return err
		}
	}
	return writeFile(f.markdown, func(w io.Writer) error { return r.Markdown(w, plots) })
}

func writeFile(path string, content func(io.Writer) error) error {
	if path == "-" {
		return content(os.Stdout)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(content(file), file.Close())
}

// progress shows what is being measured, on a terminal alone.
type progress struct {
	w  io.Writer
	on bool
}

func newProgress(w io.Writer) *progress {
	file, ok := w.(*os.File)
	return &progress{w, ok && term.IsTerminal(int(file.Fd()))}
}

func (p *progress) of(name string) func(round, rounds int, subject string) {
	return func(round, rounds int, subject string) {
		if !p.on {
			return
		}
		if round == 0 {
			fmt.Fprintf(p.w, "\r\033[K%s: preparing %s", name, subject)
		} else {
			fmt.Fprintf(p.w, "\r\033[K%s: round %d of %d: %s", name, round, rounds, subject)
		}
	}
}

func (p *progress) clear() {
	if p.on {
		fmt.Fprint(p.w, "\r\033[K")
	}
}
