package config

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"freshet.dev/internal/field"
)

// object is a JSON object; encoding/json sorts its keys, so that the schema is the same every time.
type object map[string]any

// Schema is a JSON Schema (2020-12) of the file, for editors: `freshet check --schema`. Parse knows more: what an address
// is, which identities there are.
func Schema(kinds Kinds) []byte {
	root := schemaOf(setting{typ: reflect.TypeFor[File]()}, kinds)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "freshet configuration"
	root["$defs"] = object{"secret": secretSchema()}
	root["properties"].(object)["version"].(object)["const"] = 1
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // of maps, lists and strings
	}
	return append(text, '\n')
}

// schemaOf describes one setting's values.
func schemaOf(s setting, kinds Kinds) object {
	o := object{}
	switch {
	case s.typ == secretType:
		o["$ref"] = "#/$defs/secret"
	case s.typ == identitiesType:
		o["type"] = "object"
		o["propertyNames"] = object{"pattern": namePattern}
		o["additionalProperties"] = variants("source", kinds.Sources, reflect.TypeFor[Identity](), nil)
	case s.typ == endpointsType:
		o["type"] = "array"
		o["items"] = variants("endpoint", kinds.Endpoints, reflect.TypeFor[Endpoint](), []object{
			{"required": []string{"identity"}}, {"required": []string{"identities"}},
		})
	case s.typ == proxiesType:
		o["type"] = "array"
		o["items"] = variants("signer", kinds.Signers, reflect.TypeFor[Proxy](), nil)
	case s.typ == upstreamsType:
		o["type"] = "array"
		o["minItems"] = 1
		o["items"] = variants("signer", kinds.Signers, reflect.TypeFor[MCPUpstream](), nil)
	case s.typ == profilesType:
		o["type"] = "object"
		o["propertyNames"] = object{"pattern": namePattern}
		o["additionalProperties"] = object{"type": "string"}
	case isScalar(s.typ):
		_, pattern := form(s.typ)
		o["type"] = "string"
		if s.typ == reflect.TypeFor[field.Mode]() {
			o["type"] = []string{"string", "integer"} // 0600 without quotes is a number to editors
		}
		if pattern != "" {
			o["pattern"] = pattern
		}
	case s.typ.Kind() == reflect.Struct:
		o = mappingSchema(kinds, s.typ)
	case s.typ.Kind() == reflect.Slice:
		o["type"] = "array"
		o["items"] = schemaOf(setting{typ: s.typ.Elem(), enum: s.enum, path: s.path}, kinds)
	case s.typ.Kind() == reflect.Map:
		o["type"] = "object"
		o["additionalProperties"] = schemaOf(setting{typ: s.typ.Elem(), enum: s.enum, path: s.path}, kinds)
	case s.typ.Kind() == reflect.Bool:
		o["type"] = "boolean"
	case s.typ.Kind() == reflect.String:
		o["type"] = "string"
		if s.enum != nil {
			o["enum"] = s.enum
		}
		if s.path {
			o["pattern"] = "^(/|~/)"
		}
	default:
		o["type"] = "integer"
		if s.typ.Kind() >= reflect.Uint && s.typ.Kind() <= reflect.Uint64 {
			o["minimum"] = 0
		}
	}
	if s.doc != "" {
		o["description"] = s.doc
	}
	if s.def != "" {
		o["default"] = defaultValue(s)
	}
	return o
}

// mappingSchema describes structs that are read from one mapping. Of a key that several have, the last describes it.
func mappingSchema(kinds Kinds, types ...reflect.Type) object {
	properties, required := object{}, []string{}
	for _, t := range types {
		for _, s := range settingsOf(t) {
			properties[s.name] = schemaOf(s, kinds)
			if s.required && !slices.Contains(required, s.name) {
				required = append(required, s.name)
			}
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// variants describes mappings of which one key, the kind, says which others there are. Where the kind may be left out, one more variant
// has none.
func variants(key string, kinds map[string]func() any, common reflect.Type, either []object) object {
	all, optional := []object{}, false
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		o := mappingSchema(Kinds{}, common, reflect.TypeOf(kinds[kind]()).Elem())
		o["title"] = kind
		o["properties"].(object)[key].(object)["const"] = kind
		if either != nil {
			o["oneOf"] = either
		}
		required, _ := o["required"].([]string)
		if !slices.Contains(required, key) {
			o["required"] = append(required, key)
			optional = true
		}
		all = append(all, o)
	}
	if optional {
		o := mappingSchema(Kinds{}, common)
		o["title"] = "without " + key
		delete(o["properties"].(object), key)
		all = append(all, o)
	}
	return object{"oneOf": all}
}

func secretSchema() object {
	o := mappingSchema(Kinds{}, secretType)
	o["description"] = "where a secret is; it is never written here"
	o["oneOf"] = []object{
		{"required": []string{"env"}}, {"required": []string{"file"}}, {"required": []string{"command"}},
	}
	o["dependentRequired"] = object{"shared": []string{"file"}}
	return o
}

// defaultValue is a default as JSON has it.
func defaultValue(s setting) any {
	if isScalar(s.typ) {
		return s.def
	}
	switch s.typ.Kind() {
	case reflect.Bool:
		return s.def == "true"
	case reflect.String:
		return s.def
	}
	n, err := strconv.Atoi(s.def)
	if err != nil {
		return s.def
	}
	return n
}
