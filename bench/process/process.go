// Package process runs whole commands: what a caller pays who starts a program for every token, as credential_process, kubectl's
// exec plugins and shell scripts do.
package process

import (
	"os/exec"

	"freshet.dev/bench/internal/daemon"
	"freshet.dev/bench/internal/measure"
)

// Cases are those of this family.
func Cases() []measure.Case {
	c := measure.Case{
		Name: "process/token", Title: "A token by a command, as a whole process", Rounds: 15,
		About: "From starting the process to its end, and what of it was in memory at its peak; the median of nine runs in a row, and one " +
			"of `az`. A small program starts it, whose own 2 MB are the least that can be told. Each run is checked to have printed " +
			"what it was asked for.",
		Columns: []measure.Column{
			{Name: "time", Unit: measure.Nanoseconds, Compare: true},
			{Name: "memory", Unit: measure.Bytes, Compare: true},
		},
	}
	for _, p := range programs {
		c.Subjects = append(c.Subjects, measure.Subject{Name: p.name, Role: p.role, Note: p.note, Start: p.start})
	}
	return []measure.Case{c}
}

// program is a command line that is run.
type program struct {
	name  string
	role  measure.Role
	note  string
	runs  int // in a round
	exit  int
	want  string   // in what it prints
	args  []string // of freshet, if prepare is nil
	alone bool     // there is no daemon
	// prepare finds another command, and its environment.
	prepare func(*measure.Setup) (args, env []string, err error)
}

const runs = 9

var programs = []program{
	{
		name: "freshet token --format az", role: measure.Freshet, note: "from the daemon: what answers in place of `az account get-access-token`",
		runs: runs, want: `"accessToken"`, args: []string{"token", daemon.Token, "--format", "az"},
	},
	{
		name: "freshet token", role: measure.Freshet, note: "from the daemon",
		runs: runs, want: daemon.TokenText(), args: []string{"token", daemon.Token},
	},
	{
		name: "freshet token, no daemon", role: measure.Freshet, note: "it retrieves by itself; its source is a program, `cat`",
		runs: runs, want: daemon.TokenText(), args: []string{"token", daemon.Token}, alone: true,
	},
	{name: "freshet version", role: measure.Freshet, runs: runs, want: "freshet ", args: []string{"version"}, alone: true},
	{name: "hello", role: measure.Floor, note: "a Go program that prints a line", runs: runs, want: "hello", prepare: hello},
	{name: "true", role: measure.Floor, note: "a C program that does nothing", runs: runs, prepare: nothing},
	{
		name: "az", role: measure.Peer, runs: 1, exit: 1, prepare: az,
		note: "`az account get-access-token` where nobody is logged in: it says so and exits with 1, before it would read a token from its cache",
	},
}

func hello(s *measure.Setup) (args, env []string, err error) {
	path, err := s.Tools.Hello(s.Context)
	return []string{path}, nil, err
}

func nothing(*measure.Setup) (args, env []string, err error) {
	path, err := exec.LookPath("true")
	return []string{path}, nil, err
}

// freshet is its own command, and a daemon for it.
func (p program) freshet(s *measure.Setup) (args, env []string, err error) {
	home, err := daemon.New(s)
	if err != nil {
		return nil, nil, err
	}
	if !p.alone {
		d, err := home.Serve(s.Context)
		if err != nil {
			return nil, nil, err
		}
		s.Cleanup(d.Stop)
	}
	return append([]string{home.Program}, p.args...), home.Env, nil
}
