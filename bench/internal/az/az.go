// Package az is a stand-in for the Azure CLI, so that what asking it for a token costs can be measured without a login, on any
// machine, and the same each time. It is a program in Python, as az is, and takes as much processor time and memory at each start
// as its parameters say; nothing of it stays.
package az

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed az.py
var program []byte

// Token is what every token of the stand-in begins with.
const Token = "token-of-a-stand-in-for-az-"

// CLI is an installed stand-in.
type CLI struct {
	Dir    string // the folder to have on PATH
	Path   string // of the program
	log    string // a line for each start: its process id
	folder string
}

// Missing says what has to be installed for a stand-in; "" if nothing is missing.
func Missing() string {
	if runtime.GOOS != "linux" {
		return "It needs Linux: what processes take is read from /proc."
	}
	if _, err := exec.LookPath("python3"); err != nil {
		return "It needs Python, which the Azure CLI and the stand-in for it are written in: install python3."
	}
	return ""
}

// Install puts a stand-in into a folder. cpu is the processor time that each of its runs takes; 0 is for as little as possible.
func Install(dir string, cpu time.Duration) (*CLI, error) {
	python, err := interpreter()
	if err != nil {
		return nil, err
	}
	c := &CLI{Dir: filepath.Join(dir, "bin"), log: filepath.Join(dir, "started"), folder: dir}
	c.Path = filepath.Join(c.Dir, "az")
	text := filepath.Join(dir, "az.py")
	script := fmt.Sprintf("#!/bin/sh\necho $$ >>%s\nexec %s -I %s %s \"$@\"\n",
		quote(c.log), quote(python), quote(text), strconv.FormatFloat(cpu.Seconds(), 'f', -1, 64))
	for _, write := range []error{
		os.MkdirAll(c.Dir, 0o755), os.WriteFile(text, program, 0o644), os.WriteFile(c.Path, []byte(script), 0o755), os.WriteFile(c.log, nil, 0o644),
	} {
		if write != nil {
			return nil, write
		}
	}
	return c, nil
}

// interpreter is the path of Python itself: where several versions are kept apart python3 is a script, which would add to the weight.
var interpreter = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return "", fmt.Errorf("python3: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

// quote is for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// OnPath makes the stand-in the first az on this process's PATH, until restore is called.
func (c *CLI) OnPath() (restore func(), err error) {
	before := os.Getenv("PATH")
	if err := os.Setenv("PATH", c.Dir+string(os.PathListSeparator)+before); err != nil {
		return nil, err
	}
	return func() { _ = os.Setenv("PATH", before) }, nil
}

// Run runs the stand-in once, and returns the token that it prints.
func (c *CLI) Run(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, c.Path, "account", "get-access-token", "--output", "json").Output()
	if err != nil {
		return "", err
	}
	var said struct{ AccessToken string }
	if err := json.Unmarshal(out, &said); err != nil {
		return "", err
	}
	return said.AccessToken, nil
}

// started are the processes of the runs that have begun since the log was emptied.
func (c *CLI) started() ([]int, error) {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return nil, err
	}
	var pids []int
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.log, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
