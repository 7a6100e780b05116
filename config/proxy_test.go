package config

import (
	"slices"
	"strings"
	"testing"
)

// proxy is the minimal file with a proxy over TCP that has more keys.
func proxy(more string) string {
	return minimal + "proxies: [{signer: bearer, listen: 127.0.0.1:1, upstream: https://h/v1, identity: a, secret: {env: S}" + more + "}]\n"
}

// onSocket likewise, over a Unix socket.
func onSocket(more string) string {
	return minimal + "proxies: [{signer: bearer, listen: unix:/run/p, upstream: https://h/v1, identity: a" + more + "}]\n"
}

// two is the minimal file with two proxies over TCP, of which each has more keys.
func two(first, second string) string {
	const common = "- {signer: bearer, upstream: https://h, identity: a, secret: {env: S}, "
	return minimal + "proxies:\n" + common + first + "}\n" + common + second + "}\n"
}

func TestProxiesThatAreRight(t *testing.T) {
	for name, text := range map[string]string{
		"over TCP":                       proxy(""),
		"over a Unix socket":             onSocket(""),
		"a socket's users":               onSocket(", allow: {uids: [7]}"),
		"a socket with a secret":         onSocket(", secret: {env: S}"),
		"certificates in place of it":    strings.Replace(proxy(", tls: {cert_file: /c, key_file: /k, client_ca_file: /ca}"), ", secret: {env: S}", "", 1),
		"open to others, with TLS":       strings.Replace(proxy(", expose: true, tls: {cert_file: /c, key_file: /k}"), "127.0.0.1", "0.0.0.0", 1),
		"an http upstream on loopback":   strings.Replace(proxy(", http2: true"), "https://h/v1", "'http://[::1]:9000'", 1),
		"all numbers at their bounds":    proxy(", retries: 5, connections: 0, max_body: 0B, max_spool: 1B, timeouts: {connect: 1ns, answer: 0s, idle: 1ns}"),
		"paths of one address":           two("listen: localhost:1, path: /a", "listen: 127.0.0.1:1, path: /a/b"),
		"one path of two addresses":      two("listen: 127.0.0.1:1", "listen: 127.0.0.1:2"),
		"a socket beside the API's":      onSocket("") + "socket: {path: /run/freshet.sock}\n",
		"TLS that is the same":           two("listen: localhost:1, path: /a, tls: {cert_file: /c, key_file: /k}", "listen: 127.0.0.1:1, tls: {key_file: /k, cert_file: /c}"),
		"an identity never handed out":   strings.Replace(proxy(""), "source: azure-cli", "source: azure-cli, release: false", 1),
		"the default, named":             strings.Replace(proxy(", tenant: x, audience: y"), "source: azure-cli", "source: azure-cli, tenant: x, audience: y", 1),
		"one of the list":                strings.Replace(proxy(", tenant: x, audience: y, scopes: [q]"), "source: azure-cli", "source: azure-cli, tenants: [z, x], audiences: [y], scopes: [p, q]", 1),
		"what its issuer has to judge":   proxy(", tenant: x, audience: y, scopes: [q]"),
		"no proxies":                     minimal + "proxies: []\n",
		"a list of two methods":          proxy(", methods: [GET, HEAD]"),
		"a name with every sort of sign": proxy(", name: A.b-c_1"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse("f", []byte(text), kinds()); err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}

func TestErrorsOfProxies(t *testing.T) {
	const users, addressed = "users are known on a Unix socket alone", "write it as 127.0.0.1:9911"
	in := func(text, old, new string) string {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in %s", old, text)
		}
		return strings.Replace(text, old, new, 1)
	}
	for _, test := range []struct{ name, text, want, hint string }{
		{"a mapping", minimal + "proxies: {a: b}\n", "f:3:10: proxies: want a list, found a mapping", "write each as - {signer: …}"},
		{"an empty one", minimal + "proxies:\n  -\n", "f:4:5: proxies[0]: want a mapping, found nothing", "write it as {signer: …}"},
		{"no signer", in(proxy(""), "signer: bearer, ", ""), "f:3:11: proxies[0]: the key signer is missing", ""},
		{"unknown signer", in(proxy(""), "bearer", "barer"), "f:3:20: proxies[0].signer: unknown signer (did you mean bearer?)", "known are bearer, sigv4"},
		{"unknown key", proxy(", method: [GET]"), "f:3:104: proxies[0].method: unknown key (did you mean methods?)", ""},
		{"another signer's key", proxy(", service: s3"), "f:3:104: proxies[0].service: unknown key", ""},
		{"a signer's missing key", in(proxy(""), "bearer", "sigv4"), "f:3:11: proxies[0]: the key service is missing", ""},
		{"a signer's enum", in(proxy(", service: s3, payload: hsah"), "bearer", "sigv4"), "f:3:125: proxies[0].payload: want hash or unsigned (did you mean hash?)", ""},
		{"no listen", in(proxy(""), "listen: 127.0.0.1:1, ", ""), "f:3:11: proxies[0]: the key listen is missing", ""},
		{"no upstream", in(proxy(""), "upstream: https://h/v1, ", ""), "f:3:11: proxies[0]: the key upstream is missing", ""},
		{"no identity", in(proxy(""), "identity: a, ", ""), "f:3:11: proxies[0]: the key identity is missing", ""},
		{"unknown identity", in(proxy(""), "identity: a,", "identity: b,"), "f:3:73: proxies[0].identity: unknown identity (did you mean a?)", "identities are a"},
		{"inline secret", in(proxy(""), "{env: S}", "hunter2"), "f:3:94: proxies[0].secret: secrets are never written in the configuration",
			"write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"},
		{"nothing to show", in(proxy(""), ", secret: {env: S}", ""), "f:3:11: proxies[0]: its callers have nothing to show",
			"add secret:, or tls: with client_ca_file, or listen on unix:/path"},
		{"TLS shows nothing of callers", in(proxy(", tls: {cert_file: /c, key_file: /k}"), ", secret: {env: S}", ""), "f:3:11: proxies[0]: its callers have nothing to show",
			"add secret:, or tls: with client_ca_file, or listen on unix:/path"},
		{"name", proxy(", name: hunter/2"), "f:3:104: proxies[0].name: not a name for a proxy", nameForm},
		{"a name that is taken", proxy(", name: ad-hoc"), "f:3:104: proxies[0].name: not a name for a proxy", "that is what routes are called that are in no file"},

		{"listen", in(proxy(""), "127.0.0.1:1", "hunter2"), "f:3:28: proxies[0].listen: not an address and port", addressed},
		{"a name to listen on", in(proxy(""), "127.0.0.1:1", "hunter.example:1"), "f:3:28: proxies[0].listen: not an address and port", addressed},
		{"a relative socket", in(onSocket(""), "/run/p", "hunter2"), "f:3:28: proxies[0].listen: not an absolute path without dots and double slashes",
			"write it as unix:/run/freshet/openai.sock"},
		{"a socket with dots", in(onSocket(""), "/run/p", "/run/../hunter2"), "f:3:28: proxies[0].listen: not an absolute path without dots and double slashes",
			"write it as unix:/run/freshet/openai.sock"},
		{"a socket too long", in(onSocket(""), "/run/p", "/"+strings.Repeat("h", 107)), "f:3:28: proxies[0].listen: too long for a Unix socket", "its path has 103 bytes at most"},
		{"open to others", in(proxy(""), "127.0.0.1", "0.0.0.0"), "f:3:28: proxies[0].listen: other machines can reach this address",
			"listen on 127.0.0.1, or add expose: true and tls: if they may"},
		{"open to others in the clear", in(proxy(", expose: true"), "127.0.0.1", "0.0.0.0"), "f:3:102: proxies[0].expose: there is no tls",
			"add tls: {cert_file: PATH, key_file: PATH}"},
		{"users over TCP", proxy(", allow: {uids: [1]}"), "f:3:104: proxies[0].allow: " + users, "listen on unix:/path, or remove it"},
		{"groups over TCP", proxy(", allow: {groups: []}"), "f:3:104: proxies[0].allow: " + users, "listen on unix:/path, or remove it"},
		{"TLS on a socket", onSocket(", tls: {cert_file: /c, key_file: /k}"), "f:3:86: proxies[0].tls: a Unix socket has none", "remove it: callers are known by their user"},
		{"a socket, exposed", onSocket(", expose: true"), "f:3:86: proxies[0].expose: a Unix socket is this machine's alone", "remove it"},
		{"key alone", proxy(", tls: {key_file: /k}"), "f:3:110: proxies[0].tls.key_file: given without cert_file", ""},
		{"certificate alone", proxy(", tls: {cert_file: /c}"), "f:3:110: proxies[0].tls.cert_file: given without key_file", ""},
		{"authorities alone", proxy(", tls: {client_ca_file: /c}"), "f:3:110: proxies[0].tls.client_ca_file: given without cert_file and key_file", ""},
		{"a relative certificate", proxy(", tls: {cert_file: hunter2, key_file: /k}"), "f:3:121: proxies[0].tls.cert_file: not an absolute path", "start it with / or ~/"},

		{"path", proxy(", path: hunter2"), "f:3:104: proxies[0].path: not a clean path", "write it as /openai, without a slash at its end"},
		{"an empty path", proxy(", path: ''"), "f:3:104: proxies[0].path: not a clean path", "write it as /openai, without a slash at its end"},
		{"a path with an end", proxy(", path: /hunter2/"), "f:3:104: proxies[0].path: not a clean path", "write it as /openai, without a slash at its end"},
		{"an encoded path", proxy(", path: /hunter%322"), "f:3:104: proxies[0].path: has characters that are encoded in a URL", "write it as /openai"},
		{"upstream in the clear", in(proxy(""), "https://h/v1", "http://hunter2"), "f:3:49: proxies[0].upstream: http to another host",
			"use https: only this machine's own addresses may be http"},
		{"upstream's query", in(proxy(""), "https://h/v1", "https://h/?key=hunter2"), "f:3:49: proxies[0].upstream: a URL with a query", "remove the ? and what follows it"},
		{"upstream's password", in(proxy(""), "https://h/v1", "https://hunter2@h/"), "f:3:49: proxies[0].upstream: a URL with a name or password in it",
			"secrets are never written in the configuration"},
		{"authorities of http", in(proxy(", ca_file: /c"), "https://h/v1", "http://localhost"), "f:3:108: proxies[0].ca_file: an http upstream shows no certificate", "remove it"},
		{"HTTP/2 of https", proxy(", http2: true"), "f:3:104: proxies[0].http2: given for an https upstream", "remove it: over https, HTTP/2 is agreed on"},

		{"method", proxy(", methods: [GET, post]"), "f:3:119: proxies[0].methods[1]: not an HTTP method", "methods are written in capitals, as GET"},
		{"CONNECT", proxy(", methods: [CONNECT]"), "f:3:114: proxies[0].methods[0]: a method that is never forwarded", "remove it"},
		{"TRACE", proxy(", methods: [TRACE]"), "f:3:114: proxies[0].methods[0]: a method that is never forwarded", "remove it"},
		{"a method twice", proxy(", methods: [GET, GET]"), "f:3:119: proxies[0].methods[1]: listed twice", ""},
		{"no methods", proxy(", methods: []"), "f:3:104: proxies[0].methods: is empty", "remove the key if all may pass"},
		{"no paths", proxy(", paths: []"), "f:3:104: proxies[0].paths: is empty", "remove the key if all may pass"},
		{"a relative pattern", proxy(", paths: [hunter2]"), "f:3:112: proxies[0].paths[0]: does not begin with /", "write it as /v1/models or /v1/chat/*"},
		{"a star inside", proxy(", paths: [/hunter2/*/x]"), "f:3:112: proxies[0].paths[0]: a * that is not at the end", "write it as /v1/models or /v1/chat/*"},
		{"dots", proxy(", paths: [/x/../hunter2]"), "f:3:112: proxies[0].paths[0]: a path with . or .. in it", "requests with such paths are refused in any case"},
		{"an encoded pattern", proxy(", paths: [/hunter%322]"), "f:3:112: proxies[0].paths[0]: has characters that are encoded in a URL", "end it before them with a *"},

		{"a body's bound", proxy(", max_body: 5"), "f:3:114: proxies[0].max_body: want a size such as 64KiB or 256MiB", ""},
		{"no spool", proxy(", max_spool: 0B"), "f:3:104: proxies[0].max_spool: want 1B or more", ""},
		{"no time to connect", proxy(", timeouts: {connect: 0s}"), "f:3:115: proxies[0].timeouts.connect: want more than 0s", ""},
		{"no time to idle", proxy(", timeouts: {idle: 0s}"), "f:3:115: proxies[0].timeouts.idle: want more than 0s", ""},
		{"too many retries", proxy(", retries: 6"), "f:3:104: proxies[0].retries: want 0 to 5", ""},
		{"fewer retries than none", proxy(", retries: -1"), "f:3:104: proxies[0].retries: want 0 to 5", ""},
		{"fewer connections than none", proxy(", connections: -1"), "f:3:104: proxies[0].connections: want 0 or more", "0 is no limit"},

		{"another tenant", in(proxy(", tenant: hunter"), "azure-cli}", "azure-cli, tenant: x}"), "f:3:104: proxies[0].tenant: its identity has another, and no list of tenants",
			"add tenants: there, or remove it here"},
		{"an unlisted tenant", in(proxy(", tenant: hunter"), "azure-cli}", "azure-cli, tenants: [x]}"),
			"f:3:104: proxies[0].tenant: not among the tenants that its identity may be asked for", "add it there"},
		{"another audience", in(proxy(", audience: hunter"), "azure-cli}", "azure-cli, audience: x}"),
			"f:3:104: proxies[0].audience: its identity has another, and no list of audiences", "add audiences: there, or remove it here"},
		{"an unlisted scope", in(proxy(", scopes: [x, hunter]"), "azure-cli}", "azure-cli, scopes: [x]}"),
			"f:3:116: proxies[0].scopes[1]: not among the scopes that its identity may be asked for", "add it there"},

		{"one address and path", two("listen: 127.0.0.1:1", "listen: localhost:1, path: /"), "f:5:93: proxies[1].path: the entry of line 4 has the same path there",
			"give one of them another path, or another address"},
		{"one name", two("listen: 127.0.0.1:1, name: hunter", "listen: 127.0.0.1:2, name: hunter"), "f:5:93: proxies[1].name: the entry of line 4 has the same name", ""},
		{"other TLS at one address", two("listen: 127.0.0.1:1, tls: {cert_file: /c, key_file: /k}", "listen: 127.0.0.1:1, path: /x"),
			"f:5:3: proxies[1].tls: the entry of line 4 has other TLS settings at this address", "make them the same"},
		{"an endpoint's address", proxy("") + "endpoints: [{endpoint: oauth-token, listen: localhost:1, identity: a, secret: {env: S}}]\n",
			"f:3:28: proxies[0].listen: an endpoint listens there", "give the proxy another address"},
		{"the metrics' address", proxy("") + "metrics: {listen: 127.0.0.1:1}\n", "f:3:28: proxies[0].listen: metrics listens there", "give the proxy another address"},
		{"the API's socket", onSocket("") + "socket: {path: /run/p}\n", "f:3:28: proxies[0].listen: the local API listens there", "give the proxy another address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, test.text, test.want, test.hint)
		})
	}
}

// Everything wrong with one entry is said at once.
func TestErrorsOfAProxyAreAllReported(t *testing.T) {
	text := minimal + "proxies:\n- {signer: bearer, listen: 0.0.0.0:1, path: x, upstream: 'ftp://h', identity: z, retries: 9, methods: [get], paths: [y]}\n"
	want := `f:4:20: proxies[0].listen: other machines can reach this address
f:4:39: proxies[0].path: not a clean path
f:4:48: proxies[0].upstream: not an https URL
f:4:69: proxies[0].identity: unknown identity
f:4:82: proxies[0].retries: want 0 to 5
f:4:104: proxies[0].methods[0]: not an HTTP method
f:4:118: proxies[0].paths[0]: does not begin with /`
	_, err := Parse("f", []byte(text), kinds())
	if err == nil || err.Error() != strings.Replace(want, "unknown identity", "unknown identity (did you mean a?)", 1) {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestProxyFilesAreAllThatItReads(t *testing.T) {
	text := two("listen: 127.0.0.1:1, path: /a, tls: {cert_file: /c, key_file: /k, client_ca_file: /clients}, ca_file: /ca",
		"listen: 127.0.0.1:2, ca_file: /ca") + "- {signer: bearer, upstream: https://h, identity: a, secret: {file: /secret}, listen: 127.0.0.1:3}\n"
	f, err := Parse("f", []byte(text), kinds())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.ProxyFiles(), []string{"/c", "/k", "/clients", "/ca"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := f.SecretFiles(), []string{"/secret"}; !slices.Equal(got, want) {
		t.Errorf("got secrets' files %q, want %q", got, want)
	}
}
