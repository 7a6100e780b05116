package process

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"freshet.dev/bench/internal/measure"
)

// start prepares a program's rounds.
func (p program) start(s *measure.Setup) (measure.Round, error) {
	launcher, err := s.Tools.Program(s.Context, "launch")
	if err != nil {
		return nil, err
	}
	prepare := p.prepare
	if prepare == nil {
		prepare = p.freshet
	}
	args, env, err := prepare(s)
	if err != nil {
		return nil, err
	}
	run := func(n int) (times, memory []float64, err error) {
		cmd := exec.CommandContext(s.Context, launcher, append([]string{strconv.Itoa(n)}, args...)...)
		cmd.Env = append([]string{}, env...) // nil would stand for this process's own
		out, err := cmd.Output()
		if err != nil {
			return nil, nil, err
		}
		return p.read(out, n)
	}
	if !s.Smoke {
		if _, _, err := run(1); err != nil { // the first retrieves, or compiles, or fills the page cache
			return nil, err
		}
	}
	return func() ([]float64, error) {
		times, memory, err := run(s.Size(p.runs, 1))
		if err != nil {
			return nil, err
		}
		return []float64{median(times), median(memory)}, nil
	}, nil
}

// read reads the launcher's lines: time, memory, exit status, and what was printed.
func (p program) read(out []byte, n int) (times, memory []float64, err error) {
	for line := range bytes.Lines(out) {
		f := strings.Split(strings.TrimRight(string(line), " \n"), " ")
		if len(f) == 3 {
			f = append(f, "") // it printed nothing
		}
		if len(f) != 4 {
			return nil, nil, fmt.Errorf("the launcher printed %d words", len(f))
		}
		took, err1 := strconv.ParseFloat(f[0], 64)
		most, err2 := strconv.ParseFloat(f[1], 64)
		exit, err3 := strconv.Atoi(f[2])
		printed, err4 := hex.DecodeString(f[3])
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			return nil, nil, err
		}
		if exit != p.exit || !bytes.Contains(printed, []byte(p.want)) {
			return nil, nil, fmt.Errorf("%w: exit status %d, and %d bytes printed", measure.ErrWrong, exit, len(printed))
		}
		times, memory = append(times, took), append(memory, most)
	}
	if len(times) != n {
		return nil, nil, fmt.Errorf("%w: %d of %d runs", measure.ErrWrong, len(times), n)
	}
	return times, memory, nil
}

// median sorts in place.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
