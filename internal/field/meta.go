package field

import (
	"maps"
	"slices"
	"strings"
)

// Meta refuses keys for _meta that are the Model Context Protocol's own: it reserves prefixes whose second label is modelcontextprotocol or
// mcp, and did those whose first one is. A progressToken of anybody else's would be answered with progress that nobody asked for.
func Meta(field string, meta map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		if key == "" || len(key) > 128 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return refuse(field, "has a key that is none of _meta", "keys are letters and digits, as AWS_REGION, after a prefix as com.example/ if there is one")
		}
		prefix, _, prefixed := strings.Cut(key, "/")
		labels := strings.Split(prefix, ".")
		reserved := prefixed && slices.ContainsFunc(labels[:min(2, len(labels))], func(l string) bool { return l == "modelcontextprotocol" || l == "mcp" })
		if reserved || key == "progressToken" {
			return refuse(field, "has a key that is the protocol's own", "remove it: the bridge sets what the protocol needs")
		}
	}
	return nil
}
