package canonical

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Compact writes what [Parse] read, in one line.
func Compact(v any) []byte { return (&writer{}).all(v) }

// Indent writes it over many lines, for a file that people read and compare; without a line break at its end.
func Indent(v any) []byte { return (&writer{lines: true}).all(v) }

// Lines are [Indent]'s, to compare two: long strings are broken after their sentences and their own line breaks, and wherever
// they are long without either. So a word that is new in a page is shown in its sentence. Nothing is lost: a string's own line break
// is written \n all the same.
func Lines(v any) []string {
	return strings.Split(string((&writer{lines: true, sentences: true}).all(v)), "\n")
}

// Text is s with all escaped that could alter or hide text on a terminal, and without the quotes of a string.
func Text(s string) string {
	w := &writer{}
	w.text(s)
	return w.String()
}

const (
	longString = 80  // bytes from which on a string is broken at sentences
	longPiece  = 240 // bytes after which it is broken anywhere
)

type writer struct {
	bytes.Buffer
	lines, sentences bool
	depth            int
}

func (w *writer) all(v any) []byte {
	w.value(v)
	return w.Bytes()
}

func (w *writer) value(v any) {
	switch v := v.(type) {
	case map[string]any:
		w.open('{')
		for i, key := range sorted(v) {
			w.next(i)
			w.quote(key, false)
			w.WriteByte(':')
			if w.lines {
				w.WriteByte(' ')
			}
			w.value(v[key])
		}
		w.close('}', len(v))
	case []any:
		w.open('[')
		for i, one := range v {
			w.next(i)
			w.value(one)
		}
		w.close(']', len(v))
	case string:
		w.quote(v, w.sentences && len(v) > longString)
	case json.Number:
		w.WriteString(string(v))
	case bool:
		w.WriteString(strconv.FormatBool(v))
	default:
		w.WriteString("null")
	}
}

func (w *writer) open(c byte) {
	w.WriteByte(c)
	w.depth++
}

func (w *writer) next(i int) {
	if i > 0 {
		w.WriteByte(',')
	}
	w.line()
}

func (w *writer) close(c byte, n int) {
	w.depth--
	if n > 0 {
		w.line()
	}
	w.WriteByte(c)
}

func (w *writer) line() {
	if w.lines {
		w.WriteByte('\n')
		w.WriteString(strings.Repeat("  ", w.depth))
	}
}

func (w *writer) quote(s string, broken bool) {
	w.WriteByte('"')
	if broken {
		w.depth++
		for i, piece := range pieces(s) {
			if i > 0 {
				w.line()
			}
			w.text(piece)
		}
		w.depth--
	} else {
		w.text(s)
	}
	w.WriteByte('"')
}

// pieces are a string's sentences and lines.
func pieces(s string) []string {
	var all []string
	start := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		end := i + n
		if r == '\n' || r == ' ' && i > start && strings.IndexByte(".!?:;", s[i-1]) >= 0 || end-start >= longPiece {
			all = append(all, s[start:end])
			start = end
		}
		i = end
	}
	if start < len(s) {
		all = append(all, s[start:])
	}
	return all
}

func (w *writer) text(s string) {
	start := 0 // of what is written as it is
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf && c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		w.WriteString(s[start:i])
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		start = i
		switch {
		case r == '"' || r == '\\':
			w.WriteByte('\\')
			w.WriteRune(r)
		case r == '\n':
			w.WriteString(`\n`)
		case r == '\t':
			w.WriteString(`\t`)
		case plain(r):
			w.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(w, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(w, `\u%04x`, r)
		}
	}
	w.WriteString(s[start:])
}

// plain reports a character that shows as what it is. Besides what Go does not print (controls, formats such as the tag characters
// of U+E0000 on, spaces other than the one of ASCII) there are letters and marks without a shape, by which text has been smuggled past
// readers: variation selectors, Hangul's fillers, Braille's blank.
func plain(r rune) bool {
	return unicode.IsPrint(r) && r != '\u2800' && !unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}
