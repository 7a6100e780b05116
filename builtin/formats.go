package builtin

import (
	"strings"

	"freshet.dev/format/awsprocess"
	"freshet.dev/format/json"
	"freshet.dev/format/raw"
)

// Formats are the renderings there are.
func Formats() []Format {
	return []Format{
		{"raw", raw.Render},
		{"json", json.Render},
		{"aws-process", awsprocess.Render},
	}
}

// FormatNamed returns the format of a name, or nil.
func FormatNamed(name string) *Format {
	return find(Formats(), name, func(f *Format) string { return f.Name })
}

// FormatNames lists the formats' names, for messages.
func FormatNames() string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}
