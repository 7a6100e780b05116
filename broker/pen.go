package broker

import (
	"encoding/json"
	"io"

	"freshet.dev/freshet"
)

// penBuffer bounds what is written at once. Only whole lines are, so that several processes may append to one file.
const penBuffer = 64 << 10

// pen writes an audit's lines, and knows of those it lost. It is the writer's own.
type pen struct {
	audit *Audit
	file  io.Writer
	buf   []byte
	lines []penned
	torn  bool // the file ends within a line
}

// penned is a line in the buffer, and what its loss would mean.
type penned struct {
	end   int    // of the line in the buffer
	tally *tally // the count that the line tells of, taken from here; nil for others
	count int64
	tells bool // it tells of lost lines: so many in all
}

func (p *pen) line(r record) { p.add(r, penned{}) }

func (p *pen) add(r record, l penned) {
	b, err := json.Marshal(r)
	if err != nil {
		return // a record is strings and numbers
	}
	if len(p.buf)+len(b)+2 > penBuffer {
		_ = p.write()
	}
	if len(p.buf) == 0 && p.torn {
		p.buf = append(p.buf, '\n') // what was written of the last line ends here
	}
	p.buf = append(append(p.buf, b...), '\n')
	l.end = len(p.buf)
	p.lines = append(p.lines, l)
}

// flush writes the buffer, with a line about those lost.
func (p *pen) flush() error {
	a := p.audit
	if lost, told := a.lost.Load(), a.told.Load(); lost > told {
		p.add(record{Time: freshet.Now().Wall(), Event: "lost", Count: lost - told}, penned{tells: true, count: lost})
	}
	return p.write()
}

func (p *pen) write() error {
	if len(p.buf) == 0 && !p.audit.failing.Load() {
		return nil
	}
	n, err := p.file.Write(p.buf)
	if n > 0 {
		p.torn = p.buf[n-1] != '\n'
	}
	for _, l := range p.lines {
		p.settle(l, l.end <= n)
	}
	p.buf, p.lines = p.buf[:0], p.lines[:0]
	a := p.audit
	if failing := err != nil; a.failing.Swap(failing) != failing {
		if failing {
			a.log.Error("audit log cannot be written", "error", err, "required", a.required)
		} else {
			a.log.Info("audit log is written again", "lost", a.lost.Load())
		}
	}
	return err
}

// settle draws the consequence of a line's being written, or not.
func (p *pen) settle(l penned, written bool) {
	switch {
	case written && l.tells:
		p.audit.told.Store(l.count)
	case written, l.tells:
	case l.tally != nil:
		l.tally.n.Add(l.count) // its next line has it
	default:
		p.audit.lost.Add(1)
	}
}
