package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What packages may allocate before main begins. Every command pays for it, the shortest included, and a dependency more, or a regular
// expression compiled for those who never need it, goes by unnoticed otherwise. Bytes are the same on every machine; time is not.
const (
	initOurs = 12 << 10
	initAll  = 1 << 20
)

func TestPackageInitBar(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector is measured too")
	}
	bin := filepath.Join(t.TempDir(), "freshet")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.Command(bin, "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	ours, all := 0, 0
	for _, m := range regexp.MustCompile(`(?m)^init (\S+) .* (\d+) bytes, `).FindAllStringSubmatch(trace.String(), -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		if all += n; strings.HasPrefix(m[1], "freshet.dev/") {
			t.Logf("%s: %d bytes", m[1], n)
			ours += n
		}
	}
	t.Logf("%d bytes in all, %d of them by this repository's packages", all, ours)
	if ours == 0 || ours > initOurs {
		t.Errorf("this repository's packages allocate %d bytes before main, want at most %d, and some", ours, initOurs)
	}
	if all > initAll {
		t.Errorf("all packages allocate %d bytes before main, want at most %d\n%s", all, initAll, trace.String())
	}
}
