// Package machine tells what a measurement was made on, and whether that had other things to do meanwhile.
package machine

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Facts are what figures depend on beside the code.
type Facts struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory"` // bytes; 0 where it is not known
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Commit string `json:"commit"` // of this repository, with + behind it if there were changes
}

// Read finds the facts out. What cannot be found is left empty.
func Read(ctx context.Context) Facts {
	f := Facts{
		CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.GOMAXPROCS(0),
		Kernel: output(ctx, "uname", "-sr"), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		Commit: output(ctx, "git", "rev-parse", "--short", "HEAD"),
	}
	if kib, _, ok := strings.Cut(field("/proc/meminfo", "MemTotal"), " "); ok {
		n, _ := strconv.ParseInt(kib, 10, 64)
		f.Memory = n << 10
	}
	if f.Commit != "" && output(ctx, "git", "status", "--porcelain", "--untracked-files=no") != "" {
		f.Commit += "+"
	}
	return f
}

// field is the value of a file's first line "name: value".
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func output(ctx context.Context, name string, args ...string) string {
	b, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Versions are those of the modules that this program was built with, and of those that go.mod in the current folder has beside them,
// for the programs that are built from it.
func Versions() map[string]string {
	versions := make(map[string]string)
	if b, err := os.ReadFile("go.mod"); err == nil {
		for line := range strings.Lines(string(b)) {
			words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
			if len(words) >= 2 && strings.HasPrefix(words[1], "v") && !strings.HasPrefix(words[0], "freshet.dev") {
				versions[words[0]] = words[1]
			}
		}
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return versions
	}
	for _, m := range info.Deps {
		if m.Replace == nil {
			versions[m.Path] = m.Version
		}
	}
	return versions
}

// Busy is what share of the machine's processors others had for a time: those that this process, and the processes that it started
// and waited for, did not have. known is false where the system does not tell.
type Busy struct {
	Share float64 `json:"share"` // in [0, 1]
	Known bool    `json:"known"`
}

// Disturbed reports whether figures made meanwhile are to be doubted.
func (b Busy) Disturbed() bool { return b.Known && b.Share > disturbing }

// disturbing is more than a quiet system does for itself.
const disturbing = 0.05

// Watch begins to watch the processors; what it returns tells how busy others kept them since.
func Watch() func() Busy {
	began, used := time.Now(), ours()
	busy, ok := allBusy()
	return func() Busy {
		now, still := allBusy()
		took := time.Since(began) * time.Duration(runtime.NumCPU())
		if !ok || !still || took <= 0 {
			return Busy{}
		}
		others := (now - busy) - (ours() - used)
		return Busy{Share: min(1, max(0, float64(others)/float64(took))), Known: true}
	}
}

// allBusy is the time that all processors have worked since the system began (proc(5), /proc/stat), what other guests of a shared
// machine took from them included.
func allBusy() (time.Duration, bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	columns := strings.Fields(line)
	if len(columns) < 9 || columns[0] != "cpu" {
		return 0, false
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 wherever Go runs
	var busy time.Duration
	for i, column := range columns[1:9] { // user nice system idle iowait irq softirq steal
		n, err := strconv.ParseInt(column, 10, 64)
		if err != nil {
			return 0, false
		}
		if i != 3 && i != 4 {
			busy += time.Duration(n) * tick
		}
	}
	return busy, true
}
