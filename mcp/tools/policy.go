// Package tools is what an operator says of tools: which an agent may use, for which calls it needs approval, and what they were when
// the operator looked at them. It talks to nobody; a bridge asks it for each list of tools and for each call.
package tools

import (
	"errors"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
)

// Policy says which of an upstream's tools an agent sees and may call. The zero value allows all, approved by nobody.
//
// Tools are named as the upstream names them; a * at the end of a name stands for all that begin so.
type Policy struct {
	ReadOnly bool     // only tools that read
	Allow    []string // nil: all; empty and not nil: none
	Deny     []string // wins over Allow
	// Read and Write are the operator's own word on what a tool does, which wins over the tool's hints. Where both have an entry for a
	// tool, the longer one wins; a name wins over the same with a * , and Write over the same in Read.
	Read, Write []string
	Approve     Approve
}

// Approve says which calls need an operator's approval.
type Approve struct {
	All    bool
	Writes bool // of all tools that are not known to read
	Names  []string
}

// Verdict is what a policy says of one tool.
type Verdict struct {
	Refused  string // why an agent does not get it, a sentence for it to read; "" where it does
	Approval bool   // a call needs an operator's approval
	Reads    bool   // by the operator's word, else by the tool's
	Writes   bool   // by the operator's word, whatever the tool says of itself
}

// The sentences say who decided, and name no other way: an agent would take it.
const (
	refusedName    = "the operator of this bridge does not allow this tool"
	refusedWriting = "the operator of this bridge allows read-only tools alone, and this tool is not known to be one"
	refusedUnknown = "the operator of this bridge allows known tools alone, and the server behind it lists none of this name"
)

// Judge says what becomes of a tool; t is nil where the upstream does not list it. Of such nothing is known, so it is refused, unless
// the policy is the zero one.
func (p *Policy) Judge(name string, t *sdk.Tool) Verdict {
	read, write := longest(p.Read, name), longest(p.Write, name)
	v := Verdict{Reads: read > write, Writes: write >= 0 && write >= read}
	if read < 0 && write < 0 {
		v.Reads = reads(t)
	}
	v.Approval = p.Approve.All || p.Approve.Writes && !v.Reads || matches(p.Approve.Names, name)
	switch {
	case matches(p.Deny, name), p.Allow != nil && !matches(p.Allow, name):
		v.Refused = refusedName
	case t == nil && !p.IsZero():
		v.Refused = refusedUnknown
	case p.ReadOnly && !v.Reads:
		v.Refused = refusedWriting
	}
	return v
}

// Check finds entries that are no names of tools, none of which would do what it seems to.
func (p *Policy) Check() error {
	for _, list := range []struct {
		name    string
		entries []string
	}{{"allow", p.Allow}, {"deny", p.Deny}, {"read", p.Read}, {"write", p.Write}, {"approve", p.Approve.Names}} {
		for _, entry := range list.entries {
			var e *field.Error
			if err := field.Tool("", entry); errors.As(err, &e) {
				return freshet.Errorf(freshet.Invalid, "tools to %s: %s", list.name, e.Why).WithHint("%s", e.Help)
			}
		}
	}
	return nil
}

// IsZero reports whether a policy leaves all as it is.
func (p *Policy) IsZero() bool {
	return !p.ReadOnly && p.Allow == nil && len(p.Deny)+len(p.Read)+len(p.Write)+len(p.Approve.Names) == 0 && !p.Approve.All && !p.Approve.Writes
}

// reads is a tool's own word. The protocol has a tool write unless it says readOnlyHint, and one that says in the same breath that it
// destroys is not believed.
func reads(t *sdk.Tool) bool {
	if t == nil || t.Annotations == nil {
		return false
	}
	destroys := t.Annotations.DestructiveHint
	return t.Annotations.ReadOnlyHint && (destroys == nil || !*destroys)
}

func matches(entries []string, name string) bool { return longest(entries, name) >= 0 }

// longest is how much of the name the best of the entries gives, -1 if none is for it. The name in full counts for one more.
func longest(entries []string, name string) int {
	best := -1
	for _, entry := range entries {
		if before, star := strings.CutSuffix(entry, "*"); star && strings.HasPrefix(name, before) {
			best = max(best, len(before))
		} else if entry == name {
			best = max(best, len(name)+1)
		}
	}
	return best
}
