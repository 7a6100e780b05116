package awsprofile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"freshet.dev/freshet"
)

// maxFile is far over any file of AWS's: each of a thousand profiles takes 200 bytes.
const maxFile = 1 << 20

// read returns a file's content, and nothing for one that does not exist.
func read(path string) ([]byte, error) {
	// Without O_NONBLOCK, a pipe in the file's place would hold us until somebody writes.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, freshet.Errorf(freshet.Invalid, "%s: not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, unreadable(path, err)
	case len(b) > maxFile:
		return nil, freshet.Errorf(freshet.Invalid, "%s: over 1 MiB", path)
	}
	return b, nil
}

func unreadable(path string, err error) *freshet.Error {
	e := &freshet.Error{Kind: freshet.Invalid, Why: path + ": cannot be read", Cause: err}
	if errors.Is(err, fs.ErrPermission) {
		e.Hint = "let the user that freshet runs as read it"
	}
	return e
}

// scan looks through one of AWS's files for what no reader of it could understand, and returns the names of its profiles.
func scan(path string, credentials bool) ([]string, error) {
	b, err := read(path)
	if err != nil {
		return nil, err
	}
	malformed := func(line int, why string) error {
		return freshet.Errorf(freshet.Invalid, "%s:%d: %s", path, line, why).WithHint("AWS's files have [sections] of lines name = value")
	}
	var names []string
	n := 0
	for line := range bytes.Lines(b) {
		n++
		text := strings.TrimSpace(string(line))
		switch {
		case bytes.IndexByte(line, 0) >= 0 || !utf8.Valid(line):
			return nil, malformed(n, "not text")
		case text == "" || text[0] == '#' || text[0] == ';':
		case text[0] == '[':
			// The loader would take it for no section, and what follows for a part of the one before.
			name, _, closed := strings.Cut(text[1:], "]")
			if !closed {
				return nil, malformed(n, "a section's name without its ]")
			}
			if name, ok := profileName(name, credentials); ok {
				names = append(names, name)
			}
		case line[0] != ' ' && line[0] != '\t' && !strings.ContainsAny(text, "=:"):
			return nil, malformed(n, "neither a section nor a setting")
		}
	}
	return names, nil
}

// profileName is the name of a profile in a section's, which in the config file has the word before it, but for default.
func profileName(section string, credentials bool) (name string, ok bool) {
	section = strings.TrimSpace(section)
	if credentials || section == "default" {
		return section, true
	}
	name, ok = strings.CutPrefix(section, "profile")
	trimmed := strings.TrimLeft(name, " \t")
	return trimmed, ok && trimmed != name && trimmed != ""
}

// have is a hint that lists what profiles there are.
func have(names []string) string {
	const most = 8
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return "there are no profiles: aws configure --profile NAME makes one"
	}
	var list []string
	for _, name := range names[:min(len(names), most)] {
		if len(name) > 48 {
			name = name[:48]
		}
		list = append(list, quote(strings.ToValidUTF8(name, "")))
	}
	hint := "there are " + strings.Join(list, ", ")
	if len(names) == 1 {
		hint = "there is " + list[0]
	}
	if more := len(names) - most; more > 0 {
		hint += fmt.Sprintf(" and %d more: aws configure list-profiles", more)
	}
	return hint
}
