package demo

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
)

// privateMemory is what the leaders' processes hold of memory that is theirs alone: resident pages less those of files, which
// they share (proc(5), statm). Adding up resident pages would count a program's text once for each process that runs it.
// Proportional shares (smaps_rollup) would be finer, but the kernel walks every page for them, and shows no one else's daemon.
func privateMemory(leaders []int) (n int64, ok bool) {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0, false
	}
	names, _ := dir.Readdirnames(-1) // what can be read counts
	dir.Close()
	type process struct{ pid, parent, group int }
	var all []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if parent, group, ok := family(name); ok {
			all = append(all, process{pid, parent, group})
		}
	}
	ours := make(map[int]bool)
	for _, pid := range leaders {
		ours[pid] = true
	}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			// A process whose parent has ended stays in its group.
			if !ours[p.pid] && (ours[p.parent] || ours[p.group]) {
				ours[p.pid], grown = true, true
			}
		}
	}
	for pid := range ours {
		pages := private(strconv.Itoa(pid))
		n += pages * int64(os.Getpagesize())
		ok = ok || pages > 0
	}
	return n, ok
}

// family reads a process's parent and group, which come after its name, in parentheses, and its state.
func family(pid string) (parent, group int, ok bool) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, 0, false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 3 {
		return 0, 0, false
	}
	parent, err1 := strconv.Atoi(string(fields[1]))
	group, err2 := strconv.Atoi(string(fields[2]))
	return parent, group, err1 == nil && err2 == nil
}

// private is a process's resident pages less the shared ones; 0 once it has ended.
func private(pid string) int64 {
	statm, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(statm)
	if len(fields) < 3 {
		return 0
	}
	resident, err1 := strconv.ParseInt(string(fields[1]), 10, 64)
	shared, err2 := strconv.ParseInt(string(fields[2]), 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return max(0, resident-shared)
}

// availableMemory is how much can be used without swapping (proc(5), MemAvailable), and without being killed where this process
// is in a container.
func availableMemory() (n int64, ok bool) {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(info) {
		if rest, found := bytes.CutPrefix(line, []byte("MemAvailable:")); found {
			if fields := bytes.Fields(rest); len(fields) > 0 {
				n, err = strconv.ParseInt(string(fields[0]), 10, 64)
				n, ok = n<<10, err == nil
			}
		}
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || !ok {
		return n, ok
	}
	return min(n, allowance("/sys/fs/cgroup", groups)), true
}

// allowance is what this process's groups (cgroups(7), version 2) may still use, as root shows them; without limits, more than
// there is.
func allowance(root string, groups []byte) int64 {
	least := int64(math.MaxInt64)
	for line := range bytes.Lines(groups) {
		path, found := bytes.CutPrefix(bytes.TrimSpace(line), []byte("0::"))
		if !found {
			continue
		}
		for dir := string(path); ; dir = filepath.Dir(dir) {
			limit, ok1 := number(filepath.Join(root, dir, "memory.max")) // "max" where there is none
			used, ok2 := number(filepath.Join(root, dir, "memory.current"))
			if ok1 && ok2 {
				least = min(least, max(0, limit-used))
			}
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	return least
}

// number reads a file that holds one.
func number(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	return n, err == nil
}
