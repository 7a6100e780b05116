package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Key is one key of the file, for the documentation to be tested against.
type Key struct {
	Path     string // identities.NAME.refresh.at, endpoints[].listen, mcp[].upstreams[].url
	Kind     string // the source, endpoint or signer that has it; empty: all have
	Type     string // in words: text, a duration such as 60s or 1h, secret, list of text, mapping …
	Default  string
	Doc      string
	Required bool
	Values   []string // the only ones, if they are listed
}

// Keys are all keys there are: those of all files in the order of the structs, then those of each source, each
// endpoint and each signer by its name. It panics on a Config that cannot be settings, so a test that calls it finds those.
func Keys(kinds Kinds) []Key {
	all := keysOf("", "", reflect.TypeFor[File]())
	for _, kind := range slices.Sorted(maps.Keys(kinds.Sources)) {
		all = append(all, keysOf("identities.NAME", kind, reflect.TypeOf(kinds.Sources[kind]()).Elem())...)
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds.Endpoints)) {
		all = append(all, keysOf("endpoints[]", kind, reflect.TypeOf(kinds.Endpoints[kind]()).Elem())...)
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds.Signers)) {
		all = append(all, keysOf("proxies[]", kind, reflect.TypeOf(kinds.Signers[kind]()).Elem())...)
		all = append(all, keysOf("mcp[].upstreams[]", kind, reflect.TypeOf(kinds.Signers[kind]()).Elem())...)
	}
	return all
}

func keysOf(path, kind string, t reflect.Type) []Key {
	defaults(reflect.New(t).Elem()) // panics on one that does not fit its type
	var all []Key
	for _, s := range settingsOf(t) {
		at := join(path, s.name)
		all = append(all, Key{
			Path: at, Kind: kind, Type: typeWords(s.typ), Default: s.def, Doc: s.doc, Required: s.required, Values: s.enum,
		})
		switch {
		case s.typ == identitiesType:
			all = append(all, keysOf(at+".NAME", kind, reflect.TypeFor[Identity]())...)
		case s.typ == endpointsType:
			all = append(all, keysOf(at+"[]", kind, reflect.TypeFor[Endpoint]())...)
		case s.typ.Kind() == reflect.Struct && s.typ != secretType && !isScalar(s.typ):
			all = append(all, keysOf(at, kind, s.typ)...)
		case s.typ.Kind() == reflect.Slice && typeWords(s.typ) == "list of mapping":
			all = append(all, keysOf(at+"[]", kind, s.typ.Elem())...)
		case s.typ.Kind() == reflect.Map && typeWords(s.typ.Elem()) == "mapping":
			all = append(all, keysOf(at+".NAME", kind, s.typ.Elem())...)
		}
	}
	return all
}

func typeWords(t reflect.Type) string {
	switch {
	case t == secretType:
		return "secret"
	case t == identitiesType:
		return "mapping from names"
	case t == profilesType:
		return "mapping from names to text"
	case isScalar(t):
		return wanted(t)
	case t.Kind() == reflect.Struct:
		return "mapping"
	case t.Kind() == reflect.Slice:
		return "list of " + typeWords(t.Elem())
	case t.Kind() == reflect.Map:
		return "mapping from names to " + typeWords(t.Elem())
	}
	return strings.TrimPrefix(wanted(t), "a ")
}
