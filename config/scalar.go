package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"freshet.dev/internal/field"
)

// scalar reads one piece of text, number or truth.
func (d *decoder) scalar(n ast.Node, s spot, k setting, v reflect.Value) {
	text, plain, ok := textOf(n)
	if !ok {
		d.fail(position(n), s.what(), "want "+wanted(v.Type())+", found "+kindOf(n), "")
		return
	}
	if _, truth := n.(*ast.BoolNode); truth && v.Kind() == reflect.String {
		d.fail(position(n), s.what(), "want text, found true or false", "put it in quotes")
		return
	}
	if k.required && v.Kind() == reflect.String && text == "" {
		d.fail(position(n), s.what(), "is empty", "")
		return
	}
	if k.path {
		if rest, ok := strings.CutPrefix(text, "~/"); ok && d.home != "" {
			text = filepath.Join(d.home, rest)
		}
		if text != "" && !filepath.IsAbs(text) {
			d.fail(position(n), s.what(), "not an absolute path", "start it with / or ~/")
			return
		}
	}
	if why := setText(v, k, text, plain); why != "" {
		d.fail(position(n), s.what(), why, "")
	}
}

// setText sets a scalar from its text, or says what it should have been, never what it was. Text in quotes is not plain,
// and no number or truth.
func setText(v reflect.Value, k setting, text string, plain bool) (why string) {
	if isScalar(v.Type()) {
		if err := v.Addr().Interface().(field.Scalar).UnmarshalText([]byte(text)); err != nil {
			return "want " + wanted(v.Type())
		}
		return ""
	}
	switch v.Kind() {
	case reflect.String:
		if k.enum != nil && !slices.Contains(k.enum, text) {
			return "want " + oneOf(k.enum) + didYouMean(text, k.enum)
		}
		v.SetString(text)
		return ""
	case reflect.Bool:
		if plain && (text == "true" || text == "false") {
			v.SetBool(text == "true")
			return ""
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if i, err := strconv.ParseInt(text, 10, v.Type().Bits()); plain && err == nil && strconv.FormatInt(i, 10) == text {
			v.SetInt(i)
			return ""
		}
	default:
		if i, err := strconv.ParseUint(text, 10, v.Type().Bits()); plain && err == nil && strconv.FormatUint(i, 10) == text {
			v.SetUint(i)
			return ""
		}
	}
	return "want " + wanted(v.Type())
}

// wanted describes a scalar type.
func wanted(t reflect.Type) string {
	if isScalar(t) {
		words, _ := form(t)
		return words
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
	}
	return "a whole number"
}

// oneOf is "a, b or c".
func oneOf(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }
