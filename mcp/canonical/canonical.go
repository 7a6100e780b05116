// Package canonical reads JSON that is compared, and shown to people who decide by it.
//
// Two texts that mean the same have one form: keys sorted, numbers as they were sent (1.0 is not 1), strings escaped in one way. What
// JSON leaves to each reader's taste is refused, because then what an operator is shown need not be what a tool gets: an object
// with one key twice (RFC 8259 §4 lets the first win, or the last), and half a surrogate pair, which some readers replace.
//
// Whatever could alter or hide text on a terminal is escaped wherever it is written: control characters, those that turn the
// direction of writing (U+202A–U+202E, U+2066–U+2069), and all that have no shape of their own.
package canonical

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"unicode/utf8"
)

// maxDepth is over what any tool's schema or arguments need: 20 levels are many.
const maxDepth = 200

// The faults of a text. They quote nothing of it.
var (
	ErrSyntax    = errors.New("not JSON")
	ErrDuplicate = errors.New("a key is twice in one object")
	ErrText      = errors.New("not text in Unicode")
	ErrDepth     = errors.New("nested too deeply")
)

// Parse reads one JSON value: map[string]any, []any, string, json.Number, bool or nil.
func Parse(data []byte) (any, error) {
	if !utf8.Valid(data) || halfPair(data) {
		return nil, ErrText
	}
	if !json.Valid(data) {
		return nil, ErrSyntax
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := value(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, ErrSyntax
	}
	return v, nil
}

// JSON is a text's one form, in one line.
func JSON(data []byte) ([]byte, error) {
	v, err := Parse(data)
	if err != nil {
		return nil, err
	}
	return Compact(v), nil
}

func value(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	switch {
	case err != nil:
		return nil, ErrSyntax
	case depth > maxDepth:
		return nil, ErrDepth
	}
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			key, err := d.Token()
			name, ok := key.(string)
			if err != nil || !ok {
				return nil, ErrSyntax
			}
			if _, twice := object[name]; twice {
				return nil, ErrDuplicate
			}
			if object[name], err = value(d, depth+1); err != nil {
				return nil, err
			}
		}
		return object, end(d)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			one, err := value(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
		return list, end(d)
	}
	return token, nil
}

func end(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return ErrSyntax
	}
	return nil
}

// halfPair reports an escape \uD800 to \uDFFF that is no part of a pair, for which encoding/json puts U+FFFD.
func halfPair(data []byte) bool {
	for i := 0; i < len(data); i++ {
		next := bytes.IndexByte(data[i:], '\\')
		if next < 0 {
			return false
		}
		i += next + 1 // what is escaped, be it a backslash
		switch r := escape(data[min(i, len(data)):]); {
		case r < 0xd800 || r > 0xdfff:
		case r >= 0xdc00:
			return true
		default:
			if len(data) < i+7 || data[i+5] != '\\' {
				return true
			}
			if low := escape(data[i+6:]); low < 0xdc00 || low > 0xdfff {
				return true
			}
			i += 6
		}
	}
	return false
}

// escape is the number in uXXXX, or -1.
func escape(b []byte) int {
	if len(b) < 5 || b[0] != 'u' {
		return -1
	}
	n := 0
	for _, c := range b[1:5] {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | int(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | int(c-'a'+10)
		case 'A' <= c && c <= 'F':
			n = n<<4 | int(c-'A'+10)
		default:
			return -1
		}
	}
	return n
}

// sorted are an object's keys in their one order, that of their bytes.
func sorted(object map[string]any) []string { return slices.Sorted(maps.Keys(object)) }
