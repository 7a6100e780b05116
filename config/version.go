package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"reflect"
	"slices"
	"strings"

	"freshet.dev/internal/secret"
)

// setVersions computes every identity's Version, inputs first. There are no cycles any more.
func setVersions(f *File) {
	byName := map[string]*Identity{}
	for i := range f.Identities {
		byName[f.Identities[i].Name] = &f.Identities[i]
	}
	var set func(*Identity) string
	set = func(id *Identity) string {
		if id.Version != "" {
			return id.Version
		}
		c := canonical{sha256.New()}
		c.text("freshet identity 1")
		if from := byName[id.From]; from != nil {
			c.text(set(from))
		} else {
			c.text("")
		}
		retrieved := *id
		// Who may have a credential, when, and how many may be asked for, does not change it.
		retrieved.Allow, retrieved.Release, retrieved.Pin, retrieved.Limit = Allow{}, false, false, Limit{}
		c.value(reflect.ValueOf(retrieved))
		if id.Settings != nil {
			c.value(reflect.ValueOf(id.Settings).Elem())
		}
		id.Version = hex.EncodeToString(c.Sum(nil))
		return id.Version
	}
	for i := range f.Identities {
		set(&f.Identities[i])
	}
}

// canonical hashes values in one form: what is written in another order or style, or as its default, is the same.
type canonical struct{ hash.Hash }

// text writes a string such that no two sequences of strings are the same bytes.
func (c canonical) text(s string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(s)))
	c.Write(length[:])
	c.Write([]byte(s))
}

func (c canonical) count(n int) { c.text(fmt.Sprint(n)) }

func (c canonical) value(v reflect.Value) {
	if ref, ok := v.Interface().(secret.Ref); ok {
		c.text(ref.Env)
		c.text(ref.File)
		c.count(len(ref.Command))
		for _, arg := range ref.Command {
			c.text(arg)
		}
		digest, known := ref.Digest()
		c.text(fmt.Sprint(known))
		c.text(string(digest[:]))
		return
	}
	switch {
	case isScalar(v.Type()):
		c.text(fmt.Sprint(v.Interface()))
	case v.Kind() == reflect.Struct:
		settings := slices.Clone(settingsOf(v.Type()))
		slices.SortFunc(settings, func(a, b setting) int { return strings.Compare(a.name, b.name) })
		c.count(len(settings))
		for _, s := range settings {
			c.text(s.name)
			c.value(v.FieldByIndex(s.index))
		}
	case v.Kind() == reflect.Slice:
		c.count(v.Len())
		for i := range v.Len() {
			c.value(v.Index(i))
		}
	case v.Kind() == reflect.Map:
		entries := map[string]reflect.Value{}
		for _, k := range v.MapKeys() {
			entries[k.String()] = v.MapIndex(k)
		}
		c.count(len(entries))
		for _, k := range slices.Sorted(maps.Keys(entries)) {
			c.text(k)
			c.value(entries[k])
		}
	default:
		c.text(fmt.Sprint(v.Interface()))
	}
}
