package config

import (
	"fmt"
	"reflect"
	"strings"
	"sync"

	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
)

// setting is one key of a mapping, as a struct's field describes it.
type setting struct {
	name     string
	doc      string
	def      string // default in the file's notation
	enum     []string
	required bool
	path     bool // format:"path"
	index    []int
	typ      reflect.Type
}

var (
	secretType     = reflect.TypeFor[secret.Ref]()
	scalarType     = reflect.TypeFor[field.Scalar]()
	identitiesType = reflect.TypeFor[[]Identity]()
	endpointsType  = reflect.TypeFor[[]Endpoint]()
	proxiesType    = reflect.TypeFor[[]Proxy]()
	bridgesType    = reflect.TypeFor[[]MCP]()
	upstreamsType  = reflect.TypeFor[[]MCPUpstream]()
	profilesType   = reflect.TypeFor[[]MCPProfile]()
)

// settingsOf are a struct's keys, in the order of its fields. It panics on a field that cannot be one: that is a defect
// of the struct's author. They are read once for a type, and are not the caller's to change.
func settingsOf(t reflect.Type) []setting {
	if known, ok := settingsRead.Load(t); ok {
		return known.([]setting)
	}
	all := readSettings(t)
	settingsRead.Store(t, all)
	return all
}

// settingsRead has what settingsOf has read: reflect.Type → []setting. Reading tags takes longer than all else of a small file.
var settingsRead sync.Map

func readSettings(t reflect.Type) []setting {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("config: %v holds settings and is no struct", t))
	}
	var all []setting
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			for _, inner := range settingsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				all = append(all, inner)
			}
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		if !f.IsExported() || !supported(f.Type) {
			panic(fmt.Sprintf("config: field %s of %v cannot be a setting", f.Name, t))
		}
		s := setting{
			name: name, doc: f.Tag.Get("doc"), def: f.Tag.Get("default"), required: f.Tag.Get("required") == "true",
			path: f.Tag.Get("format") == "path", index: []int{i}, typ: f.Type,
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			s.enum = strings.Split(enum, "|")
		}
		all = append(all, s)
	}
	return all
}

// isScalar reports whether a type reads itself from text.
func isScalar(t reflect.Type) bool { return reflect.PointerTo(t).Implements(scalarType) }

func supported(t reflect.Type) bool {
	if t == secretType || isScalar(t) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Struct,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	case reflect.Slice:
		return supported(t.Elem())
	case reflect.Map:
		return t.Key().Kind() == reflect.String && supported(t.Elem())
	}
	return false
}

// form is the zero value of a field.Scalar's type, to ask it for its form.
func form(t reflect.Type) (words, pattern string) {
	return reflect.New(t).Interface().(field.Scalar).Form()
}
