package scale

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/puzpuzpuz/xsync/v4"

	"freshet.dev/bench/internal/measure"
)

func memory() measure.Curve {
	return measure.Curve{
		Name:  "scale/memory",
		Title: "Memory of a key over its token",
		About: "The heap after a collection, with the keys and without them, for each key, in a process of its own. All keys share one token, so that it " +
			"does not count. Tenants are named by UUID.",
		Complexity: "O(keys). A key's own structures take what they take; its place in the table takes 16 to 32 bytes, by how full that is, which is why the " +
			"curve has teeth.",
		X: "keys", At: []int{1_000, 10_000, 100_000, 300_000, 1_000_000}, Rounds: 2,
		Columns: []measure.Column{{Name: "bytes a key", Unit: measure.Bytes, Compare: true}},
		Subjects: []measure.Sized{
			{Name: "freshet", Role: measure.Freshet, Start: elsewhere(inFreshet)},
			{
				Name: "xsync.Map", Role: measure.Floor, Modules: []string{xsyncModule}, Start: elsewhere(inMap),
				Note: "from the tenant's text to a pointer to a token: a map and no more, without expiry, schedule, eviction or a way to refresh.",
			},
		},
	}
}

// What a child process fills.
const (
	inFreshet = "freshet"
	inMap     = "map"
)

// fillVariable tells a copy of this program what to fill, and with how many keys: "what keys".
const fillVariable = "FRESHET_BENCH_FILL"

// elsewhere has a process of its own measure, so that nothing that came before is collected meanwhile.
func elsewhere(what string) func(*measure.Setup, int) (measure.Round, error) {
	return func(s *measure.Setup, keys int) (measure.Round, error) {
		return func() ([]float64, error) {
			this, err := os.Executable()
			if err != nil {
				return nil, err
			}
			cmd := exec.CommandContext(s.Context, this)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", fillVariable, what, keys))
			out, err := cmd.Output()
			if err != nil {
				return nil, fmt.Errorf("measuring in a process of its own: %w", err)
			}
			per, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
			if err == nil && per <= 0 {
				err = fmt.Errorf("%w: %v bytes a key", measure.ErrWrong, per)
			}
			return []float64{per}, err
		}, nil
	}
}

// ChildMain is what the program does first. It returns, unless this process is one that is to be filled with keys.
func ChildMain() {
	what, size, ok := strings.Cut(os.Getenv(fillVariable), " ")
	if !ok {
		return
	}
	keys, err := strconv.Atoi(size)
	if err == nil {
		var per float64
		if per, err = fill(what, keys); err == nil {
			fmt.Println(per)
			os.Exit(0)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// fill is how many bytes of heap each of so many keys takes.
func fill(what string, keys int) (float64, error) {
	before := measure.Heap()
	var full any
	switch what {
	case inFreshet:
		w, err := newWorld(keys)
		for i := 0; i < keys && err == nil; i++ {
			err = w.ask(tenant(i))
		}
		if err != nil {
			return 0, err
		}
		defer func() { _ = w.cache.Close(context.Background()) }()
		full = w
	case inMap:
		type entry struct{ token string }
		m := xsync.NewMap[string, *entry]()
		for i := range keys {
			m.Store(tenant(i).Tenant, &entry{token: token})
		}
		full = m
	default:
		return 0, errors.New("nothing of that name can be filled: " + what)
	}
	per := float64(measure.Heap()-before) / float64(keys)
	runtime.KeepAlive(full)
	return per, nil
}
