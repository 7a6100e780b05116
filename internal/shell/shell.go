// Package shell writes for a POSIX shell.
package shell

import "strings"

// Quote makes one word of a text, whatever is in it but NUL: nothing is special within single quotes but themselves.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
