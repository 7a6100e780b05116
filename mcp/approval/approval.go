// Package approval holds calls of tools that wait until an operator has said yes.
//
// An approval is for one call: by the same caller, through the same bridge on the same terms, to the same tool of the same upstream, with
// the same arguments. It is used up by that call. A denial holds for the like as long as an approval would, so that an agent that calls again and
// again does not ask again and again.
//
// Agents give up sooner than people answer. So what was asked waits on when its asker has left, and the approval that is given
// meanwhile is for the same call once it comes again. All of it is in memory: a daemon that starts anew has to be asked anew.
package approval

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/mcp/canonical"
)

// Call is what an operator is asked for.
type Call struct {
	Bridge    string
	Upstream  string // and the profile: by another account it is another call
	Tool      string
	Caller    string          // as callers are told apart everywhere
	Arguments json.RawMessage // an object; none is an empty one
	Scope     string          // what else has to be the same, as the identities behind the names; it is not shown
}

// Pending is a call that waits.
type Pending struct {
	ID string // to type: eight letters and digits
	Call
	Asked, Expires time.Time
}

// Event is what became of a call. It has no arguments: they may hold anything, and are for the operator alone who decides.
type Event struct {
	Pending
	Outcome string // "asked", "approved", "denied", "expired" without a decision, or "used"
	By      string // who decided
}

// maxArguments bounds what is kept of one call. Nobody looks through more.
const maxArguments = 1 << 20

// canonical gives the arguments the one form in which they are compared and shown.
func (c *Call) canonical() error {
	refuse := func(why, hint string) error {
		return freshet.Errorf(freshet.Invalid, "the arguments of a call that needs approval: %s", why).WithHint("%s", hint)
	}
	switch {
	case len(c.Arguments) == 0:
		c.Arguments = json.RawMessage("{}")
		return nil
	case len(c.Arguments) > maxArguments:
		return refuse("over 1 MiB", "call with fewer")
	}
	v, err := canonical.Parse(c.Arguments)
	if err != nil {
		return refuse(err.Error(), "an operator has to see exactly what the tool gets")
	}
	if _, ok := v.(map[string]any); !ok {
		return refuse("not an object", "")
	}
	c.Arguments = canonical.Compact(v)
	return nil
}

// key tells calls apart. Each part is preceded by its length: no two calls have one key.
func (c *Call) key() [sha256.Size]byte {
	h := sha256.New()
	for _, part := range []string{c.Bridge, c.Upstream, c.Tool, c.Caller, c.Scope, string(c.Arguments)} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		io.WriteString(h, part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// String names the call without its arguments, and safe to show: a tool's name is its server's, and a caller's may be anything.
func (c Call) String() string {
	return canonical.Text(fmt.Sprintf("%s of %s through %s for %s", c.Tool, c.Upstream, c.Bridge, c.Caller))
}

// Format implements [fmt.Formatter], for every verb alike: arguments are not for logs.
func (c Call) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue implements [slog.LogValuer].
func (c Call) LogValue() slog.Value { return slog.StringValue(c.String()) }
