package demo

import (
	"math"
	"os/exec"
	"strings"
	"testing"
)

// TestAzFitIntoMemory bounds what all az hold together.
func TestAzFitIntoMemory(t *testing.T) {
	for _, test := range []struct {
		n         int
		available int64
		known     bool
		want      int64
	}{
		{200, 64 << 30, true, azMemory},
		{200, 19200 << 20, true, azMemory}, // a quarter is 24 MiB each, 8 of them Go's
		{200, 12800 << 20, true, 8 << 20},
		{200, 1 << 30, true, 1 << 20},
		{200, 0, true, 1 << 20},
		{10, 2 << 30, true, azMemory},
		{200, 0, false, (azUnknown / 200) - azRuntime},
		{2, math.MaxInt64, true, azMemory},
	} {
		if got := azWeight(test.n, test.available, test.known); got != test.want {
			t.Errorf("%d az in %d bytes (known: %v): got %d each, want %d", test.n, test.available, test.known, got, test.want)
		}
	}
}

// TestQuotedPaths has a shell read back what it is given.
func TestQuotedPaths(t *testing.T) {
	for _, path := range []string{"/tmp/a b", "/tmp/it's", "/tmp/$HOME`id`\"\\", "/tmp/ü"} {
		out, err := exec.Command("/bin/sh", "-c", "printf %s "+quote(path)).Output()
		if err != nil || string(out) != path {
			t.Errorf("%q: got %q, %v", path, out, err)
		}
	}
	if strings.Count(quote(""), "'") != 2 {
		t.Error("nothing is not quoted")
	}
}
