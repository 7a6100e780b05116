package demo

import (
	"fmt"
	"io"
	"sync"
	"time"

	"freshet.dev/freshet"
)

// progress says what is under way: on a terminal in one line that is written anew, elsewhere in a line for each step.
type progress struct {
	w       io.Writer
	columns int // of the terminal; 0 if it is none
	steps   int
	step    int
}

// begin says that a step has begun. Until end is called, a terminal shows how long it has taken, and what detail adds.
func (p *progress) begin(what string, detail func() string) (end func()) {
	p.step++
	if p.columns == 0 {
		fmt.Fprintf(p.w, "freshet: demo: %d/%d: %s\n", p.step, p.steps, what)
		return func() {}
	}
	head := fmt.Sprintf("%d/%d  %s", p.step, p.steps, what)
	began, over := freshet.Now(), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			text := []rune(fmt.Sprintf("%s  %.1f s%s", head, began.Elapsed().Seconds(), detail()))
			if len(text) >= p.columns { // what is wrapped could not be erased
				text = append(text[:max(0, p.columns-2)], '…')
			}
			// Carriage return, and "erase in line" (ECMA-48 §8.3.41): a shorter text leaves nothing of a longer one.
			fmt.Fprintf(p.w, "\r\x1b[K%s", string(text))
			select {
			case <-tick.C:
			case <-over:
				fmt.Fprint(p.w, "\r\x1b[K")
				return
			}
		}
	})
	return func() { close(over); wg.Wait() }
}
