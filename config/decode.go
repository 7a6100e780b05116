package config

import (
	"reflect"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"freshet.dev/internal/secret"
)

// decoder fills structs from the tree, and collects what is wrong with it.
type decoder struct {
	name    string
	kinds   Kinds
	home    string
	errs    Errors
	secrets []located[secret.Ref]
}

func (d *decoder) fail(pos Position, what, why, help string) {
	d.errs = append(d.errs, &Error{File: d.name, Line: pos.Line, Col: pos.Col, What: what, Why: why, Help: help})
}

// spot is the value being read: the places it reports to, and its path from there.
type spot struct {
	at   *places
	path string
}

func (s spot) what() string {
	if what := join(s.at.path, s.path); what != "" {
		return what
	}
	return "configuration"
}

func (s spot) inner(key string, pos Position) spot {
	in := spot{s.at, join(s.path, key)}
	s.at.keys[in.path] = pos
	return in
}

func (d *decoder) newPlaces(path string, pos Position) *places {
	return &places{file: d.name, path: path, pos: pos, keys: map[string]Position{}}
}

// reading is how a mapping is read.
type reading struct {
	open  bool // keys that are not known may belong to a kind that is not known
	quiet bool // a key may be a secret in the wrong place
}

// mapping reads a mapping into structs, each of which takes the keys it has.
func (d *decoder) mapping(n ast.Node, s spot, how reading, targets ...reflect.Value) {
	before := len(d.errs)
	entries, ok := entriesOf(n)
	if !ok {
		d.fail(position(n), s.what(), "want a mapping, found "+kindOf(n), "")
		return
	}
	type target struct {
		setting
		value reflect.Value
	}
	known := map[string][]target{}
	var names []string // in order, for the errors
	for _, t := range targets {
		defaults(t)
		for _, k := range settingsOf(t.Type()) {
			if known[k.name] == nil {
				names = append(names, k.name)
			}
			known[k.name] = append(known[k.name], target{k, t.FieldByIndex(k.index)})
		}
	}

	seen := map[string]bool{}
	for _, e := range d.unique(entries, s, how) {
		seen[e.key] = true
		if known[e.key] == nil {
			if !how.open {
				d.unknown(e, s, how, names)
			}
			continue
		}
		in := s.inner(e.key, e.pos)
		for _, t := range known[e.key] {
			faults := len(d.errs)
			d.value(e.value, in, t.setting, t.value)
			if len(d.errs) > faults {
				break // the others would say the same
			}
		}
	}
	for _, name := range names {
		required := slices.ContainsFunc(known[name], func(t target) bool { return t.required })
		if required && !seen[name] {
			d.errs = append(d.errs, s.at.problem(s.path, "the key "+name+" is missing", ""))
		}
	}
	if len(d.errs) > before {
		return // a Check would stumble over the same
	}
	for _, t := range targets {
		d.check(s, t)
	}
}

// unique are a mapping's entries without the second ones of a key, which it reports.
func (d *decoder) unique(entries []entry, s spot, how reading) []entry {
	first := map[string]bool{}
	return slices.DeleteFunc(entries, func(e entry) bool {
		if !first[e.key] {
			first[e.key] = true
			return false
		}
		d.fail(e.pos, d.key(e, s, how), "duplicate key", "keep one of them")
		return true
	})
}

func (d *decoder) unknown(e entry, s spot, how reading, names []string) {
	why, help := "unknown key", ""
	if how.quiet {
		help = secret.Forms
	} else {
		why += didYouMean(e.key, names)
	}
	d.fail(e.pos, d.key(e, s, how), why, help)
}

// key names a key of the mapping at s, if it looks like one: what does not may be a value in the wrong place.
func (d *decoder) key(e entry, s spot, how reading) string {
	if how.quiet || !looksLikeKey(e.key) {
		return s.what()
	}
	return join(join(s.at.path, s.path), e.key)
}

// check asks a struct what it thinks of its values.
func (d *decoder) check(s spot, v reflect.Value) {
	if c, ok := v.Addr().Interface().(interface{ Check() error }); ok {
		d.errs = append(d.errs, s.at.problems(s.path, c.Check())...)
	}
}

// value reads the value of one key.
func (d *decoder) value(n ast.Node, s spot, k setting, v reflect.Value) {
	if isNull(n) {
		d.fail(s.at.find(s.path), s.what(), "has no value", "give it one, or remove the key")
		return
	}
	switch {
	case v.Type() == secretType:
		d.secret(n, s, v)
	case v.Type() == identitiesType:
		d.identities(n, s, v.Addr().Interface().(*[]Identity))
	case v.Type() == endpointsType:
		d.endpoints(n, s, v.Addr().Interface().(*[]Endpoint))
	case v.Type() == proxiesType:
		d.proxies(n, s, v.Addr().Interface().(*[]Proxy))
	case v.Type() == bridgesType:
		d.bridges(n, s, v.Addr().Interface().(*[]MCP))
	case v.Type() == upstreamsType:
		d.upstreams(n, s, v.Addr().Interface().(*[]MCPUpstream))
	case v.Type() == profilesType:
		d.profiles(n, s, v.Addr().Interface().(*[]MCPProfile))
	case isScalar(v.Type()):
		d.scalar(n, s, k, v)
	case v.Kind() == reflect.Struct:
		d.mapping(n, s, reading{}, v)
	case v.Kind() == reflect.Slice:
		d.list(n, s, k, v)
	case v.Kind() == reflect.Map:
		d.table(n, s, k, v)
	default:
		d.scalar(n, s, k, v)
	}
}

// secret reads where a secret is. Anything but a mapping is the secret itself.
func (d *decoder) secret(n ast.Node, s spot, v reflect.Value) {
	if _, ok := entriesOf(n); !ok {
		d.fail(position(n), s.what(), "secrets are never written in the configuration", secret.Forms)
		return
	}
	before := len(d.errs)
	ref := v.Addr().Interface().(*secret.Ref)
	// Its own Check is for later, see the package comment: hide it from mapping.
	type names secret.Ref
	d.mapping(n, s, reading{quiet: true}, reflect.ValueOf((*names)(ref)).Elem())
	if len(d.errs) > before {
		return
	}
	if err := ref.Valid(); err != nil {
		d.errs = append(d.errs, s.at.problems(s.path, err)...)
		return
	}
	d.secrets = append(d.secrets, located[secret.Ref]{*ref, s.at, s.path})
}

func (d *decoder) list(n ast.Node, s spot, k setting, v reflect.Value) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(position(n), s.what(), "want a list, found "+kindOf(n), "write it as [a, b]")
		return
	}
	if k.required && len(seq.Values) == 0 {
		d.fail(position(n), s.what(), "is empty", "")
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, e := range seq.Values {
		d.value(e, s.inner(index(i), position(e)), setting{enum: k.enum, path: k.path, required: true}, v.Index(i))
	}
}

// table reads a mapping whose keys are anybody's.
func (d *decoder) table(n ast.Node, s spot, k setting, v reflect.Value) {
	entries, ok := entriesOf(n)
	if !ok {
		d.fail(position(n), s.what(), "want a mapping, found "+kindOf(n), "")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i, e := range d.unique(entries, s, reading{quiet: true}) {
		name := e.key
		if !looksLikeKey(name) {
			name = index(i)
		}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(e.value, s.inner(name, e.pos), setting{enum: k.enum, path: k.path}, element)
		v.SetMapIndex(reflect.ValueOf(e.key).Convert(v.Type().Key()), element)
	}
}

// defaults gives a struct's fields that are still zero the values of their tags.
func defaults(v reflect.Value) {
	for _, k := range settingsOf(v.Type()) {
		f := v.FieldByIndex(k.index)
		switch {
		case k.def != "" && f.IsZero():
			if why := setText(f, k, k.def, true); why != "" {
				panic("config: default of " + k.name + ": " + why)
			}
		case f.Kind() == reflect.Struct && f.Type() != secretType && !isScalar(f.Type()):
			defaults(f)
		}
	}
}
