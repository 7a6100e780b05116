package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// file reads the whole.
func (d *decoder) file(n ast.Node, f *File) {
	root := d.newPlaces("", position(n))
	d.mapping(n, spot{at: root}, reading{}, reflect.ValueOf(f).Elem())
	_, given := root.keys["version"]
	faulty := slices.ContainsFunc(d.errs, func(e *Error) bool { return e.What == "version" })
	if given && !faulty && f.Version != 1 {
		d.errs = append(d.errs, root.problem("version", "want 1", "this freshet reads version 1 alone"))
	}
}

// identities reads the mapping from names to identities.
func (d *decoder) identities(n ast.Node, s spot, into *[]Identity) {
	entries, ok := entriesOf(n)
	if !ok {
		d.fail(position(n), s.what(), "want a mapping from names, found "+kindOf(n), "write each as NAME: {source: …}")
		return
	}
	for _, e := range d.unique(entries, s, reading{quiet: true}) {
		if !isName(e.key) {
			d.fail(e.pos, s.what(), "not a name for an identity", nameForm)
			continue
		}
		id := Identity{Name: e.key, Pos: e.pos, at: d.newPlaces(join(s.what(), e.key), e.pos)}
		if isNull(e.value) {
			d.fail(e.pos, id.at.path, "has no value", "write it as "+e.key+": {source: …}")
		} else {
			id.Settings = d.kind(e.value, spot{at: id.at}, "source", d.kinds.Sources, reflect.ValueOf(&id).Elem())
		}
		*into = append(*into, id)
	}
}

// endpoints reads the list of endpoints.
func (d *decoder) endpoints(n ast.Node, s spot, into *[]Endpoint) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(position(n), s.what(), "want a list, found "+kindOf(n), "write each as - {endpoint: …}")
		return
	}
	for i, e := range seq.Values {
		ep := Endpoint{Pos: position(e), at: d.newPlaces(join(s.what(), index(i)), position(e))}
		ep.Settings = d.kind(e, spot{at: ep.at}, "endpoint", d.kinds.Endpoints, reflect.ValueOf(&ep).Elem())
		*into = append(*into, ep)
	}
}

// proxies reads the list of proxies.
func (d *decoder) proxies(n ast.Node, s spot, into *[]Proxy) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(position(n), s.what(), "want a list, found "+kindOf(n), "write each as - {signer: …}")
		return
	}
	for i, e := range seq.Values {
		p := Proxy{Pos: position(e), at: d.newPlaces(join(s.what(), index(i)), position(e))}
		p.Settings = d.kind(e, spot{at: p.at}, "signer", d.kinds.Signers, reflect.ValueOf(&p).Elem())
		if p.Name == "" && p.address() != "" {
			p.Name = p.Identity + "@" + p.address() + strings.TrimSuffix(p.Path, "/")
		}
		*into = append(*into, p)
	}
}

// kind reads a mapping one of whose keys says which other keys it has: into common, and into the settings of its kind,
// which it returns.
func (d *decoder) kind(n ast.Node, s spot, key string, kinds map[string]func() any, common reflect.Value) any {
	entries, ok := entriesOf(n)
	if !ok {
		d.fail(position(n), s.what(), "want a mapping, found "+kindOf(n), "write it as {"+key+": …}")
		return nil
	}
	at := slices.IndexFunc(entries, func(e entry) bool { return e.key == key })
	if at < 0 {
		d.mapping(n, s, reading{open: true}, common) // reports that it is missing
		return nil
	}
	name, _, _ := textOf(entries[at].value)
	construct := kinds[name]
	if construct == nil {
		known := slices.Sorted(maps.Keys(kinds))
		if name != "" { // mapping reports what is no text
			d.fail(position(entries[at].value), join(s.what(), key), "unknown "+key+didYouMean(name, known),
				"known are "+strings.Join(known, ", "))
		}
		d.mapping(n, s, reading{open: true}, common)
		return nil
	}
	settings := construct()
	v := reflect.ValueOf(settings)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("config: settings of %s %s are %T, want a pointer to a struct", key, name, settings))
	}
	d.mapping(n, s, reading{}, common, v.Elem())
	return settings
}

const nameForm = "names are 1 to 64 letters, digits, dots, hyphens and underscores, and start with a letter or digit"

// namePattern is isName for the schema.
const namePattern = `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`

func isName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsAny(s[:1], "._-") &&
		strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}
