package process

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/field"
)

// defaultTimeout is long for a program that only prints, and enough for Python CLIs on a busy machine.
const defaultTimeout = field.Duration(30 * time.Second)

// Config is the settings of one program.
type Config struct {
	Command  []string          `yaml:"command" required:"true" doc:"the program and its arguments; in an argument {scope}, {tenant} and {audience} stand for what is asked for"`
	Env      map[string]string `yaml:"env" doc:"environment variables for it, beside a short list of freshet's own"`
	Timeout  field.Duration    `yaml:"timeout" default:"30s" doc:"longest that one run may take"`
	Lifetime field.Duration    `yaml:"lifetime" doc:"how long its credentials live where neither it nor the token says"`
}

// Check says what is wrong with the settings, as field errors.
func (c Config) Check() error {
	var errs []error
	add := func(name, why, help string) { errs = append(errs, &field.Error{Field: name, Why: why, Help: help}) }
	switch {
	case len(c.Command) == 0 || c.Command[0] == "":
		add("command", "names no program", "write it as [PROGRAM, ARGUMENT]")
	case placeholdersIn(c.Command[0]) != 0:
		add("command", "a caller could choose the program", "keep placeholders to its arguments")
	case strings.ContainsRune(c.Command[0], filepath.Separator) && !filepath.IsAbs(c.Command[0]):
		add("command", "a path that depends on the current folder", "write the program's full path, or its name alone")
	}
	for i, arg := range c.Command {
		if strings.ContainsRune(arg, 0) {
			add(fmt.Sprintf("command[%d]", i), "has a NUL character", "")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(c.Env[name], 0):
			add("env", "has what is not a variable", "write it as {NAME: value}")
		case name == child.EnvAncestry:
			add("env", child.EnvAncestry+" is freshet's own", "remove it")
		}
	}
	return errors.Join(errs...)
}

// Placeholders is the set of fields that the command has a place for.
func (c Config) Placeholders() freshet.Fields {
	var f freshet.Fields
	for _, arg := range c.Command {
		f |= placeholdersIn(arg)
	}
	return f
}

// program names the program in errors.
func (c Config) program() string {
	if len(c.Command) == 0 {
		return "process"
	}
	return filepath.Base(c.Command[0])
}

// seed keys the digests: arguments and environment may hold what was meant for a secret's place, and an unkeyed digest of it
// could be guessed at.
var seed = maphash.MakeSeed()

// digest tells commands with their environments apart, in this process.
func (c Config) digest() string {
	var h maphash.Hash
	h.SetSeed(seed)
	write := func(s string) { fmt.Fprintf(&h, "%d:%s", len(s), s) }
	for _, arg := range c.Command {
		write(arg)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		write(name + "=" + c.Env[name])
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// String names the program and nothing else: arguments and environment may hold what was meant for a secret's place.
func (c Config) String() string { return "process(" + c.program() + ")" }

// Format implements fmt.Formatter, for every verb alike.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalText implements encoding.TextMarshaler, so that JSON shows no more than String.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// invalid is an error of the settings as one of the library's.
func invalid(err error) *freshet.Error {
	e := freshet.Errorf(freshet.Invalid, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	if f, ok := errors.AsType[*field.Error](err); ok {
		e.Hint = f.Help
	}
	return e
}
