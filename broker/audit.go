package broker

import (
	"bufio"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
)

// Audit is the record of who was given what: one JSON object a line, with every retrieval and its fingerprint, the first
// hand-out per caller and version, then counts, and every denial. It names credentials by fingerprint and keys by hash.
//
// It is asynchronous and bounded: who asks for a credential never waits for the disk. What does not fit, or cannot be written,
// is counted and said in a later line; an audit that is required refuses service instead, until lines are written again.
// A nil *Audit records nothing.
type Audit struct {
	log      *slog.Logger
	required bool
	lines    chan record
	lost     atomic.Int64 // lines that did not fit, or could not be written
	unfit    atomic.Bool  // the last line was lost
	tallies  sync.Map     // tallyKey → *tally, for callers without a door of their own
	stop     chan struct{}
	done     chan error
}

// record is a line. Its fields are what docs/operations.md lists.
type record struct {
	Time        time.Time `json:"time"`
	Event       string    `json:"event"` // retrieval, hand_out, hand_outs, reject, deny, lost
	Identity    string    `json:"identity,omitempty"`
	Source      string    `json:"source,omitempty"`
	Key         string    `json:"key,omitempty"` // first 16 hex digits of the key's SHA-256
	Caller      string    `json:"caller,omitempty"`
	PID         int       `json:"pid,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	Input       string    `json:"input_fingerprint,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Outcome     string    `json:"outcome,omitempty"` // ok, or the kind of failure
	Seconds     float64   `json:"duration_seconds,omitempty"`
	Count       int64     `json:"count,omitempty"`
}

const (
	auditQueue = 4096
	// auditCounts is how often counts of hand-outs are written.
	auditCounts = time.Minute
	// auditForget is after how many rounds without a hand-out a caller's version is forgotten, as most have been replaced by
	// then; another hand-out of it is recorded as a first.
	auditForget = 120
)

// OpenAudit appends to a file, made with mode 0600 if there is none.
func OpenAudit(path string, required bool, log *slog.Logger) (*Audit, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, freshet.Errorf(freshet.Invalid, "audit log: %w", err).WithHint("name a file in a folder that freshet may write to")
	}
	return NewAudit(f, required, log), nil
}

// NewAudit writes to w, and closes it at the end.
func NewAudit(w io.WriteCloser, required bool, log *slog.Logger) *Audit {
	a := &Audit{log: log, required: required, lines: make(chan record, auditQueue), stop: make(chan struct{}), done: make(chan error, 1)}
	go a.write(w)
	return a
}

// Close writes what is queued and the outstanding counts. Nothing may be recorded after it.
func (a *Audit) Close() error {
	if a == nil {
		return nil
	}
	close(a.stop)
	return <-a.done
}

// Lost is how many lines were lost so far.
func (a *Audit) Lost() int64 {
	if a == nil {
		return 0
	}
	return a.lost.Load()
}

// fit refuses service if the audit is required and does not keep up.
func (a *Audit) fit() error {
	if a == nil || !a.required || !a.unfit.Load() {
		return nil
	}
	return &freshet.Error{
		Kind: freshet.Unavailable, Why: "the audit log cannot be written, and audit.required is set", RetryAfter: time.Second,
		Hint: "free its disk, or see the daemon's log",
	}
}

func (a *Audit) put(r record) error {
	r.Time = freshet.Now().Wall()
	select {
	case a.lines <- r:
		return a.fit()
	default:
		a.lost.Add(1)
		a.unfit.Store(true)
		return a.fit()
	}
}

func (a *Audit) retrieval(e freshet.Event) {
	if a == nil {
		return
	}
	r := record{
		Event: "retrieval", Identity: e.Identity, Source: e.Kind, Key: e.KeyHash(), Fingerprint: e.Fingerprint, Input: e.InputFingerprint,
		Reason: string(e.Reason), Outcome: "ok", Seconds: e.Took.Seconds(),
	}
	if e.Err != nil {
		r.Outcome = string(e.Err.Kind)
	}
	_ = a.put(r) // a retrieval is not undone; the hand-out that follows is refused
}

func (a *Audit) deny(c Caller, identity, reason string) {
	if a != nil {
		_ = a.put(record{Event: "deny", Identity: identity, Caller: c.name(), PID: c.PID, Reason: reason})
	}
}

func (a *Audit) rejection(c Caller, identity, fingerprint string, served bool) {
	if a == nil {
		return
	}
	r := record{Event: "reject", Identity: identity, Caller: c.name(), PID: c.PID, Fingerprint: fingerprint, Outcome: "ok"}
	if !served {
		r.Outcome = "not served"
	}
	_ = a.put(r)
}

// tally counts one caller's hand-outs of one version, after the first.
type tally struct {
	tallyKey
	n    atomic.Int64
	gone atomic.Bool // forgotten: whoever holds it asks for another
	idle int         // rounds of counts in a row without any; the writer's own
}

type tallyKey struct{ caller, identity, fingerprint string }

// tally returns the counter of a caller and version, recording the first hand-out.
func (a *Audit) tally(c Caller, identity, fingerprint string) (*tally, error) {
	k := tallyKey{c.name(), identity, fingerprint}
	known, ok := a.tallies.Load(k)
	if !ok {
		known, ok = a.tallies.LoadOrStore(k, &tally{tallyKey: k})
	}
	t := known.(*tally)
	if ok {
		t.n.Add(1)
		return t, a.fit()
	}
	return t, a.put(record{Event: "hand_out", Identity: identity, Caller: k.caller, PID: c.PID, Fingerprint: fingerprint})
}

// handOut records that a caller was given a version. Its error is that of an audit which is required and does not keep up.
func (a *Audit) handOut(c Caller, identity, fingerprint string) error {
	if a == nil {
		return nil
	}
	_, err := a.tally(c, identity, fingerprint)
	return err
}

// write is the one goroutine that touches the file.
func (a *Audit) write(w io.WriteCloser) {
	p := &pen{audit: a, file: w, buf: bufio.NewWriterSize(w, 64<<10)}
	p.enc = json.NewEncoder(p.buf)
	counts := time.NewTicker(auditCounts)
	defer counts.Stop()
	for {
		select {
		case r := <-a.lines:
			p.line(r)
			if len(a.lines) == 0 {
				p.flush()
			}
		case <-counts.C:
			a.count(p)
			p.flush()
		case <-a.stop:
			for len(a.lines) > 0 {
				p.line(<-a.lines)
			}
			a.count(p)
			p.flush()
			a.done <- w.Close()
			return
		}
	}
}

// pen writes lines, and knows of those it lost.
type pen struct {
	audit   *Audit
	file    io.Writer
	buf     *bufio.Writer
	enc     *json.Encoder
	pending int64 // lines since the last flush
	said    int64 // lost lines already told of
	failing bool
}

func (p *pen) line(r record) {
	p.pending++
	_ = p.enc.Encode(r) // bufio keeps the error for flush
}

func (p *pen) flush() {
	a := p.audit
	lost := a.lost.Load()
	if lost > p.said {
		p.line(record{Time: freshet.Now().Wall(), Event: "lost", Count: lost - p.said})
	}
	err := p.buf.Flush()
	if err == nil {
		p.said = lost
	} else {
		a.lost.Add(p.pending)
		p.buf.Reset(p.file)       // bufio keeps its error, but a disk may get room again
		_ = p.buf.WriteByte('\n') // what was written of the last line ends here
	}
	p.pending = 0
	a.unfit.Store(err != nil)
	if failing := err != nil; failing != p.failing {
		p.failing = failing
		if failing {
			a.log.Error("audit log cannot be written", "error", err, "required", a.required)
		} else {
			a.log.Info("audit log is written again", "lost", lost)
		}
	}
}

// count writes the tallies that have grown, and forgets those that have long not.
func (a *Audit) count(p *pen) {
	now := freshet.Now().Wall()
	a.tallies.Range(func(_, v any) bool {
		t := v.(*tally)
		if n := t.n.Swap(0); n > 0 {
			t.idle = 0
			p.line(record{Time: now, Event: "hand_outs", Identity: t.identity, Caller: t.caller, Fingerprint: t.fingerprint, Count: n})
		} else if t.idle++; t.idle > auditForget {
			t.gone.Store(true)
			a.tallies.Delete(t.tallyKey)
		}
		return true
	})
}
