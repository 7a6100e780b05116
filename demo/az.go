package demo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/shell"
	"freshet.dev/lab"
)

// What the demo's az costs. A real one burns 0.6 s of processor time and holds 56 MiB; a few hundred of those at once would
// fill any machine. These figures err on az's side: the same number of real ones takes longer and more.
const (
	azTime      = 600 * time.Millisecond // as long as a real one, on an idle machine
	azProcessor = 80 * time.Millisecond  // where there are two processors or more; otherwise half of it
	azMemory    = 16 << 20
)

const (
	// azRuntime is what an az holds besides, as any Go program does.
	azRuntime = 8 << 20
	// azUnknown is what all az together may hold where it is not known how much there is.
	azUnknown = 2 << 30
)

// azWeight is the memory that one of n az takes on purpose. All of them together take a quarter of what is available.
func azWeight(n int, available int64, known bool) int64 {
	budget := int64(azUnknown)
	if known {
		budget = available / 4
	}
	return min(azMemory, max(1<<20, budget/int64(n)-azRuntime))
}

func azProcessorTime() time.Duration {
	return azProcessor * time.Duration(min(2, runtime.GOMAXPROCS(0))) / 2
}

// writeAz puts an az on the children's PATH: it counts its start, as one that is killed early never comes to ask an issuer,
// and becomes the lab's.
func (s *stage) writeAz() error {
	inner := filepath.Join(s.dir, "lab")
	script := "#!/bin/sh\necho >>" + shell.Quote(s.started()) + "\nexec " + shell.Quote(filepath.Join(inner, "az")) + " \"$@\"\n"
	return errors.Join(os.Mkdir(inner, 0o700), lab.WriteAzureCLI(inner, s.cfg.Program, s.paths.Issuer, ""),
		os.WriteFile(filepath.Join(s.bin, "az"), []byte(script), 0o700))
}

// started is the file in which every az leaves a byte.
func (s *stage) started() string { return filepath.Join(s.dir, "az-started") }

// azs is how many az were started since forgetAzs.
func (s *stage) azs() int64 {
	info, err := os.Stat(s.started())
	if err != nil {
		return 0
	}
	return info.Size()
}

func (s *stage) forgetAzs() { _ = os.Remove(s.started()) }

// azEnvironment is what the az of a client needs.
func azEnvironment(s *stage, _ string) []string {
	return []string{
		"FRESHET_LAB=" + s.paths.Issuer, // not the one it was written for
		"FRESHET_LAB_SECRET=" + s.cloud.Credentials().AzureCLISecret,
		"FRESHET_LAB_AZ_TIME=" + azTime.String(),
		"FRESHET_LAB_AZ_CPU=" + azProcessorTime().String(),
		"FRESHET_LAB_AZ_MEMORY=" + strconv.FormatInt(s.weight, 10) + "B",
	}
}

// oneAz has one caller run one az, alone on the machine.
func (s *stage) oneAz(ctx context.Context) (AzureCLI, error) {
	a := AzureCLI{ProcessorMS: milliseconds(azProcessorTime()), MemoryBytes: s.weight, Reduced: s.weight < azMemory}
	defer s.progress.begin("one az, alone", nothing)()
	c, err := s.start(ctx, azEnvironment(s, ""), "demo", "phase")
	if err != nil {
		return a, err
	}
	r, err := c.order(ctx, order{Client: azureCLI, Callers: 1})
	if err != nil {
		return a, err
	}
	if r.Failures > 0 {
		return a, freshet.Errorf(freshet.Bug, "demo: the lab's az does not work here: %s", r.Failure).
			WithHint("where programs in the temp folder may not be run, set TMPDIR to another")
	}
	a.WallMS = r.WallMS
	return a, nil
}
