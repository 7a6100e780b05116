package tools

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/freshet"
	"freshet.dev/mcp/canonical"
)

// Snapshot is what tools were when an operator looked at them: all of a tool that a model reads, which is its name, title, description,
// schemas and annotations. Icons and _meta are not in it.
//
// It is a file of JSON, made to be read, committed and compared: one tool after another by their names, keys sorted, nothing in it that
// hides from a reader's eye (see [canonical]).
type Snapshot struct {
	tools map[string]pinned // name → tool
}

// pinned is one tool: as JSON has it, and in its one form.
type pinned struct {
	value map[string]any
	text  string
}

// Change is how a tool differs from what was pinned.
type Change struct {
	Tool string // its name as the upstream has it, which may hold anything; String shows it
	Kind string // "added", "removed" or "changed"
	Diff string // lines that begin with a space, - or +; safe to show, and bounded
}

// String is the change for people to read. It ends with a line break.
func (c Change) String() string {
	return fmt.Sprintf("%s: %s\n%s", canonical.Text(c.Tool), c.Kind, c.Diff)
}

const version = 1

// MaxBytes bounds a file of pinned tools, for all who write, send or read one: 500 tools of 4 KiB each fit.
const MaxBytes = 2 << 20

// Take pins tools as they are. One whose name is there twice is left out, and so is one that is no JSON: nobody could say what an
// agent would get.
func Take(tools []*sdk.Tool) *Snapshot {
	s := &Snapshot{tools: map[string]pinned{}}
	for name, list := range byName(tools) {
		if p, err := pin(list[0]); err == nil && len(list) == 1 {
			s.tools[name] = p
		}
	}
	return s
}

// Parse reads what Encode wrote, or what somebody made of it. Its errors are [freshet.Invalid], and quote nothing.
func Parse(data []byte) (*Snapshot, error) {
	refuse := func(format string, args ...any) (*Snapshot, error) {
		return nil, freshet.Errorf(freshet.Invalid, "pinned tools: "+format, args...).WithHint("write the file anew with freshet mcp pin")
	}
	if len(data) > MaxBytes {
		return refuse("over %d MiB", MaxBytes>>20)
	}
	v, err := canonical.Parse(data)
	if err != nil {
		return refuse("%w", err)
	}
	file, ok := v.(map[string]any)
	if !ok {
		return refuse("not an object")
	}
	switch file["version"] {
	case json.Number("1"):
	case nil:
		return refuse("the key version is missing")
	default:
		return refuse("of another version than 1, which this freshet reads")
	}
	list, ok := file["tools"].([]any)
	if !ok {
		return refuse("the key tools is no list")
	}
	if len(file) > 2 {
		return refuse("has other keys than version and tools")
	}
	s := &Snapshot{tools: map[string]pinned{}}
	for i, one := range list {
		tool, ok := one.(map[string]any)
		if !ok {
			return refuse("tools[%d]: not an object", i)
		}
		if why := checkTool(tool); why != "" {
			return refuse("tools[%d]: %s", i, why)
		}
		name := tool["name"].(string)
		if _, twice := s.tools[name]; twice {
			return refuse("tools[%d]: the name of one before it", i)
		}
		s.tools[name] = pinnedOf(tool)
	}
	return s, nil
}

// checkTool says what is wrong with a tool of a file. A key that pin never writes is refused: whoever wrote it means it to be compared.
func checkTool(tool map[string]any) string {
	for _, key := range slices.Sorted(maps.Keys(tool)) {
		value, ok := tool[key], true
		switch key {
		case "name", "title", "description":
			var text string
			text, ok = value.(string)
			ok = ok && text != ""
		case "annotations":
			_, ok = value.(map[string]any)
		case "inputSchema", "outputSchema":
		default:
			return "a key that is none of a tool's"
		}
		if !ok {
			return key + ": not what a tool has there"
		}
	}
	if tool["name"] == nil {
		return "the key name is missing"
	}
	return ""
}

// Encode writes the file. It is the same for the same tools, in whatever order they came.
func (s *Snapshot) Encode() []byte {
	list := []any{}
	for _, name := range s.names() {
		list = append(list, s.tools[name].value)
	}
	file := map[string]any{"version": json.Number(fmt.Sprint(version)), "tools": list}
	return append(canonical.Indent(file), '\n')
}

// Digest names what is pinned: hex SHA-256.
func (s *Snapshot) Digest() string {
	sum := sha256.Sum256(s.Encode())
	return hex.EncodeToString(sum[:])
}

// Check compares one tool with what was pinned; nil where it is the same. It does not see that a list has the tool twice: Drift does.
func (s *Snapshot) Check(t *sdk.Tool) *Change {
	if t == nil {
		return &Change{Kind: "removed"}
	}
	return s.check(t, &budget{cells: maxCellsOfOne})
}

// Parts names what of a tool is not as it was pinned: keys of the protocol's, and nothing that a server has written. It is nil where
// the tool is as pinned, and where it is not pinned at all.
func (s *Snapshot) Parts(t *sdk.Tool) []string {
	if t == nil {
		return nil
	}
	old, known := s.tools[t.Name]
	now, err := pin(t)
	if !known || err != nil {
		return nil
	}
	var parts []string
	for _, key := range []string{"title", "description", "inputSchema", "outputSchema", "annotations"} {
		was, had := old.value[key]
		is, has := now.value[key]
		if had != has || had && !bytes.Equal(canonical.Compact(was), canonical.Compact(is)) {
			parts = append(parts, key)
		}
	}
	return parts
}

func (s *Snapshot) check(t *sdk.Tool, b *budget) *Change {
	old, known := s.tools[t.Name]
	now, err := pin(t)
	switch {
	case err != nil && known:
		return &Change{t.Name, "changed", "+ " + err.Error() + "\n"}
	case err != nil:
		return &Change{t.Name, "added", "+ " + err.Error() + "\n"}
	case !known:
		return &Change{t.Name, "added", b.diff(nil, now.value)}
	case old.text == now.text:
		return nil
	}
	return &Change{t.Name, "changed", b.diff(old.value, now.value)}
}

// Drift is how a whole list of tools differs from what was pinned, by the tools' names. A tool that is listed twice has changed.
func (s *Snapshot) Drift(tools []*sdk.Tool) []Change {
	var all []Change
	b := &budget{cells: maxCells}
	now := byName(tools)
	names := slices.Concat(s.names(), slices.Collect(maps.Keys(now)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		switch list := now[name]; len(list) {
		case 0:
			all = append(all, Change{name, "removed", b.diff(s.tools[name].value, nil)})
		case 1:
			if c := s.check(list[0], b); c != nil {
				all = append(all, *c)
			}
		default:
			all = append(all, Change{name, "changed", fmt.Sprintf("+ listed %d times\n", len(list))})
		}
	}
	return all
}

func (s *Snapshot) names() []string { return slices.Sorted(maps.Keys(s.tools)) }

func byName(tools []*sdk.Tool) map[string][]*sdk.Tool {
	all := map[string][]*sdk.Tool{}
	for _, t := range tools {
		if t != nil {
			all[t.Name] = append(all[t.Name], t)
		}
	}
	return all
}

// read is what a model reads of a tool. Hints that say what their absence says are as good as absent: some servers send them, and the
// SDK writes false for what was not there.
type read struct {
	Name         string       `json:"name"`
	Title        string       `json:"title,omitempty"`
	Description  string       `json:"description,omitempty"`
	InputSchema  any          `json:"inputSchema,omitempty"`
	OutputSchema any          `json:"outputSchema,omitempty"`
	Annotations  *annotations `json:"annotations,omitempty"`
}

type annotations struct {
	Title           string `json:"title,omitempty"`
	ReadOnlyHint    bool   `json:"readOnlyHint,omitempty"`
	DestructiveHint *bool  `json:"destructiveHint,omitempty"`
	IdempotentHint  bool   `json:"idempotentHint,omitempty"`
	OpenWorldHint   *bool  `json:"openWorldHint,omitempty"`
}

var errNoJSON = errors.New("a tool that is no JSON")

// pin gives a tool its one form.
func pin(t *sdk.Tool) (pinned, error) {
	r := read{Name: t.Name, Title: t.Title, Description: t.Description, InputSchema: t.InputSchema, OutputSchema: t.OutputSchema}
	if a := t.Annotations; a != nil {
		r.Annotations = &annotations{a.Title, a.ReadOnlyHint, a.DestructiveHint, a.IdempotentHint, a.OpenWorldHint}
		if *r.Annotations == (annotations{}) {
			r.Annotations = nil
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return pinned{}, errNoJSON
	}
	// It is read two levels deep, as it will be in the file, so that what can be written can be read.
	v, err := canonical.Parse(slices.Concat([]byte("[["), b.Bytes(), []byte("]]")))
	if err != nil || t.Name == "" {
		return pinned{}, errNoJSON
	}
	tool := v.([]any)[0].([]any)[0].(map[string]any)
	return pinnedOf(tool), nil
}

func pinnedOf(tool map[string]any) pinned { return pinned{tool, string(canonical.Compact(tool))} }
