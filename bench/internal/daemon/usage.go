package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Memory is what of the process is in memory now, in bytes.
func (p *Process) Memory() (float64, error) {
	if memory, err := p.status("VmRSS:"); err == nil {
		return memory, nil
	}
	b, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(p.PID)).Output()
	if err != nil {
		return 0, err
	}
	return kilobytes(string(b))
}

// ForgetPeak has [Process.Peak] begin anew (proc(5), /proc/PID/clear_refs).
func (p *Process) ForgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.PID), []byte("5"), 0)
}

// Peak is the most of the process that was in memory at once, in bytes. Like ForgetPeak it is Linux's alone.
func (p *Process) Peak() (float64, error) { return p.status("VmHWM:") }

func (p *Process) status(name string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), name)
	return kilobytes(rest)
}

func kilobytes(s string) (float64, error) {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return 0, errors.New("no figure of its memory")
	}
	n, err := strconv.Atoi(fields[0])
	return float64(n) * 1024, err
}

// Processor is the time that processors have spent on the process and its children so far, the kernel's part included; 0 where the
// system does not tell (it is Linux that does). Unlike a rate it says nothing of who else wanted them.
func (p *Process) Processor() (total time.Duration) {
	for _, pid := range p.family() {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, thread := range threads {
			b, _ := os.ReadFile(thread) // a thread that has ended since
			first, _, _ := strings.Cut(string(b), " ")
			n, _ := strconv.ParseInt(first, 10, 64)
			total += time.Duration(n)
		}
	}
	return total
}

// family is the process and its children.
func (p *Process) family() []int {
	all := []int{p.PID}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		b, _ := os.ReadFile(stat)
		_, rest, _ := strings.Cut(string(b), ") ") // pid (name) state parent …
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(p.PID) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			all = append(all, pid)
		}
	}
	return all
}
