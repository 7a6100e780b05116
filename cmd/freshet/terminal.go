package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// isTerminal reports whether a person reads what is written: only there is anything coloured or overwritten.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
