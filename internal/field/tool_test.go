package field

import (
	"strings"
	"testing"
)

func TestNamesOfTools(t *testing.T) {
	for value, want := range map[string]string{
		"get": "", "get_*": "", "*": "", "aws___call_aws": "", "a/b:c.d-e": "", strings.Repeat("x", 128): "", strings.Repeat("x", 128) + "*": "",
		"":                       "tools[0]: is empty",
		"**":                     "tools[0]: a * that is not at the end",
		"get_*_all":              "tools[0]: a * that is not at the end",
		"get all":                "tools[0]: not the name of a tool",
		"get\x1b":                "tools[0]: not the name of a tool",
		"gét":                    "tools[0]: not the name of a tool",
		strings.Repeat("x", 129): "tools[0]: not the name of a tool",
	} {
		got := ""
		if err := Tool("tools[0]", value); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}
