package broker

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"freshet.dev/freshet"
)

// Audit is the record of who was given what: one JSON object a line, with every retrieval and its fingerprint, and the first
// hand-out per caller and version, denial, rejection and signed request, then counts of each. It names credentials by fingerprint and keys by
// hash.
//
// It is asynchronous and bounded: who asks for a credential never waits for the disk. What does not fit, or cannot be written,
// is counted and said in a later line; an audit that is required refuses service instead, until lines are written again.
// A nil *Audit records nothing.
type Audit struct {
	log      *slog.Logger
	required bool
	lines    chan record
	lost     atomic.Int64  // lines that did not fit, or could not be written
	told     atomic.Int64  // those of them that a later line tells of
	failing  atomic.Bool   // the last write failed
	overflow chan struct{} // wakes the writer, to tell of lines that did not fit
	tallies  sync.Map      // tallyKey → *tally
	tools    names
	known    atomic.Int64 // tallies there are
	most     int64        // and may be
	end      sync.Once
	stop     chan struct{}
	done     chan struct{}
	err      error // of the end; written before done is closed
}

// record is a line. Its fields are what docs/operations.md lists.
type record struct {
	Time        time.Time `json:"time"`
	Event       string    `json:"event"` // retrieval, hand_out(s), sign(s), request(s), reject(s), deny, denials, unblock, call(s), approval, lost
	Identity    string    `json:"identity,omitempty"`
	Source      string    `json:"source,omitempty"`
	Key         string    `json:"key,omitempty"` // first 16 hex digits of the key's SHA-256
	Caller      string    `json:"caller,omitempty"`
	PID         int       `json:"pid,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	Input       string    `json:"input_fingerprint,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Outcome     string    `json:"outcome,omitempty"` // ok, or the kind of failure; of a request, what Door.Record was told
	Seconds     float64   `json:"duration_seconds,omitempty"`
	Count       int64     `json:"count,omitempty"`
	Bridge      string    `json:"bridge,omitempty"`
	Upstream    string    `json:"upstream,omitempty"`
	Tool        string    `json:"tool,omitempty"`
	ID          string    `json:"id,omitempty"` // of an approval
	By          string    `json:"by,omitempty"` // who decided
}

const (
	auditQueue = 4096
	// auditCounts is how often counts are written.
	auditCounts = time.Minute
	// auditRetry is how often a file that could not be written is tried again; callers are told to come back after it.
	auditRetry = time.Second
)

// OpenAudit appends to a file, made with mode 0600 if there is none. A line that a crash left without its end is ended first.
func OpenAudit(path string, required bool, log *slog.Logger) (*Audit, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, freshet.Errorf(freshet.Invalid, "audit log: %w", err).WithHint("name a file in a folder that freshet may write to")
	}
	return newAudit(f, required, log, tornEnd(path)), nil
}

// tornEnd reports whether a file ends within a line. One that is no regular file, or may not be read, is taken not to.
func tornEnd(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var last [1]byte
	n, _ := f.ReadAt(last[:], info.Size()-1)
	return n == 1 && !bytes.Equal(last[:], []byte("\n"))
}

// NewAudit writes to w, and closes it at the end.
func NewAudit(w io.WriteCloser, required bool, log *slog.Logger) *Audit {
	return newAudit(w, required, log, false)
}

func newAudit(w io.WriteCloser, required bool, log *slog.Logger, torn bool) *Audit {
	a := &Audit{
		log: log, required: required, lines: make(chan record, auditQueue), overflow: make(chan struct{}, 1), most: maxTallies,
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go a.write(&pen{audit: a, file: w, torn: torn}, w)
	return a
}

// Close writes what is queued and the outstanding counts. What is recorded after it is lost.
func (a *Audit) Close() error { return a.close(context.Background()) }

// close is Close up to ctx: a disk may hang.
func (a *Audit) close(ctx context.Context) error {
	if a == nil {
		return nil
	}
	a.end.Do(func() { close(a.stop) })
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return freshet.Errorf(freshet.Unavailable, "audit log: its last lines are not written yet")
	}
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
	if a == nil || !a.required || !a.failing.Load() && a.lost.Load() == a.told.Load() {
		return nil
	}
	return &freshet.Error{
		Kind: freshet.Unavailable, Why: "the audit log cannot be written, and audit.required is set", RetryAfter: auditRetry,
		Hint: "free its disk, or see the daemon's log",
	}
}

func (a *Audit) put(r record) error {
	r.Time = freshet.Now().Wall()
	select {
	case a.lines <- r:
	default:
		a.lost.Add(1)
		select {
		case a.overflow <- struct{}{}:
		default:
		}
	}
	return a.fit()
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

// deny records that policy refused a caller. The identity is one that is configured, or "".
func (a *Audit) deny(c Caller, identity, reason string) {
	if a != nil {
		_, _ = a.tally(tallyKey{event: "deny", caller: c.name(), identity: identity, reason: reason}, c.PID)
	}
}

// rejection records that a caller said a version was refused. What is not served may be anything, so it is not named: who makes
// up fingerprints would else make up lines.
func (a *Audit) rejection(c Caller, identity, fingerprint string, served bool) {
	if a == nil {
		return
	}
	k := tallyKey{event: "reject", caller: c.name(), identity: identity, fingerprint: fingerprint, outcome: "ok"}
	if !served {
		k.fingerprint, k.outcome = "", "not served"
	}
	_, _ = a.tally(k, c.PID)
}

// unblock records that somebody had failures forgotten. Each is a line of its own: a person does it.
func (a *Audit) unblock(c Caller, identity string) error {
	if a == nil {
		return nil
	}
	if err := a.fit(); err != nil {
		return err
	}
	return a.put(record{Event: "unblock", Identity: identity, Caller: c.name(), PID: c.PID})
}

// handOut records that a caller was given a version. Its error is that of an audit which is required and does not keep up.
func (a *Audit) handOut(c Caller, identity, fingerprint string) error {
	if a == nil {
		return nil
	}
	_, err := a.tally(handOutKey(c, identity, fingerprint), c.PID)
	return err
}

// write is the one goroutine that touches the file.
func (a *Audit) write(p *pen, file io.Closer) {
	counts := time.NewTicker(auditCounts)
	defer counts.Stop()
	retry := time.NewTimer(auditRetry)
	defer retry.Stop()
	for {
		select {
		case r := <-a.lines:
			p.line(r)
			if len(a.lines) == 0 {
				p.flush()
			}
		case <-a.overflow:
			p.flush()
		case <-counts.C:
			a.count(p)
			p.flush()
		case <-retry.C:
			if a.failing.Load() {
				a.count(p) // so that there is something to write
				p.flush()
			}
		case <-a.stop:
			for len(a.lines) > 0 {
				p.line(<-a.lines)
			}
			a.count(p)
			a.err = p.flush()
			if err := file.Close(); a.err == nil {
				a.err = err
			}
			close(a.done)
			return
		}
		if a.failing.Load() {
			retry.Reset(auditRetry)
		}
	}
}
