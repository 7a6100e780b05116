package shell

import (
	"strings"
	"testing"
)

// FuzzQuote reads what was quoted as POSIX has it (Shell Command Language, 2.2): one word, the text itself.
func FuzzQuote(f *testing.F) {
	for _, text := range []string{"", "a", "Bob's own", "'", "''", `\`, `'\''`, "$(id) `id`", "a\nb", "\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, whole := read(Quote(text))
		if !whole || len(words) != 1 || words[0] != text {
			t.Errorf("%q: a shell reads %q", text, words)
		}
	})
}

// read splits a line as a shell does, and reports whether it ends outside quotes and had nothing in it that a shell expands.
func read(line string) (words []string, whole bool) {
	var word strings.Builder
	within, quoted := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted:
			if quoted = c != '\''; quoted {
				word.WriteByte(c)
			}
		case c == '\'':
			within, quoted = true, true
		case c == '\\':
			if i++; i == len(line) {
				return words, false
			}
			within = true
			word.WriteByte(line[i])
		case c == ' ', c == '\t', c == '\n':
			if within {
				words = append(words, word.String())
			}
			word.Reset()
			within = false
		case strings.IndexByte("\"$`|&;<>()*?[#~=%!{}", c) >= 0:
			return words, false
		default:
			within = true
			word.WriteByte(c)
		}
	}
	if within {
		words = append(words, word.String())
	}
	return words, !quoted
}
