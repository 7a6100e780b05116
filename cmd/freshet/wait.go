package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/internal/wire"
)

// waitFlag adds --wait to a command.
func waitFlag(c *cobra.Command, wait *time.Duration) {
	c.Flags().DurationVar(wait, "wait", 0, "if nothing valid is to be had and the issuer fails, wait for it as long as this, such as 30s")
}

func checkWait(c *cobra.Command, wait time.Duration) error {
	switch {
	case wait < 0:
		return usage(c, freshet.Errorf(freshet.Invalid, "--wait is negative"))
	case wait > wire.MaxHold:
		return usage(c, freshet.Errorf(freshet.Invalid, "--wait is over %s", field.Duration(wire.MaxHold)))
	}
	return nil
}

// showWait tells a person at a terminal for how much longer a command may wait, until it is stopped.
func showWait(w io.Writer, what string, wait time.Duration) (stop func()) {
	if wait <= 0 || !isTerminal(w) {
		return func() {}
	}
	return tellWait(w, what, wait)
}

// tellWait is showWait on anything. Who is answered within a second is told nothing.
func tellWait(w io.Writer, what string, wait time.Duration) (stop func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for left, told := wait, false; ; told = true {
			select {
			case <-tick.C:
				left = max(0, left-time.Second)
				fmt.Fprintf(w, "\r\x1b[Kfreshet: %s: waiting for its issuer, for at most %s more", what, span(left))
			case <-ended:
				if told {
					fmt.Fprint(w, "\r\x1b[K")
				}
				return
			}
		}
	}()
	return func() {
		close(ended)
		<-done
	}
}
