package config

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// accepts is as much of a JSON Schema validator as Schema needs.
func accepts(t *testing.T, root, schema map[string]any, v any) bool {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		def := root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		if !accepts(t, root, def, v) {
			return false
		}
	}
	kind := map[reflect.Kind]string{reflect.Map: "object", reflect.Slice: "array", reflect.String: "string", reflect.Bool: "boolean",
		reflect.Float64: "integer"}[reflect.ValueOf(v).Kind()]
	switch want := schema["type"].(type) {
	case string:
		if kind != want {
			return false
		}
	case []any:
		if !slices.Contains(want, any(kind)) {
			return false
		}
	}
	if want, ok := schema["const"]; ok && !reflect.DeepEqual(v, want) {
		return false
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		return false
	}
	if least, ok := schema["minItems"].(float64); ok && kind == "array" && reflect.ValueOf(v).Len() < int(least) {
		return false
	}
	if least, ok := schema["minimum"].(float64); ok && v.(float64) < least {
		return false
	}
	if pattern, ok := schema["pattern"].(string); ok && kind == "string" && !regexp.MustCompile(pattern).MatchString(v.(string)) {
		return false
	}
	if one, ok := schema["oneOf"].([]any); ok {
		matches := 0
		for _, s := range one {
			if accepts(t, root, s.(map[string]any), v) {
				matches++
			}
		}
		if matches != 1 {
			return false
		}
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if items, ok := schema["items"].(map[string]any); ok && !accepts(t, root, items, e) {
				return false
			}
		}
	case map[string]any:
		for _, key := range list(schema["required"]) {
			if _, ok := v[key]; !ok {
				return false
			}
		}
		needs, _ := schema["dependentRequired"].(map[string]any)
		properties, _ := schema["properties"].(map[string]any)
		for key, value := range v {
			for _, other := range list(needs[key]) {
				if _, ok := v[other]; !ok {
					return false
				}
			}
			if names, ok := schema["propertyNames"].(map[string]any); ok && !accepts(t, root, names, key) {
				return false
			}
			if property, ok := properties[key].(map[string]any); ok {
				if !accepts(t, root, property, value) {
					return false
				}
				continue
			}
			switch rest := schema["additionalProperties"].(type) {
			case bool:
				if !rest {
					return false
				}
			case map[string]any:
				if !accepts(t, root, rest, value) {
					return false
				}
			}
		}
	}
	return true
}

func list(v any) []string {
	var all []string
	items, _ := v.([]any)
	for _, item := range items {
		all = append(all, item.(string))
	}
	return all
}

// TestSchema holds the schema against Parse: what is wrong by its form is wrong to both.
func TestSchema(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(kinds()), &schema); err != nil {
		t.Fatal(err)
	}
	if again := Schema(kinds()); string(Schema(kinds())) != string(again) {
		t.Error("the schema is not the same twice")
	}
	secretIs := func(s string) string {
		return endpoint("endpoint: aws-container, listen: 127.0.0.1:1, identity: a, secret: " + s)
	}
	for _, test := range []struct {
		text string
		want bool
	}{
		{whole, true},
		{minimal, true},
		{oauth2("auth: basic"), true},
		{secretIs("{file: /x, shared: true}"), true},
		{secretIs("{command: [a]}"), true},
		{oauth2("auth: digest"), false},
		{oauth2("auht: basic"), false},
		{oauth2("client_secret: x"), false},
		{oauth2("lifetime: 5"), false},
		{oauth2("proof: {depth: -1}"), false},
		{oauth2("proof: {deep: 1}"), false},
		{oauth2("ca_file: x"), false},
		{oauth2("params: {a: [b]}"), false},
		{oauth2("release: x"), false},
		{secretIs("{env: A, file: /x}"), false},
		{secretIs("{env: A, shared: true}"), false},
		{secretIs("{}"), false},
		{"version: 2\nidentities: {}\n", false},
		{"version: 1\n", false},
		{minimal + "zzz: 1\n", false},
		{"version: 1\nidentities: {a: {source: nope}}\n", false},
		{"version: 1\nidentities: {a: {source: oauth2}}\n", false},
		{"version: 1\nidentities: {a: {source: entra}}\n", false},
		{"version: 1\nidentities: {a: {source: azure-cli, token_url: x}}\n", false},
		{"version: 1\nidentities: {-a: {source: azure-cli}}\n", false},
		{endpoint("endpoint: aws-container, listen: 127.0.0.1:1, identity: a"), false},
		{endpoint("endpoint: aws-container, listen: 127.0.0.1:1, secret: {env: S}"), false},
		{endpoint("endpoint: aws-container, listen: 127.0.0.1:1, identity: a, identities: [a], secret: {env: S}"), false},
		{proxy(", max_body: 1GiB, timeouts: {idle: 1h}, methods: [GET]"), true},
		{onSocket(", allow: {uids: [7]}"), true},
		{proxy(", max_body: 1GB"), false},
		{proxy(", timeouts: {idle: 5}"), false},
		{proxy(", timeouts: {ilde: 5s}"), false},
		{proxy(", retries: x"), false},
		{proxy(", tls: {cert_file: x, key_file: y}"), false},
		{proxy(", service: s3"), false},
		{strings.Replace(proxy(""), "signer: bearer", "signer: sigv4", 1), false},
		{strings.Replace(proxy(", service: s3"), "signer: bearer", "signer: sigv4", 1), true},
		{strings.Replace(proxy(", service: s3, payload: x"), "signer: bearer", "signer: sigv4", 1), false},
		{strings.Replace(proxy(""), "signer: bearer", "signer: none", 1), false},
		{strings.Replace(proxy(""), "upstream: https://h/v1, ", "", 1), false},
		{allBridges, true},
		{bridge(""), true},
		{bridge(", signer: bearer"), true},
		{bridge(", signer: sigv4, service: s3, payload: unsigned"), true},
		{bridge(", profiles: {b: a}, meta: {x: y}, tools: {allow: []}, approve: all"), true},
		{quiet(", approvals: {wait: 1s}"), true},
		{bridge(", service: s3"), false},
		{bridge(", signer: sigv4"), false},
		{bridge(", signer: bearer, service: s3"), false},
		{bridge(", signer: none"), false},
		{bridge(", profiles: [a]"), false},
		{bridge(", profiles: {a/b: a}"), false},
		{bridge(", profiles: {b: {}}"), false},
		{bridge(", meta: {x: [y]}"), false},
		{bridge(", tools: {alow: []}"), false},
		{bridge(", tools: {allow: x}"), false},
		{bridge(", approve: some"), false},
		{bridge(", pin: x"), false},
		{bridge(", timeouts: {tool: 5}"), false},
		{bridge(", skip_auth: x"), false},
		{quiet(", approvals: {wate: 1s}"), false},
		{strings.Replace(quiet(""), "name: b, ", "", 1), false},
		{strings.Replace(quiet(""), "url: https://h/mcp, ", "", 1), false},
		{minimal + "mcp: [{name: b}]\n", false},
		{minimal + "mcp: [{name: b, upstreams: []}]\n", false},
	} {
		text := strings.ReplaceAll(strings.ReplaceAll(test.text, "0660", "'0660'"), "0123", "'0123'") // numbers to an editor
		asJSON, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(asJSON, &v); err != nil {
			t.Fatal(err)
		}
		if got := accepts(t, schema, schema, v); got != test.want {
			t.Errorf("schema: got %v, want %v for\n%s", got, test.want, test.text)
		}
		if _, err := Parse("f", []byte(test.text), kinds()); (err == nil) != test.want {
			t.Errorf("Parse: got %v for\n%s", err, test.text)
		}
	}
}

func TestSchemaHasDocs(t *testing.T) {
	text := string(Schema(kinds()))
	for _, want := range []string{`"https://json-schema.org/draft/2020-12/schema"`, `"description": "where tokens come from"`, `"default": 100000`,
		`"default": true`, `"default": "60s"`, `"default": "post"`, `"const": "oauth2"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the schema has no %s", want)
		}
	}
}

func TestKeys(t *testing.T) {
	got := map[string]Key{} // "path kind" → key
	for _, k := range Keys(kinds()) {
		name := strings.TrimSpace(k.Path + " " + k.Kind)
		if _, twice := got[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		got[name] = k
		if k.Doc == "" {
			t.Errorf("%s has no doc", name)
		}
	}
	for name, want := range map[string]string{
		"version":                              "whole number required",
		"socket":                               "mapping",
		"socket.mode":                          "a file mode such as 0600 = 0600",
		"cache.bytes":                          "a size such as 64KiB or 256MiB = 256MiB",
		"identities":                           "mapping from names required",
		"identities.NAME.source":               "text required",
		"identities.NAME.allow.uids":           "list of whole number from 0 to 4294967295",
		"identities.NAME.refresh.timeout":      "a duration such as 60s or 1h = 60s",
		"identities.NAME.release":              "true or false = true",
		"identities.NAME.client_secret oauth2": "secret",
		"identities.NAME.auth oauth2":          "text = post of post|basic|private_key_jwt",
		"identities.NAME.proof.key oauth2":     "secret",
		"identities.NAME.timeout process":      "a duration such as 60s or 1h",
		"identities.NAME.secrets process":      "mapping from names to secret",
		"identities.NAME.tenant entra":         "text required",
		"endpoints":                            "list of mapping",
		"endpoints[].listen":                   "text required",
		"endpoints[].hold oauth-token":         "a duration such as 60s or 1h = 2s",
		"proxies":                              "list of mapping",
		"proxies[].signer":                     "text required",
		"proxies[].path":                       "text = /",
		"proxies[].secret":                     "secret",
		"proxies[].allow.uids":                 "list of whole number from 0 to 4294967295",
		"proxies[].tls.client_ca_file":         "text",
		"proxies[].max_spool":                  "a size such as 64KiB or 256MiB = 1GiB",
		"proxies[].timeouts.idle":              "a duration such as 60s or 1h = 10m",
		"proxies[].retries":                    "whole number = 1",
		"proxies[].payload sigv4":              "text = hash of hash|unsigned",
		"mcp":                                  "list of mapping",
		"mcp[].name":                           "text required",
		"mcp[].path":                           "text = /mcp",
		"mcp[].allow.groups":                   "list of text",
		"mcp[].upstreams":                      "list of mapping required",
		"mcp[].upstreams[].url":                "text required",
		"mcp[].upstreams[].profiles":           "mapping from names to text",
		"mcp[].upstreams[].meta":               "mapping from names to text",
		"mcp[].upstreams[].tools.allow":        "list of text",
		"mcp[].upstreams[].approve":            "text = never of never|writes|all",
		"mcp[].upstreams[].timeouts.tool":      "a duration such as 60s or 1h = 300s",
		"mcp[].upstreams[].payload sigv4":      "text = hash of hash|unsigned",
		"mcp[].approvals.expire":               "a duration such as 60s or 1h = 15m",
	} {
		k, ok := got[name]
		text := k.Type
		if k.Required {
			text += " required"
		}
		if k.Default != "" {
			text += " = " + k.Default
		}
		if k.Values != nil {
			text += " of " + strings.Join(k.Values, "|")
		}
		if !ok || text != want {
			t.Errorf("%s: got %q, want %q", name, text, want)
		}
	}
	if _, ok := got["endpoints[].secret.env"]; ok {
		t.Error("a secret's own forms are not keys of each setting")
	}
}
