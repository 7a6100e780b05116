package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ear hears a daemon, and when it was ready.
type ear struct {
	buffer
	once  sync.Once
	ready chan struct{}
	at    time.Time // of the ready line; written before ready is closed
}

func (e *ear) Write(p []byte) (int, error) {
	now := time.Now()
	n, err := e.buffer.Write(p)
	if strings.Contains(e.String(), "freshet: ready: ") {
		e.once.Do(func() {
			e.at = now
			close(e.ready)
		})
	}
	return n, err
}

// wantChildrenGone wants the programs of sources to have ended with the daemon that ran them. A freshet token runs some too: they
// end with it.
func (c *crash) wantChildrenGone(i int, at crashPoint) {
	c.Helper()
	text := c.read("pids")
	whole := strings.LastIndex(text, "\n") + 1
	for _, pid := range strings.Fields(text[min(c.pids, whole):whole]) {
		pid, err := strconv.Atoi(pid)
		if err != nil {
			c.Fatal(err)
		}
		c.await("kill "+strconv.Itoa(i)+", "+string(at)+": the end of the source's program "+strconv.Itoa(pid), func() bool { return !alive(pid) })
	}
	c.pids = whole
}

// tear leaves the audit log as a kill within a write does. No command of the callers' may be in the middle of its own line.
func (c *crash) tear() {
	c.Helper()
	c.commands.Lock()
	defer c.commands.Unlock()
	f, err := os.OpenFile(c.path("audit.log"), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(`{"time":"2026-01-01T00:00:00Z","event":"hand_o`); err != nil {
		c.Fatal(err)
	}
	c.tears++
}

// wantAudit reads the audit log: every line is a record, but those that a kill cut, and what was cut swallows no record.
func (c *crash) wantAudit() {
	c.Helper()
	records, torn, blank := 0, 0, 0
	text := c.read("audit.log")
	for line := range strings.Lines(text) {
		var r struct{ Time, Event string }
		switch {
		case line == "\n":
			blank++
		case strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &r) == nil && r.Time != "" && r.Event != "":
			records++
		case strings.HasPrefix(line, `{"time":`) && strings.Count(line, `{"time":`) == 1:
			torn++
		default:
			c.Errorf("audit log: a line is no record, and not one that was cut: %q", line)
		}
	}
	kills := 0
	for _, n := range c.killed {
		kills += n
	}
	if torn < c.tears || torn > c.tears+kills || blank > torn {
		c.Errorf("audit log: %d records, %d cut lines of which %d were cut by this test, %d blank lines", records, torn, c.tears, blank)
	}
	if records < kills {
		c.Errorf("audit log: %d records of %d daemons", records, kills)
	}
	c.Logf("audit log: %d records, %d cut lines of which %d were cut by this test, %d blank lines", records, torn, c.tears, blank)
}

// wantNothingUnsealed searches every file but those with the secrets that the user himself keeps there.
func (c *crash) wantNothingUnsealed() {
	c.Helper()
	kept := 0
	for _, dir := range []string{c.dir, c.run} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) { // commands come and go
				return nil
			}
			if err != nil {
				return err
			}
			if c.ledger.shows(path) {
				c.Errorf("the name %s shows a secret", path)
			}
			if !d.Type().IsRegular() {
				return nil
			}
			b, err := os.ReadFile(path)
			if err != nil {
				if os.IsNotExist(err) {
					err = nil
				}
				return err
			}
			own := filepath.Dir(path) == c.path("secrets")
			switch shown := c.ledger.shows(string(b)); {
			case own && shown:
				kept++
			case shown:
				c.Errorf("%s holds a secret", path)
			}
			for _, door := range c.doors {
				if bytes.Contains(b, []byte(door)) {
					c.Errorf("%s holds a session's secret", path)
				}
			}
			return nil
		})
		if err != nil {
			c.Error(err)
		}
	}
	if want := 3 + len(crashTenants) + len(crashResources); kept != want {
		c.Errorf("the search found the secrets of %d of the user's own files, want %d", kept, want)
	}
}

// atRest lists all that is there once nothing runs any more, and wants no process, door or secret among it.
func (c *crash) atRest() []string {
	c.Helper()
	d := c.launch() // it must find its way after the last kill, and end in good order
	c.awaitReady(d)
	c.up.end()
	d.signal(os.Interrupt)
	if code := d.wait(); code != 0 {
		c.Errorf("serve: got exit code %d\n%s", code, d.heard.String())
	}
	c.await("the end of every process", func() bool { return len(c.processes()) == 0 })
	c.wantNothingUnsealed()
	c.wantAudit()
	var list []string
	for _, dir := range []string{c.dir, c.run} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			list = append(list, path)
			return err
		})
		if err != nil {
			c.Error(err)
		}
	}
	// A folder that one point of the plan makes may come with the second half.
	for _, once := range []string{"session", "freshet/runs", "freshet/flights"} {
		list = slices.DeleteFunc(list, func(path string) bool { return path == c.path(once) || path == filepath.Join(c.run, once) })
	}
	return list
}

// processes are those that have this world's folders in their environment, by which every one is known that the test or freshet
// started.
func (c *crash) processes() (list []string) {
	c.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		c.Fatal(err)
	}
	for _, dir := range all {
		if environ, err := os.ReadFile(filepath.Join(dir, "environ")); err == nil && bytes.Contains(environ, []byte(c.dir)) {
			argv, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
			list = append(list, filepath.Base(dir)+" "+strings.ReplaceAll(string(argv), "\x00", " "))
		}
	}
	return list
}
