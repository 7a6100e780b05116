// Package measure puts the same work to several subjects in turn, and compares what it cost them.
//
// Machines are shared and noisy: a figure of one moment says little about another's. Subjects therefore take turns, round by round
// and in another order each round, and a ratio is taken within a round, of figures that were measured within seconds of each other.
package measure

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Case is a question that is put to freshet, and to what people would otherwise use.
type Case struct {
	Name     string // family/question, which the command's -cases selects by
	Title    string
	About    string // the work, and how each subject is used; Markdown
	Columns  []Column
	Rounds   int       // at most; 0: as many as the command was asked for. Where a round takes long there are few
	Missing  string    // what has to be installed for it, in a sentence; "": nothing is missing
	Subjects []Subject // the first whose role is Freshet is what the others are compared with
}

// Column is a figure that each subject has.
type Column struct {
	Name    string   `json:"name"`
	Unit    Unit     `json:"unit"`
	More    bool     `json:"more_is_better,omitempty"`
	Compare bool     `json:"compare,omitempty"` // ratios are taken of it
	Words   []string `json:"words,omitempty"`   // of what its values, from 0, mean; for what is no quantity
}

// Unit is what a column's values count.
type Unit string

// The units there are.
const (
	Nanoseconds Unit = "ns"
	Bytes       Unit = "B"
	PerSecond   Unit = "/s"
	Count       Unit = ""
)

// Role is what a subject stands for in a comparison.
type Role string

// The roles there are.
const (
	Freshet Role = "freshet"
	Peer    Role = "peer"  // what people use today
	Floor   Role = "floor" // what nothing that does the work can be below
)

// Subject is one of those who do a case's work.
type Subject struct {
	Name    string
	Role    Role
	Modules []string // whose versions are printed: the import paths of Go modules
	Note    string   // how it is used, if that is not plain; a sentence
	Start   func(*Setup) (Round, error)
}

// Round does a case's work once and returns a value for each column.
type Round func() ([]float64, error)

// Setup is what a subject may use to prepare for its rounds.
type Setup struct {
	Context context.Context // ends when the command is interrupted
	Smoke   bool            // the figures do not matter, only that the case works: it has to be quick
	Tools   *Tools
	cleanup []func()
}

// Size is how much of something there is: full, or little in a smoke run.
func (s *Setup) Size(full, smoke int) int {
	if s.Smoke {
		return smoke
	}
	return full
}

// Cleanup has f called when the case is over, last come first served.
func (s *Setup) Cleanup(f func()) { s.cleanup = append(s.cleanup, f) }

func (s *Setup) close() {
	for _, f := range slices.Backward(s.cleanup) {
		f()
	}
}

// Options say how a case is run.
type Options struct {
	Rounds int
	Smoke  bool
	Tools  *Tools
	Step   func(round, rounds int, subject string) // is told of progress; may be nil
}

// Run puts a case to its subjects. What a subject fails at is its row's Err; the error returned is the context's, or one of the
// case itself.
func Run(ctx context.Context, c Case, o Options) (Result, error) {
	res := Result{Name: c.Name, Title: c.Title, About: c.About, Columns: c.Columns, Missing: c.Missing}
	if c.Missing != "" {
		return res, nil
	}
	rounds := o.Rounds
	if c.Rounds > 0 {
		rounds = min(rounds, c.Rounds)
	}
	if o.Smoke {
		rounds = 1
	}
	s := &Setup{Context: ctx, Smoke: o.Smoke, Tools: o.Tools}
	defer s.close()
	started := make([]Round, len(c.Subjects))
	for i, subject := range c.Subjects {
		o.tell(0, rounds, subject.Name)
		row := Row{Subject: subject.Name, Role: subject.Role, Modules: subject.Modules, Note: subject.Note}
		var err error
		if started[i], err = subject.Start(s); err != nil {
			row.Err = err.Error()
		}
		res.Rows = append(res.Rows, row)
	}
	for round := range rounds {
		for _, i := range rand.Perm(len(c.Subjects)) {
			row := &res.Rows[i]
			if row.Err != "" {
				continue
			}
			o.tell(round+1, rounds, row.Subject)
			values, err := started[i]()
			if ctx.Err() != nil {
				return res, context.Cause(ctx)
			}
			if err == nil && len(values) != len(c.Columns) {
				return res, fmt.Errorf("case %s: %s has %d values for %d columns", c.Name, row.Subject, len(values), len(c.Columns))
			}
			if err != nil {
				row.Err, row.Rounds = err.Error(), nil
				continue
			}
			row.Rounds = append(row.Rounds, values)
		}
	}
	return res, nil
}

func (o Options) tell(round, rounds int, subject string) {
	if o.Step != nil {
		o.Step(round, rounds, subject)
	}
}

// Curve is a case that is put at several sizes.
type Curve struct {
	Name       string
	Title      string
	About      string
	Complexity string // of each subject, in a sentence that goes under the plot
	X          string // what grows
	At         []int  // sizes, ascending; a smoke run has the first alone
	Columns    []Column
	Rounds     int
	Subjects   []Sized
}

// Sized is a subject of a curve.
type Sized struct {
	Name    string
	Role    Role
	Modules []string
	Note    string
	Most    int // the largest size it is put to; 0: all of them
	Start   func(s *Setup, size int) (Round, error)
}

// RunCurve puts a curve's case at each of its sizes.
func RunCurve(ctx context.Context, c Curve, o Options) (CurveResult, error) {
	res := CurveResult{Name: c.Name, Title: c.Title, About: c.About, Complexity: c.Complexity, X: c.X, At: c.At}
	if o.Smoke {
		res.At = c.At[:1]
	}
	for _, size := range res.At {
		at := Case{Name: c.Name, Columns: c.Columns, Rounds: c.Rounds}
		for _, s := range c.Subjects {
			if s.Most != 0 && size > s.Most {
				continue
			}
			at.Subjects = append(at.Subjects, Subject{
				Name: s.Name, Role: s.Role, Modules: s.Modules, Note: s.Note,
				Start: func(setup *Setup) (Round, error) { return s.Start(setup, size) },
			})
		}
		r, err := Run(ctx, at, o)
		if err != nil {
			return res, err
		}
		res.Sizes = append(res.Sizes, r)
	}
	return res, nil
}

// ErrWrong is for a subject that did something other than the case's work: its time would mean nothing.
var ErrWrong = errors.New("not what was asked for")
