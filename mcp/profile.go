package mcp

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"freshet.dev/mcp/canonical"
)

// clean is text of somebody else's that people read in a log or a question: nothing in it hides from them, and it has an end.
func clean(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return canonical.Text(s)
}

// shown is a tool as agents see it. It shares with the upstream's what it does not change.
func (u *upstream) shown(t *sdk.Tool) *sdk.Tool {
	mine := *t
	mine.Name = u.prefix + t.Name
	name := u.parameter(t)
	if name == "" {
		return &mine
	}
	schema, _ := t.InputSchema.(map[string]any)
	schema = maps.Clone(schema)
	if schema == nil {
		schema = map[string]any{"type": "object"}
	}
	properties, _ := schema["properties"].(map[string]any)
	properties = maps.Clone(properties)
	if properties == nil {
		properties = map[string]any{}
	}
	about := fmt.Sprintf("Whose credentials to use. Without it: %s.", u.Profiles[0].Name)
	if name != u.Parameter {
		about += fmt.Sprintf(" (Named %s because the tool has a parameter %s of its own.)", name, u.Parameter)
	}
	properties[name] = map[string]any{"type": "string", "enum": u.names(), "description": about}
	schema["properties"] = properties
	mine.InputSchema = schema
	return &mine
}

func (u *upstream) names() []string {
	list := make([]string, len(u.Profiles))
	for i, p := range u.Profiles {
		list[i] = p.Name
	}
	return list
}

// parameter is by which a call of a tool names a profile; "" where there is one profile alone. A tool's own parameter keeps its name.
func (u *upstream) parameter(t *sdk.Tool) string {
	if len(u.Profiles) < 2 {
		return ""
	}
	name := u.Parameter
	if t == nil {
		return name
	}
	schema, _ := t.InputSchema.(map[string]any)
	own, _ := schema["properties"].(map[string]any)
	for n := 1; own[name] != nil; n++ {
		if name = "freshet_" + u.Parameter; n > 1 {
			name = fmt.Sprintf("freshet%d_%s", n, u.Parameter)
		}
	}
	return name
}

// profile takes the profile that a call names out of its arguments. What it leaves is as it was sent.
func (u *upstream) profile(t *sdk.Tool, arguments json.RawMessage) (*Profile, json.RawMessage, error) {
	name := u.parameter(t)
	var object map[string]json.RawMessage
	if name == "" || json.Unmarshal(arguments, &object) != nil || object[name] == nil {
		return &u.Profiles[0], arguments, nil
	}
	var want *string
	if json.Unmarshal(object[name], &want) == nil && want == nil { // null, as some agents send what they leave out
		want = &u.Profiles[0].Name
	}
	i := -1
	if want != nil {
		i = slices.IndexFunc(u.Profiles, func(p Profile) bool { return p.Name == *want })
	}
	if i < 0 {
		return nil, nil, refused{fmt.Sprintf("%s: no such profile; %s is one of %s", u.Name, name, strings.Join(u.names(), ", "))}
	}
	delete(object, name)
	rest, err := json.Marshal(object)
	if err != nil {
		return nil, nil, refused{u.Name + ": arguments that cannot be read"}
	}
	return &u.Profiles[i], rest, nil
}
