package config

import (
	"errors"
	"strings"
	"testing"
)

// minimal is a file that is right, for what is wrong to be added to.
const minimal = "version: 1\nidentities: {a: {source: azure-cli}}\n"

// oauth2 is an identity of that source with more keys.
func oauth2(more string) string {
	return "version: 1\nidentities: {a: {source: oauth2, token_url: https://h/, " + more + "}}\n"
}

// endpoint is the minimal file with an endpoint.
func endpoint(keys string) string { return minimal + "endpoints: [{" + keys + "}]\n" }

func TestErrors(t *testing.T) {
	for _, test := range []struct{ name, text, want, hint string }{
		{"empty", "", "f:1:1: file: empty", "the least is: version: 1, and identities:"},
		{"a comment", "# x\n", "f:1:1: file: empty", "the least is: version: 1, and identities:"},
		{"dashes", "---\n", "f:1:1: file: empty", "the least is: version: 1, and identities:"},
		{"huge", strings.Repeat("#", maxBytes+1), "f:1:1: file: over 1 MiB", ""},
		{"not UTF-8", "version: 1\nsocket: \xff\n", "f:2:9: file: not text in UTF-8", "save it as UTF-8, without control characters"},
		{"UTF-16", "\xff\xfev\x00", "f:1:1: file: not text in UTF-8", "save it as UTF-8, without control characters"},
		{"control", "a: é\x07\n", "f:1:5: file: not text in UTF-8", "save it as UTF-8, without control characters"},
		{"a list", "- a\n", "f:1:1: configuration: want a mapping, found a list", ""},
		{"a scalar", "hunter2\n", "f:1:1: configuration: want a mapping, found text", ""},

		{"open quote", "version: 1\na: \"hunter2\n", "f:2:4: yaml: a double quote is never closed", ""},
		{"open single quote", "a: 'hunter2\n", "f:1:4: yaml: a single quote is never closed", ""},
		{"tab", "a:\n\tb: c\n", "f:2:1: yaml: a tab where spaces are needed", ""},
		{"two colons", "a: hunter2: b\n", "f:1:4: yaml: a second colon in one value: quote the value, or start a new line", ""},
		{"reserved", "a: @hunter2\n", "f:1:4: yaml: a value that starts with @ or a backtick: quote it", ""},
		{"escape", "a: \"\\hunter2\"\n", "f:1:6: yaml: an unknown escape in double quotes: use single quotes", ""},
		{"open brace", "a: {b: c\n", "f:1:4: yaml: a { is never closed, or a comma is missing", ""},
		{"open bracket", "a: [b\n", "f:1:4: yaml: a [ is never closed, or a comma is missing", ""},
		{"close bracket", "a: ]\n", "f:1:4: yaml: a ] without its [", ""},
		{"no colon", "a: b\nhunter2\n", "f:2:1: yaml: a value where a key is needed: look at the indentation, and for a missing colon", ""},
		{"deep brackets", "a: " + strings.Repeat("[", 1000), "f:1:36: yaml: nested too deeply", ""},
		{"deep dashes", strings.Repeat("- ", 1000), "f:1:65: yaml: nested too deeply", ""},

		{"anchor", minimal + "log: &hunter2 {level: info}\n", "f:3:6: anchor: not accepted", "write the value out where it is needed"},
		{"alias", minimal + "log: *x\n", "f:3:6: alias: not accepted", "write the value out where it is needed"},
		{"merge key", minimal + "<<: {a: b}\n", "f:3:1: merge key: not accepted", "write the value out where it is needed"},
		{"merge key inside", minimal + "log: {<<: {a: b}}\n", "f:3:7: merge key: not accepted", "write the value out where it is needed"},
		{"tag", minimal + "log: !!str x\n", "f:3:6: tag: not accepted", "remove it; quote what must be text"},
		{"explicit key", "? version\n: 1\n", "f:1:1: explicit key: not accepted", "write it as key: value"},
		{"directive", "%YAML 1.2\n---\n" + minimal, "f:1:1: yaml: directives are not accepted", "remove the line"},
		{"two documents", minimal + "---\nversion: 1\n", "f:3:1: yaml: a second document is not accepted", "keep everything in one, without ---"},
		{"an empty second document", minimal + "---\n", "f:3:1: yaml: a second document is not accepted", "keep everything in one, without ---"},

		{"no version", "identities: {}\n", "f:1:1: configuration: the key version is missing", ""},
		{"other version", "version: 2\nidentities: {}\n", "f:1:1: version: want 1", "this freshet reads version 1 alone"},
		{"version 0", "version: 0\nidentities: {}\n", "f:1:1: version: want 1", "this freshet reads version 1 alone"},
		{"version as text", "version: \"1\"\nidentities: {}\n", "f:1:10: version: want a whole number", ""},
		{"no identities", "version: 1\n", "f:1:1: configuration: the key identities is missing", ""},
		{"unknown key", minimal + "identites: x\n", "f:3:1: identites: unknown key (did you mean identities?)", ""},
		{"unknown key unlike any", minimal + "zzz: hunter2\n", "f:3:1: zzz: unknown key", ""},
		{"unknown key like a secret", minimal + "hunter2: x\n", "f:3:1: configuration: unknown key", ""},
		{"unknown key inside", minimal + "log: {levl: info}\n", "f:3:7: log.levl: unknown key (did you mean level?)", ""},
		{"camel case", oauth2("clientId: x"), "f:2:57: identities.a.clientId: unknown key (did you mean client_id?)", ""},
		{"duplicate", minimal + "log: {}\n'log': {}\n", "f:4:1: log: duplicate key", "keep one of them"},
		{"duplicate name", "version: 1\nidentities:\n  a: {source: azure-cli}\n  a: {source: azure-cli}\n", "f:4:3: identities: duplicate key", "keep one of them"},
		{"no value", minimal + "log:\n", "f:3:1: log: has no value", "give it one, or remove the key"},
		{"no value, said so", minimal + "log: {level: ~}\n", "f:3:7: log.level: has no value", "give it one, or remove the key"},
		{"text for a mapping", minimal + "log: hunter2\n", "f:3:6: log: want a mapping, found text", ""},
		{"list for text", minimal + "log: {level: [info]}\n", "f:3:14: log.level: want text, found a list", ""},
		{"truth for text", oauth2("client_id: true"), "f:2:68: identities.a.client_id: want text, found true or false", "put it in quotes"},
		{"enum", minimal + "log: {level: inof}\n", "f:3:14: log.level: want debug, info, warn or error (did you mean info?)", ""},
		{"enum unlike any", minimal + "log: {level: hunter2}\n", "f:3:14: log.level: want debug, info, warn or error", ""},
		{"size", minimal + "cache: {bytes: 256MB}\n", "f:3:16: cache.bytes: want a size such as 64KiB or 256MiB", ""},
		{"int", minimal + "cache: {entries: hunter2}\n", "f:3:18: cache.entries: want a whole number", ""},
		{"octal", minimal + "cache: {entries: 0100}\n", "f:3:18: cache.entries: want a whole number", ""},
		{"too few", minimal + "cache: {entries: 0}\n", "f:3:9: cache.entries: want 1 or more", ""},
		{"too small", minimal + "cache: {bytes: 1B}\n", "f:3:9: cache.bytes: want 1MiB or more", ""},
		{"mode", minimal + "socket: {mode: 600}\n", "f:3:16: socket.mode: want a file mode such as 0600", ""},
		{"relative path", minimal + "socket: {path: hunter2}\n", "f:3:16: socket.path: not an absolute path", "start it with / or ~/"},
		{"metrics", minimal + "metrics: {listen: 9464}\n", "f:3:11: metrics.listen: not an address and port", "write it as 127.0.0.1:9911"},
		{"audit of nothing", minimal + "audit: {required: true}\n", "f:3:9: audit.required: there is no audit without file", ""},
		{"audit's truth", minimal + "audit: {file: /x, required: \"true\"}\n", "f:3:29: audit.required: want true or false", ""},

		{"inline secret", oauth2("client_secret: hunter2"), "f:2:72: identities.a.client_secret: secrets are never written in the configuration",
			"write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"},
		{"inline secret as a number", oauth2("client_secret: 1234"), "f:2:72: identities.a.client_secret: secrets are never written in the configuration",
			"write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"},
		{"inline secret as a list", oauth2("client_secret: [hunter2]"), "f:2:72: identities.a.client_secret: secrets are never written in the configuration",
			"write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"},
		{"inline secret in a block", "version: 1\nidentities:\n  a:\n    source: oauth2\n    token_url: https://h/\n    client_secret: |\n      hunter2\n",
			"f:6:20: identities.a.client_secret: secrets are never written in the configuration", "write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"},
		{"inline secret in braces", oauth2("client_secret: {hunter}"), "f:2:73: identities.a.client_secret: unknown key",
			"write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"},
		{"inline secret deeper", oauth2("proof: {key: hunter2}"), "f:2:70: identities.a.proof.key: secrets are never written in the configuration",
			"write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"},
		{"no secret", oauth2("client_secret: {}"), "f:2:57: identities.a.client_secret: names no secret",
			"write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"},
		{"two secrets", oauth2("client_secret: {env: A, file: /b}"), "f:2:57: identities.a.client_secret: names a secret in more than one way",
			"keep one of env, file and command"},
		{"relative secret", oauth2("client_secret: {file: hunter2}"), "f:2:79: identities.a.client_secret.file: not an absolute path", "start it with / or ~/"},
		{"secret command", oauth2("client_secret: {command: hunter2}"), "f:2:82: identities.a.client_secret.command: want a list, found text", "write it as [a, b]"},

		{"identities as a list", "version: 1\nidentities: [a]\n", "f:2:13: identities: want a mapping from names, found a list", "write each as NAME: {source: …}"},
		{"bad name", "version: 1\nidentities: {-hunter: {source: azure-cli}}\n", "f:2:14: identities: not a name for an identity", nameForm},
		{"empty identity", "version: 1\nidentities:\n  a:\n", "f:3:3: identities.a: has no value", "write it as a: {source: …}"},
		{"scalar identity", "version: 1\nidentities: {a: azure-cli}\n", "f:2:17: identities.a: want a mapping, found text", "write it as {source: …}"},
		{"no source", "version: 1\nidentities: {a: {profile: x}}\n", "f:2:14: identities.a: the key source is missing", ""},
		{"unknown source", "version: 1\nidentities: {a: {source: azurecli, whatever: x}}\n", "f:2:26: identities.a.source: unknown source (did you mean azure-cli?)",
			"known are aws-profile, azure-cli, entra, oauth2, process"},
		{"source as a list", "version: 1\nidentities: {a: {source: [azure-cli]}}\n", "f:2:26: identities.a.source: want text, found a list", ""},
		{"another source's key", "version: 1\nidentities: {a: {source: azure-cli, token_url: x}}\n", "f:2:37: identities.a.token_url: unknown key", ""},
		{"missing key", "version: 1\nidentities: {a: {source: oauth2}}\n", "f:2:14: identities.a: the key token_url is missing", ""},
		{"missing common key", "version: 1\nidentities: {a: {source: entra}}\n", "f:2:14: identities.a: the key tenant is missing", ""},
		{"empty key", "version: 1\nidentities: {a: {source: entra, tenant: ''}}\n", "f:2:41: identities.a.tenant: is empty", ""},
		{"empty list", "version: 1\nidentities: {a: {source: process, command: []}}\n", "f:2:44: identities.a.command: is empty", ""},
		{"empty element", "version: 1\nidentities: {a: {source: process, command: [x, '']}}\n", "f:2:48: identities.a.command[1]: is empty", ""},
		{"number in a list", "version: 1\nidentities: {a: {source: process, command: [x], codes: [1, x]}}\n", "f:2:60: identities.a.codes[1]: want a whole number", ""},
		{"duplicate in a table", "version: 1\nidentities: {a: {source: process, command: [x], env: {A: b, A: c}}}\n", "f:2:61: identities.a.env: duplicate key", "keep one of them"},
		{"mapping in a table", "version: 1\nidentities: {a: {source: process, command: [x], env: {A: {}}}}\n", "f:2:58: identities.a.env.A: want text, found a mapping", ""},
		{"secret in a table", "version: 1\nidentities: {a: {source: process, command: [x], secrets: {hunter2: x}}}\n",
			"f:2:68: identities.a.secrets[0]: secrets are never written in the configuration", "write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"},
		{"embedded key", "version: 1\nidentities: {a: {source: process, command: [x], timeout: 5}}\n", "f:2:58: identities.a.timeout: want a duration such as 60s or 1h", ""},
		{"out of range", oauth2("proof: {depth: 256}"), "f:2:72: identities.a.proof.depth: want a whole number from 0 to 255", ""},
		{"a leaf's check", oauth2("proof: {depth: 4}"), "f:2:65: identities.a.proof.depth: want 3 or less", "ask for less"},
		{"a leaf's check of the whole", oauth2("client_id: bad"), "f:2:14: identities.a: client: not a good one", ""},
		{"a shared check", "version: 1\nidentities: {a: {source: oauth2, token_url: http://hunter2/}}\n",
			"f:2:34: identities.a.token_url: http to another host", "use https: only this machine's own addresses may be http"},
		{"tenant", "version: 1\nidentities: {a: {source: azure-cli, tenant: x, tenants: [y]}}\n", "f:2:48: identities.a.tenants: the default tenant is not among them", "add it, or remove tenant"},
		{"audience", "version: 1\nidentities: {a: {source: azure-cli, audience: x, audiences: [y]}}\n", "f:2:50: identities.a.audiences: the default audience is not among them", "add it, or remove audience"},
		{"uid", "version: 1\nidentities: {a: {source: azure-cli, allow: {uids: [root]}}}\n", "f:2:52: identities.a.allow.uids[0]: want a whole number from 0 to 4294967295", ""},
		{"refresh at", "version: 1\nidentities: {a: {source: azure-cli, refresh: {at: 100%}}}\n", "f:2:47: identities.a.refresh.at: want 1% to 99%", ""},
		{"refresh at as a number", "version: 1\nidentities: {a: {source: azure-cli, refresh: {at: 75}}}\n", "f:2:51: identities.a.refresh.at: want a percentage such as 75%", ""},
		{"refresh timeout", "version: 1\nidentities: {a: {source: azure-cli, refresh: {timeout: 0s}}}\n", "f:2:47: identities.a.refresh.timeout: want more than 0s", ""},
		{"rate", "version: 1\nidentities: {a: {source: azure-cli, limit: {rate: 10}}}\n", "f:2:51: identities.a.limit.rate: want a rate such as 10/s, 600/m or 2/h", ""},
		{"rate of none", "version: 1\nidentities: {a: {source: azure-cli, limit: {rate: 0/s}}}\n", "f:2:51: identities.a.limit.rate: want a rate such as 10/s, 600/m or 2/h", ""},
		{"pin", "version: 1\nidentities: {a: {source: azure-cli, pin: yes}}\n", "f:2:42: identities.a.pin: want true or false", ""},
		{"ready", minimal + "ready: {timeout: 30}\n", "f:3:18: ready.timeout: want a duration such as 60s or 1h", ""},
		{"limit", "version: 1\nidentities: {a: {source: azure-cli, limit: {concurrency: -1}}}\n", "f:2:45: identities.a.limit.concurrency: want 0 or more", "0 is no limit"},
		{"from nobody", "version: 1\nidentities: {prod: {source: azure-cli, from: pord}}\n", "f:2:40: identities.prod.from: unknown identity (did you mean prod?)", "identities are prod"},
		{"from itself", "version: 1\nidentities: {a: {source: azure-cli, from: a}}\n", "f:2:37: identities.a.from: a cycle: a → a", "the first input of a chain has no from"},
		{"a cycle", "version: 1\nidentities:\n  z: {source: azure-cli, from: a}\n  a: {source: azure-cli, from: b}\n  b: {source: azure-cli, from: c}\n  c: {source: azure-cli, from: a}\n",
			"f:4:26: identities.a.from: a cycle: a → b → c → a", "the first input of a chain has no from"},

		{"endpoints as a mapping", minimal + "endpoints: {a: b}\n", "f:3:12: endpoints: want a list, found a mapping", "write each as - {endpoint: …}"},
		{"empty endpoint", minimal + "endpoints:\n  -\n", "f:4:5: endpoints[0]: want a mapping, found nothing", "write it as {endpoint: …}"},
		{"unknown endpoint", endpoint("endpoint: awscontainer, listen: 127.0.0.1:1, identity: a, secret: {env: S}"),
			"f:3:24: endpoints[0].endpoint: unknown endpoint (did you mean aws-container?)", "known are aws-container, oauth-token"},
		{"no endpoint's secret", endpoint("endpoint: aws-container, listen: 127.0.0.1:1, identity: a"), "f:3:13: endpoints[0]: the key secret is missing", ""},
		{"an endpoint's inline secret", endpoint("endpoint: aws-container, listen: 127.0.0.1:1, identity: a, secret: hunter2"),
			"f:3:81: endpoints[0].secret: secrets are never written in the configuration", "write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"},
		{"an endpoint of nobody", endpoint("endpoint: aws-container, listen: 127.0.0.1:1, secret: {env: S}"), "f:3:13: endpoints[0]: serves no identity", "add identity: NAME, or identities: [NAME, NAME]"},
		{"identity twice", endpoint("endpoint: aws-container, listen: 127.0.0.1:1, identity: a, identities: [a], secret: {env: S}"), "f:3:73: endpoints[0].identities: given beside identity", "keep one of them"},
		{"identity and none", endpoint("endpoint: aws-container, listen: 127.0.0.1:1, identity: a, identities: [], secret: {env: S}"), "f:3:73: endpoints[0].identities: given beside identity", "keep one of them"},
		{"an unknown identity", endpoint("endpoint: aws-container, listen: 127.0.0.1:1, identity: hunter2, secret: {env: S}"), "f:3:60: endpoints[0].identity: unknown identity", "identities are a"},
		{"an unknown one of them", endpoint("endpoint: aws-container, listen: 127.0.0.1:1, identities: [a, b], secret: {env: S}"), "f:3:76: endpoints[0].identities[1]: unknown identity (did you mean a?)", "identities are a"},
		{"one of them twice", endpoint("endpoint: aws-container, listen: 127.0.0.1:1, identities: [a, a], secret: {env: S}"), "f:3:76: endpoints[0].identities[1]: listed twice", ""},
		{"listen", endpoint("endpoint: aws-container, listen: hunter2, identity: a, secret: {env: S}"), "f:3:39: endpoints[0].listen: not an address and port", "write it as 127.0.0.1:9911"},
		{"exposed", endpoint("endpoint: aws-container, listen: 0.0.0.0:1, identity: a, secret: {env: S}"), "f:3:39: endpoints[0].listen: other machines can reach this address", "listen on 127.0.0.1, or add expose: true if they may"},
		{"another endpoint's key", endpoint("endpoint: aws-container, listen: 127.0.0.1:1, identity: a, secret: {env: S}, hold: 1s"), "f:3:91: endpoints[0].hold: unknown key", ""},
		{"one server", minimal + "endpoints:\n- {endpoint: aws-container, listen: 127.0.0.1:1, identity: a, secret: {env: S}}\n- {endpoint: aws-container, listen: localhost:1, identity: a, secret: {env: T}}\n",
			"f:5:29: endpoints[1].listen: the entry of line 4 has the same endpoint there", "give one of them another port"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, test.text, test.want, test.hint)
		})
	}
}

// wantError holds a text to its one error, whose hint is as wanted, and which shows no value.
func wantError(t *testing.T, text, want, hint string) {
	t.Helper()
	f, err := Parse("f", []byte(text), kinds())
	if err == nil {
		t.Fatalf("got %+v, want %s", f, want)
	}
	if err.Error() != want {
		t.Errorf("\n got %s\nwant %s", err, want)
	}
	var all Errors
	if !errors.As(err, &all) || all[0].Hint() != hint {
		t.Errorf("\n got hint %q\nwant hint %q", all[0].Hint(), hint)
	}
	if strings.Contains(err.Error()+all[0].Help, "hunter") {
		t.Errorf("%v (%s) shows a value", err, all[0].Help)
	}
}

func TestErrorsAreAllReported(t *testing.T) {
	text := `version: 3
identities:
  a: {source: oauth2, token_url: ftp://h/, proof: {depth: 9}}
  b: {source: azure-clip, from: c}
  d: {source: oauth2, client_secret: hunter2, aut: basic}
cache: {entries: x, bites: 1}
endpoints:
  - {endpoint: oauth-token, listen: 127.0.0.1:1, identity: z, secret: {env: S}, hold: soon}
`
	want := `f:1:1: version: want 1
f:3:23: identities.a.token_url: not an https URL
f:3:52: identities.a.proof.depth: want 3 or less
f:4:15: identities.b.source: unknown source (did you mean azure-cli?)
f:4:27: identities.b.from: unknown identity (did you mean a?)
f:5:3: identities.d: the key token_url is missing
f:5:38: identities.d.client_secret: secrets are never written in the configuration
f:5:47: identities.d.aut: unknown key (did you mean auth?)
f:6:18: cache.entries: want a whole number
f:6:21: cache.bites: unknown key (did you mean bytes?)
f:8:50: endpoints[0].identity: unknown identity (did you mean a?)
f:8:87: endpoints[0].hold: want a duration such as 60s or 1h`
	_, err := Parse("f", []byte(text), kinds())
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString(minimal)
	for range 200 {
		text.WriteString("zzz: 1\n")
	}
	_, err := Parse("f", []byte(text.String()), kinds())
	lines := strings.Split(err.Error(), "\n")
	if last, want := lines[len(lines)-1], "f:53:1: from here on: 150 more problems"; len(lines) != maxErrors+1 || last != want {
		t.Errorf("got %d lines and %q, want %d and %q", len(lines), last, maxErrors+1, want)
	}
}

// TestNoPlaceIsMistaken: a name with dots is no path.
func TestNoPlaceIsMistaken(t *testing.T) {
	text := "version: 1\nidentities:\n  a.refresh: {source: azure-cli}\n  a: {source: azure-cli, refresh: {at: 100%}}\n"
	want := "f:4:36: identities.a.refresh.at: want 1% to 99%"
	if _, err := Parse("f", []byte(text), kinds()); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestByteOrderMark(t *testing.T) {
	if _, err := Parse("f", []byte("\ufeff"+minimal), kinds()); err != nil {
		t.Error(err)
	}
}

func TestWindowsLines(t *testing.T) {
	text := strings.ReplaceAll(minimal+"zzz: 1\n", "\n", "\r\n")
	want := "f:3:1: zzz: unknown key"
	if _, err := Parse("f", []byte(text), kinds()); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestDefectsOfALeafPanic(t *testing.T) {
	for name, config := range map[string]any{
		"a type that cannot be": &struct {
			A chan int `yaml:"a"`
		}{},
		"a default of another type": &struct {
			A int `yaml:"a" default:"x"`
		}{},
		"a default not in the enum": &struct {
			A string `yaml:"a" enum:"x" default:"y"`
		}{},
		"no pointer": struct{}{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("got no panic")
				}
			}()
			k := Kinds{Sources: map[string]func() any{"x": func() any { return config }}}
			_, _ = Parse("f", []byte("version: 1\nidentities: {a: {source: x}}\n"), k)
		})
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"client_id", "client_secret", "token_url", "scopes"}
	for word, want := range map[string]string{
		"client_idd": "client_id", "clientSecret": "client_secret", "tokenurl": "token_url", "socpes": "scopes", "scope": "scopes",
		"password": "", "": "", "x": "", strings.Repeat("scopes", 20): "",
	} {
		got := didYouMean(word, known)
		if want != "" {
			want = " (did you mean " + want + "?)"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
