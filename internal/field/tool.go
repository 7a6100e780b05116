package field

import "strings"

// Tool checks the name of a tool of the Model Context Protocol, or the beginning of such with a * at its end. Most are letters, digits,
// hyphens, underscores and dots; some servers have slashes and colons too.
func Tool(field, value string) error {
	before, after, _ := strings.Cut(value, "*")
	switch {
	case value == "":
		return refuse(field, "is empty", "write a tool's name, or the beginning of several as get_*")
	case after != "":
		return refuse(field, "a * that is not at the end", "write a tool's name, or the beginning of several as get_*")
	case len(before) > 128 || strings.ContainsFunc(before, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return refuse(field, "not the name of a tool", "names have no spaces, and 128 characters at most")
	}
	return nil
}
