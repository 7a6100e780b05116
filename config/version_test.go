package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func versions(t *testing.T, text string) map[string]string {
	t.Helper()
	f, err := Parse("f", []byte(text), kinds())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, id := range f.Identities {
		all[id.Name] = id.Version
	}
	return all
}

const chain = `version: 1
identities:
  end: {source: azure-cli, from: web}
  web: {source: oauth2, token_url: https://h/, client_secret: {env: FRESHET_TEST_S}, params: {a: b, c: d}, scopes: [x, y]}
  other: {source: process, command: [x], env: {A: b}}
`

func TestVersionStays(t *testing.T) {
	t.Setenv("FRESHET_TEST_S", "one")
	want := versions(t, chain)
	for name, text := range map[string]string{
		"again":             chain,
		"a comment":         "# x\n" + chain,
		"a default written": strings.Replace(chain, "{source: oauth2,", "{source: oauth2, auth: post, release: true, lifetime: 60m,", 1),
		"another order":     strings.Replace(chain, "{a: b, c: d}", "{c: d, a: b}", 1),
		"quotes":            strings.Replace(chain, "token_url: https://h/", "token_url: \"https://h/\"", 1),
		"who may have it":   strings.Replace(chain, "params:", "release: false, allow: {uids: [7]}, params:", 1),
		"pin":               strings.Replace(chain, "params:", "pin: true, params:", 1),
		"an endpoint":       chain + "endpoints: [{endpoint: aws-container, listen: 127.0.0.1:1, identity: end, secret: {env: S}}]\n",
	} {
		for id, got := range versions(t, text) {
			if got != want[id] {
				t.Errorf("%s: %s has another version", name, id)
			}
		}
	}
}

func TestVersionChanges(t *testing.T) {
	t.Setenv("FRESHET_TEST_S", "one")
	t.Setenv("FRESHET_TEST_T", "one")
	before := versions(t, chain)
	for name, edit := range map[string][2]string{
		"a setting":         {"https://h/", "https://i/"},
		"a common setting":  {"scopes: [x, y]", "scopes: [xy]"},
		"a table":           {"{a: b, c: d}", "{a: bc, d: ''}"},
		"a secret's name":   {"FRESHET_TEST_S", "FRESHET_TEST_T"},
		"a nested setting":  {"scopes:", "proof: {depth: 1}, scopes:"},
		"a default changed": {"scopes:", "refresh: {timeout: 59s}, scopes:"},
	} {
		after := versions(t, strings.Replace(chain, edit[0], edit[1], 1))
		if after["web"] == before["web"] {
			t.Errorf("%s: the version is the same", name)
		}
		if after["end"] == before["end"] {
			t.Errorf("%s: the version of what is made from it is the same", name)
		}
		if after["other"] != before["other"] {
			t.Errorf("%s: another identity has another version", name)
		}
	}
}

func TestVersionFollowsSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	put := func(value string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("FRESHET_TEST_S", value)
	}
	for _, text := range []string{chain, strings.Replace(chain, "env: FRESHET_TEST_S", "file: "+path, 1)} {
		put("one")
		before := versions(t, text)
		put("two")
		after := versions(t, text)
		if after["web"] == before["web"] || after["end"] == before["end"] {
			t.Error("a rotated secret leaves the version as it was")
		}
		if after["other"] != before["other"] {
			t.Error("another identity has another version")
		}
	}
}
