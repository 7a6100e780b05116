package az

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Watch counts the runs of a stand-in, and the memory of those that run at the same time.
type Watch struct {
	cli    *CLI
	beside []int
	stop   chan struct{}
	done   chan struct{}
	peak   int64
	err    error
}

// every is how often memory is looked at: a run takes longer, and a look at hundreds of processes a few milliseconds.
const every = 100 * time.Millisecond

// Watch begins to watch. The memory of the processes beside is added to that of the runs.
func (c *CLI) Watch(beside ...int) (*Watch, error) {
	if err := os.Truncate(c.log, 0); err != nil {
		return nil, err
	}
	w := &Watch{cli: c, beside: beside, stop: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w, nil
}

func (w *Watch) run() {
	defer close(w.done)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for w.look() {
		select {
		case <-ticker.C:
		case <-w.stop:
			w.look()
			return
		}
	}
}

// look adds up the memory there is now, and reports whether it could.
func (w *Watch) look() bool {
	var pids []int
	if pids, w.err = w.cli.started(); w.err != nil {
		return false
	}
	var sum int64
	for _, pid := range append(pids, w.beside...) {
		sum += memory(pid)
	}
	w.peak = max(w.peak, sum)
	return true
}

// Seen is what a watch has seen.
type Seen struct {
	Runs int   // that were begun
	Left int   // of them, that went on when the watch ended
	Peak int64 // the most memory at one time
}

// Stop ends watching, and the runs that still go on: whoever started them has left them behind.
func (w *Watch) Stop(ctx context.Context) (Seen, error) {
	close(w.stop)
	<-w.done
	if w.err != nil {
		return Seen{}, w.err
	}
	pids, err := w.cli.started()
	if err != nil {
		return Seen{}, err
	}
	seen := Seen{Runs: len(pids), Peak: w.peak}
	for _, pid := range pids {
		if w.cli.running(pid) {
			seen.Left++
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, pid := range pids {
		for w.cli.running(pid) {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return Seen{}, fmt.Errorf("az, process %d, does not end: %w", pid, ctx.Err())
			}
		}
	}
	return seen, nil
}

// running reports whether a process is a run of the stand-in: another may have its number by now.
func (c *CLI) running(pid int) bool {
	args, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && strings.Contains(string(args), c.folder)
}

// memory is what a process has resident that no file is mapped to, so that what processes share is not counted for each of them; 0
// once it has ended.
func memory(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text)) // proc(5): size, resident, shared, …; in pages
	if len(fields) < 3 {
		return 0
	}
	resident, err1 := strconv.ParseInt(fields[1], 10, 64)
	shared, err2 := strconv.ParseInt(fields[2], 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return (resident - shared) * int64(os.Getpagesize())
}
