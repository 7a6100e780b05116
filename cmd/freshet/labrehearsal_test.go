package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// step is a block of commands in a document, and what it says that one sees.
type step struct{ commands, sees string }

// steps are a document's blocks of commands, with the block of text that may follow each.
func steps(t *testing.T, path string) []step {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []step
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		switch {
		case m[1] == "sh":
			all = append(all, step{commands: m[2]})
		case m[1] == "text" && len(all) > 0 && all[len(all)-1].sees == "":
			all[len(all)-1].sees = m[2]
		default:
			t.Fatalf("%s has a block that nothing looks at:\n%s", path, m[0])
		}
	}
	return all
}

// shown finds the lines that a document shows in an output, in their order; … is anything, and space any space.
func shown(output, sees string) (missing string) {
	lines := strings.Split(output, "\n")
	for want := range strings.Lines(sees) {
		words := strings.Fields(want)
		for i, word := range words {
			words[i] = strings.ReplaceAll(regexp.QuoteMeta(word), "…", ".*")
		}
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(strings.Join(words, `\s+`), `\s+.*`, `\s.*`) + `\s*$`)
		for len(lines) > 0 && !pattern.MatchString(strings.TrimSpace(lines[0])) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			return want
		}
		lines = lines[1:]
	}
	return ""
}

// TestRehearsalGoesAsItsDocumentSays runs docs/rehearsal.md in one shell, from its first command to its last.
func TestRehearsalGoesAsItsDocumentSays(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes most of a minute")
	}
	t.Parallel()
	const document = "../../docs/rehearsal.md"
	all := steps(t, document)
	if len(all) < 8 {
		t.Fatalf("%s has %d blocks of commands", document, len(all))
	}
	w := newWorld(t)
	mark := func(i int) string { return fmt.Sprintf("~~~ %d\n", i) }
	script := "set -eu\n"
	for i, s := range all {
		script += s.commands + "echo '" + strings.TrimSpace(mark(i)) + "'\n"
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir, cmd.Env = w.dir, w.env
	cmd.Env = append(cmd.Env, "TMPDIR="+w.run) // sockets' paths must be short
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	var out buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	r := w.begin(cmd)
	w.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // what it left in the background
	select {
	case <-r.ended:
	case <-time.After(4 * time.Minute):
		t.Fatalf("it goes on and on:\n%s", out.String())
	}
	rest := out.String()
	for i, s := range all {
		output, after, ok := strings.Cut(rest, mark(i))
		if !ok {
			t.Fatalf("these commands fail:\n%s\n%s", s.commands, rest)
		}
		if missing := shown(output, s.sees); missing != "" {
			t.Errorf("it does not show, after what comes before it,\n%s\nafter\n%s\nwhich shows\n%s", missing, s.commands, output)
		}
		rest = after
	}
}
