// Launch runs a program several times, one after another, and prints a line for each: nanoseconds, bytes of memory at its peak,
// exit status, and what it printed, in hexadecimal.
//
// It is small on purpose. Linux counts what the starting process has in memory as the started one's too, up to the moment when
// the program is executed: a large process cannot measure a small one.
package main

import (
	"encoding/hex"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

func main() {
	n, err := strconv.Atoi(os.Args[1])
	for ; err == nil && n > 0; n-- {
		err = once(os.Args[2:])
	}
	if err != nil {
		_, _ = os.Stderr.WriteString("launch: " + err.Error() + "\n")
		os.Exit(1)
	}
}

func once(argv []string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	began := time.Now()
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Files: []*os.File{nil, w, nil}, Env: os.Environ()})
	w.Close()
	if err != nil {
		return err
	}
	state, err := p.Wait()
	took := time.Since(began)
	if err != nil {
		return err
	}
	// What it printed fits the pipe, or it would not have ended.
	out := make([]byte, 64<<10)
	size, _ := r.Read(out)
	memory := state.SysUsage().(*syscall.Rusage).Maxrss
	if runtime.GOOS == "linux" {
		memory *= 1024 // getrusage(2): kilobytes there, bytes on the BSDs and macOS
	}
	for _, field := range []string{
		strconv.FormatInt(int64(took), 10), strconv.FormatInt(memory, 10), strconv.Itoa(state.ExitCode()), hex.EncodeToString(out[:size]),
	} {
		_, _ = os.Stdout.WriteString(field + " ")
	}
	_, err = os.Stdout.WriteString("\n")
	return err
}
