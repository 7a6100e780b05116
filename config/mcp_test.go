package config

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
)

// bridge is the minimal file with a bridge over TCP, whose upstream has more keys.
func bridge(more string) string {
	return minimal + "mcp: [{name: b, listen: 127.0.0.1:1, secret: {env: S}, upstreams: [{url: https://h/mcp, identity: a" + more + "}]}]\n"
}

// quiet is the minimal file with a bridge that listens nowhere, which has more keys.
func quiet(more string) string {
	return minimal + "mcp: [{name: b" + more + ", upstreams: [{url: https://h/mcp, identity: a}]}]\n"
}

// several is the minimal file with a bridge in front of upstreams by these keys.
func several(keys ...string) string {
	text := minimal + "mcp:\n- name: b\n  upstreams:\n"
	for _, k := range keys {
		text += "  - {url: https://h, identity: a" + k + "}\n"
	}
	return text
}

// bridges is the minimal file with bridges by these keys, each with an upstream.
func bridges(keys ...string) string {
	text := minimal + "mcp:\n"
	for _, k := range keys {
		text += "- {upstreams: [{url: https://h, identity: a}], " + k + "}\n"
	}
	return text
}

// allBridges has every key there is.
const allBridges = `version: 1
identities:
  a: {source: azure-cli, tenants: [contoso], scopes: [x], audience: y}
  b: {source: azure-cli, tenant: contoso}
mcp:
  - name: tools-1
    listen: 0.0.0.0:9930
    path: /agents/mcp
    secret: {file: /s}
    allow: {uids: [7], groups: [agents]}
    tls: {cert_file: ~/cert.pem, key_file: /key.pem, client_ca_file: /clients.pem}
    expose: true
    approvals: {wait: 10s, expire: 1h}
    upstreams:
      - name: aws_1
        url: https://aws-mcp.us-east-1.api.aws/mcp
        identity: a
        signer: sigv4
        service: aws-mcp
        tenant: contoso
        scopes: [x]
        audience: y
        default_profile: dev
        profiles: {prod-2: b, also.a: a}
        parameter: aws_profile
        meta: {AWS_REGION: us-east-1, com.example/x: ""}
        read_only: true
        tools: {allow: ["get_*", put], deny: [get_all], read: [get_*], write: ["*"]}
        approve: writes
        approve_tools: [get_secret]
        pin: ~/tools.json
        timeouts: {connect: 1s, write: 2s, read: 3s, request: 4s, tool: 5s}
        retries: 10
        connections: 3
        sessions: 4
        skip_auth: true
        ca_file: /ca.pem
      - {name: other, url: http://localhost:3000, skip_auth: true, tools: {allow: []}}
  - name: by-stdio
    upstreams: [{url: https://h/mcp, identity: b}]
  - {name: users, listen: unix:/run/freshet/mcp.sock, allow: {groups: [agents]}, upstreams: [{url: https://h/mcp, identity: b, signer: bearer}]}
`

func TestParseOfBridges(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	got, err := Parse("freshet.yaml", []byte(allBridges), kinds())
	if err != nil {
		t.Fatal(err)
	}
	s := func(n int) field.Duration { return field.Duration(time.Duration(n) * time.Second) }
	usual := func(u MCPUpstream) MCPUpstream {
		u.Parameter, u.Approve, u.Retries, u.Sessions = "profile", "never", 1, 1
		u.Timeouts = MCPTimeouts{s(60), s(180), s(120), s(180), s(300)}
		return u
	}
	want := []MCP{
		{Name: "tools-1", Listen: "0.0.0.0:9930", Path: "/agents/mcp", Secret: secret.Ref{File: "/s"}, Allow: Allow{[]uint32{7}, []string{"agents"}},
			TLS: ProxyTLS{"/home/me/cert.pem", "/key.pem", "/clients.pem"}, Expose: true, Approvals: MCPApprovals{s(10), s(3600)}, Pos: Position{6, 5},
			Upstreams: []MCPUpstream{
				{Name: "aws_1", URL: "https://aws-mcp.us-east-1.api.aws/mcp", Identity: "a", Signer: "sigv4", Tenant: "contoso", Scopes: []string{"x"}, Audience: "y",
					DefaultProfile: "dev", Profiles: []MCPProfile{{"prod-2", "b"}, {"also.a", "a"}}, Parameter: "aws_profile",
					Meta: map[string]string{"AWS_REGION": "us-east-1", "com.example/x": ""}, ReadOnly: true,
					Tools:   MCPTools{[]string{"get_*", "put"}, []string{"get_all"}, []string{"get_*"}, []string{"*"}},
					Approve: "writes", ApproveTools: []string{"get_secret"}, Pin: "/home/me/tools.json", Timeouts: MCPTimeouts{s(1), s(2), s(3), s(4), s(5)},
					Retries: 10, Connections: 3, Sessions: 4, SkipAuth: true, CAFile: "/ca.pem", Pos: Position{15, 9}, Settings: &signature{"aws-mcp", "hash"}},
				usual(MCPUpstream{Name: "other", URL: "http://localhost:3000", SkipAuth: true, Tools: MCPTools{Allow: []string{}}, Pos: Position{38, 9}}),
			}},
		{Name: "by-stdio", Path: "/mcp", Approvals: MCPApprovals{s(45), s(900)}, Pos: Position{39, 5}, Upstreams: []MCPUpstream{
			usual(MCPUpstream{Name: "by_stdio", URL: "https://h/mcp", Identity: "b", DefaultProfile: "b", Pos: Position{40, 17}})}},
		{Name: "users", Listen: "unix:/run/freshet/mcp.sock", Path: "/mcp", Allow: Allow{Groups: []string{"agents"}}, Approvals: MCPApprovals{s(45), s(900)},
			Pos: Position{41, 5}, Upstreams: []MCPUpstream{usual(MCPUpstream{Name: "users", URL: "https://h/mcp", Identity: "b", Signer: "bearer",
				DefaultProfile: "b", Pos: Position{41, 94}, Settings: &empty{}})}},
	}
	for i := range got.MCP {
		got.MCP[i].at = nil
		for j := range got.MCP[i].Upstreams {
			got.MCP[i].Upstreams[j].at = nil
		}
	}
	if !reflect.DeepEqual(got.MCP, want) {
		g, _ := json.MarshalIndent(got.MCP, "", " ")
		w, _ := json.MarshalIndent(want, "", " ")
		t.Errorf("got %s\nwant %s", g, w)
	}
	if names := got.MCP[0].Upstreams[0].Names(); !slices.Equal(names, []string{"a", "b", "a"}) {
		t.Errorf("got names %q", names)
	}
	if names := got.MCP[0].Upstreams[1].Names(); names != nil {
		t.Errorf("got names %q of an upstream without", names)
	}
	if got, want := got.MCPFiles(), []string{"/home/me/cert.pem", "/key.pem", "/clients.pem", "/ca.pem", "/home/me/tools.json"}; !slices.Equal(got, want) {
		t.Errorf("got files %q, want %q", got, want)
	}
	if got, want := got.SecretFiles(), []string{"/s"}; !slices.Equal(got, want) {
		t.Errorf("got secrets' files %q, want %q", got, want)
	}
}

func TestExplainOfBridges(t *testing.T) {
	f, err := Parse("freshet.yaml", []byte(allBridges), kinds())
	if err != nil {
		t.Fatal(err)
	}
	got := f.MCP[0].Explain(&field.Error{Field: "tls.key_file", Why: "no key in it"})
	if want := "freshet.yaml:11:34: mcp[0].tls.key_file: no key in it"; got == nil || got.Error() != want {
		t.Errorf("got %v, want %s", got, want)
	}
	for name, want := range map[string]string{
		"pin": "freshet.yaml:31:9: mcp[0].upstreams[0].pin: no", "service": "freshet.yaml:19:9: mcp[0].upstreams[0].service: no",
		"profiles.prod-2": "freshet.yaml:24:20: mcp[0].upstreams[0].profiles.prod-2: no", "": "freshet.yaml:15:9: mcp[0].upstreams[0]: no",
	} {
		if got := f.MCP[0].Upstreams[0].Explain(&field.Error{Field: name, Why: "no"}); got == nil || got.Error() != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	if err := (&MCPUpstream{}).Explain(nil); err != nil {
		t.Errorf("got %v for no error", err)
	}
}

func TestSecretsOfBridgesAreChecked(t *testing.T) {
	f, err := Parse("f", []byte(bridge("")), kinds())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("S", "")
	if got, want := f.CheckSecrets(), "f:3:47: mcp[0].secret.env: S is not set or empty"; got == nil || got.Error() != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestBridgesThatAreRight(t *testing.T) {
	const tls = ", tls: {cert_file: /c, key_file: /k}"
	for name, text := range map[string]string{
		"over TCP":                          bridge(""),
		"a URL with a query":                strings.Replace(bridge(""), "https://h/mcp", "'https://h/mcp?project=x&read_only=true'", 1),
		"by stdio alone":                    quiet(""),
		"for groups, by stdio":              quiet(", allow: {groups: [g]}"),
		"for groups, over TCP and by stdio": quiet(", allow: {groups: [g]}, listen: localhost:1, secret: {env: S}"),
		"over a Unix socket":                quiet(", listen: unix:/run/m"),
		"a socket with a secret":            quiet(", listen: unix:/run/m, secret: {env: S}"),
		"certificates in place of it":       quiet(", listen: localhost:1, tls: {cert_file: /c, key_file: /k, client_ca_file: /ca}"),
		"open to others, with TLS":          quiet(", listen: 0.0.0.0:1, secret: {env: S}, expose: true" + tls),
		"paths of one address":              bridges("name: a, listen: localhost:1, secret: {env: S}", "name: b, listen: 127.0.0.1:1, secret: {env: S}, path: /mcp/b"),
		"TLS that is the same":              bridges("name: a, listen: localhost:1, secret: {env: S}"+tls, "name: b, listen: 127.0.0.1:1, secret: {env: S}, path: /"+tls),
		"all numbers at their bounds":       bridge(", retries: 0, connections: 0, sessions: 100, timeouts: {connect: 1ns, write: 1ns, read: 1ns, request: 1ns, tool: 1ns}"),
		"a wait as long as the expiry":      quiet(", approvals: {wait: 1s, expire: 1s}"),
		"upstreams":                         several(", name: ab", ", name: a", ", name: b_a"),
		"an identity never handed out":      strings.Replace(bridge(""), "source: azure-cli", "source: azure-cli, release: false", 1),
		"a profile of the same identity":    bridge(", profiles: {b: a}"),
		"a profile by the identity's name":  bridge(", profiles: {a: a}, default_profile: b"),
		"no credential at all":              strings.Replace(bridge(", skip_auth: true"), ", identity: a", "", 1),
		"no tools at all":                   bridge(", tools: {allow: []}"),
		"a reading exception":               bridge(", tools: {write: ['*'], read: [get_*]}"),
		"keys of its own in _meta":          bridge(", meta: {traceparent: x, com.example.mcp/a: b, AWS_REGION: ''}"),
		"none":                              minimal + "mcp: []\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse("f", []byte(text), kinds()); err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}

func TestErrorsOfBridges(t *testing.T) {
	in := func(text, old, new string) string {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in %s", old, text)
		}
		return strings.Replace(text, old, new, 1)
	}
	const (
		toolForm = "write a tool's name, or the beginning of several as get_*"
		ownKey   = "remove it: the bridge sets what the protocol needs"
		metaForm = "keys are letters and digits, as AWS_REGION, after a prefix as com.example/ if there is one"
		words    = "these have another meaning: pin, help, ad-hoc"
	)
	for _, test := range []struct{ name, text, want, hint string }{
		{"a mapping", minimal + "mcp: {a: b}\n", "f:3:6: mcp: want a list, found a mapping", "write each as - {name: …, upstreams: […]}"},
		{"an empty one", minimal + "mcp:\n  -\n", "f:4:5: mcp[0]: want a mapping, found nothing", ""},
		{"unknown key", quiet(", patth: /x"), "f:3:17: mcp[0].patth: unknown key (did you mean path?)", ""},
		{"no name", in(quiet(""), "name: b, ", ""), "f:3:7: mcp[0]: the key name is missing", ""},
		{"a name in capitals", in(quiet(""), "name: b", "name: Hunter"), "f:3:8: mcp[0].name: not a name for a bridge", bridgeForm},
		{"a name with a sign first", in(quiet(""), "name: b", "name: -b"), "f:3:8: mcp[0].name: not a name for a bridge", bridgeForm},
		{"a long name", in(quiet(""), "name: b", "name: "+strings.Repeat("b", 65)), "f:3:8: mcp[0].name: not a name for a bridge", bridgeForm},
		{"a subcommand's name", in(quiet(""), "name: b", "name: pin"), "f:3:8: mcp[0].name: not a name for a bridge", words},
		{"a name that is taken", in(quiet(""), "name: b", "name: ad-hoc"), "f:3:8: mcp[0].name: not a name for a bridge", words},
		{"one name", bridges("name: hunter", "name: hunter"), "f:5:48: mcp[1].name: the entry of line 4 has the same name", ""},

		{"listen", quiet(", listen: hunter2"), "f:3:17: mcp[0].listen: not an address and port", "write it as 127.0.0.1:9911"},
		{"an empty listen", quiet(", listen: ''"), "f:3:17: mcp[0].listen: is empty", "remove the key if the bridge is for freshet mcp NAME alone"},
		{"open to others", quiet(", listen: 0.0.0.0:1, secret: {env: S}"), "f:3:17: mcp[0].listen: other machines can reach this address",
			"listen on 127.0.0.1, or add expose: true and tls: if they may"},
		{"open to others in the clear", quiet(", listen: 0.0.0.0:1, secret: {env: S}, expose: true"), "f:3:54: mcp[0].expose: there is no tls",
			"add tls: {cert_file: PATH, key_file: PATH}"},
		{"nothing to show", quiet(", listen: 127.0.0.1:1"), "f:3:7: mcp[0]: its callers have nothing to show", "add secret:, or tls: with client_ca_file, or listen on unix:/path"},
		{"users show nothing over TCP", quiet(", listen: 127.0.0.1:1, allow: {uids: [1]}"), "f:3:7: mcp[0]: its callers have nothing to show",
			"add secret:, or tls: with client_ca_file, or listen on unix:/path"},
		{"inline secret", quiet(", listen: 127.0.0.1:1, secret: hunter2"), "f:3:46: mcp[0].secret: secrets are never written in the configuration",
			"write {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"},
		{"TLS on a socket", quiet(", listen: unix:/m, tls: {cert_file: /c, key_file: /k}"), "f:3:34: mcp[0].tls: a Unix socket has none", "remove it: callers are known by their user"},
		{"a socket, exposed", quiet(", listen: unix:/m, expose: true"), "f:3:34: mcp[0].expose: a Unix socket is this machine's alone", "remove it"},
		{"key alone", quiet(", listen: 127.0.0.1:1, secret: {env: S}, tls: {key_file: /k}"), "f:3:62: mcp[0].tls.key_file: given without cert_file", ""},
		{"a path without listen", quiet(", path: /x"), "f:3:17: mcp[0].path: given without listen", "add listen:, or remove it"},
		{"a secret without listen", quiet(", secret: {env: S}"), "f:3:17: mcp[0].secret: given without listen", "add listen:, or remove it"},
		{"TLS without listen", quiet(", tls: {cert_file: /c, key_file: /k}"), "f:3:17: mcp[0].tls: given without listen", "add listen:, or remove it"},
		{"exposed without listen", quiet(", expose: true"), "f:3:17: mcp[0].expose: given without listen", "add listen:, or remove it"},
		{"path", quiet(", listen: unix:/m, path: /hunter2/"), "f:3:34: mcp[0].path: not a clean path", "write it as /openai, without a slash at its end"},
		{"one address and path", bridges("name: a, listen: unix:/m", "name: b, listen: unix:/m, path: /mcp"), "f:5:74: mcp[1].path: the entry of line 4 has the same path there",
			"give one of them another path, or another address"},
		{"other TLS at one address", bridges("name: a, listen: 127.0.0.1:1, secret: {env: S}", "name: b, listen: localhost:1, path: /x, secret: {env: S}, tls: {cert_file: /c, key_file: /k}"),
			"f:5:106: mcp[1].tls: the entry of line 4 has other TLS settings at this address", "make them the same"},
		{"an endpoint's address", bridge("") + "endpoints: [{endpoint: oauth-token, listen: localhost:1, identity: a, secret: {env: S}}]\n",
			"f:3:17: mcp[0].listen: an endpoint listens there", "give the bridge another address"},
		{"the metrics' address", bridge("") + "metrics: {listen: 127.0.0.1:1}\n", "f:3:17: mcp[0].listen: metrics listens there", "give the bridge another address"},
		{"a proxy's address", bridge("") + "proxies: [{signer: bearer, listen: localhost:1, path: /x, upstream: https://h, identity: a, secret: {env: S}}]\n",
			"f:3:17: mcp[0].listen: a proxy listens there", "give the bridge another address"},
		{"the API's socket", quiet(", listen: unix:/run/m") + "socket: {path: /run/m}\n", "f:3:17: mcp[0].listen: the local API listens there", "give the bridge another address"},
		{"no time to wait", quiet(", approvals: {wait: 0s}"), "f:3:29: mcp[0].approvals.wait: want more than 0s", ""},
		{"no time to decide", quiet(", approvals: {expire: 0s}"), "f:3:29: mcp[0].approvals.expire: want more than 0s", ""},
		{"a wait beyond the expiry", quiet(", approvals: {wait: 2s, expire: 1s}"), "f:3:29: mcp[0].approvals.wait: longer than expire", "a call is approved before it expires, or not at all"},

		{"no upstreams", minimal + "mcp: [{name: b}]\n", "f:3:7: mcp[0]: the key upstreams is missing", ""},
		{"upstreams of none", minimal + "mcp: [{name: b, upstreams: []}]\n", "f:3:28: mcp[0].upstreams: is empty", ""},
		{"one upstream, no list", minimal + "mcp: [{name: b, upstreams: {url: hunter2}}]\n", "f:3:28: mcp[0].upstreams: want a list, found a mapping", "write each as - {url: …, identity: …}"},
		{"an upstream as text", minimal + "mcp: [{name: b, upstreams: [hunter2]}]\n", "f:3:29: mcp[0].upstreams[0]: want a mapping, found text", ""},
		{"an upstream's unknown key", bridge(", tool: {}"), "f:3:102: mcp[0].upstreams[0].tool: unknown key (did you mean tools?)", ""},
		{"a signer's key without signer", bridge(", service: s3"), "f:3:102: mcp[0].upstreams[0].service: unknown key where there is no signer", "add signer: sigv4"},
		{"another signer's key", bridge(", signer: bearer, service: s3"), "f:3:118: mcp[0].upstreams[0].service: unknown key", ""},
		{"a signer's missing key", bridge(", signer: sigv4"), "f:3:68: mcp[0].upstreams[0]: the key service is missing", ""},
		{"unknown signer", bridge(", signer: sigv5"), "f:3:110: mcp[0].upstreams[0].signer: unknown signer (did you mean sigv4?)", "known are bearer, sigv4"},
		{"signer as a list", bridge(", signer: [hunter2]"), "f:3:110: mcp[0].upstreams[0].signer: want text, found a list", ""},
		{"no URL", in(bridge(""), "url: https://h/mcp, ", ""), "f:3:68: mcp[0].upstreams[0]: the key url is missing", ""},
		{"in the clear", in(bridge(""), "https://h/mcp", "http://hunter2"), "f:3:69: mcp[0].upstreams[0].url: http to another host", "use https: only this machine's own addresses may be http"},
		{"a query with a fragment", in(bridge(""), "https://h/mcp", "https://h/?a=b#hunter"), "f:3:69: mcp[0].upstreams[0].url: a URL with a fragment", "remove the # and what follows it"},
		{"dots in its path", in(bridge(""), "https://h/mcp", "https://h/hunter/../x"), "f:3:69: mcp[0].upstreams[0].url: a URL with . or .. in its path", "write out where it leads"},
		{"authorities of http", in(bridge(", ca_file: /c"), "https://h/mcp", "http://localhost"), "f:3:105: mcp[0].upstreams[0].ca_file: an http upstream shows no certificate", "remove it"},
		{"no identity", in(bridge(""), ", identity: a", ""), "f:3:68: mcp[0].upstreams[0]: the key identity is missing", "add it, or skip_auth: true if the server wants no credential"},
		{"profiles of no identity", in(bridge(", skip_auth: true, profiles: {b: a}"), ", identity: a", ""), "f:3:106: mcp[0].upstreams[0].profiles: given without identity",
			"name that of calls without a profile by identity"},
		{"unknown identity", in(bridge(""), "identity: a", "identity: b"), "f:3:89: mcp[0].upstreams[0].identity: unknown identity (did you mean a?)", "identities are a"},
		{"another tenant", in(bridge(", tenant: hunter"), "azure-cli}", "azure-cli, tenant: x}"), "f:3:102: mcp[0].upstreams[0].tenant: its identity has another, and no list of tenants",
			"add tenants: there, or remove it here"},
		{"another tenant, of two profiles", in(bridge(", tenant: hunter, profiles: {b: a}"), "azure-cli}", "azure-cli, tenant: x}"),
			"f:3:102: mcp[0].upstreams[0].tenant: its identity has another, and no list of tenants", "add tenants: there, or remove it here"},
		{"a scope that a profile's identity may not be asked for", in(bridge(", scopes: [hunter], profiles: {p: c}"), "identities: {", "identities: {c: {source: azure-cli, scopes: [x]}, "),
			"f:3:111: mcp[0].upstreams[0].scopes[0]: not among the scopes that its identity may be asked for", "add it there"},

		{"an upstream's name", several(", name: a-b"), "f:6:35: mcp[0].upstreams[0].name: not a name for an upstream", upstreamForm},
		{"an upstream's name with a sign first", several(", name: _hunter"), "f:6:35: mcp[0].upstreams[0].name: not a name for an upstream", upstreamForm},
		{"an upstream's long name", several(", name: " + strings.Repeat("b", 33)), "f:6:35: mcp[0].upstreams[0].name: not a name for an upstream", upstreamForm},
		{"one of two without a name", several(", name: x", ""), "f:7:5: mcp[0].upstreams[1]: the key name is missing", "of several upstreams each has one"},
		{"one name of two", several(", name: x", ", name: x"), "f:7:35: mcp[0].upstreams[1].name: the entry of line 6 has the same name", ""},
		{"a name that begins as another's tools", several(", name: x_y", ", name: x"), "f:6:35: mcp[0].upstreams[0].name: begins as the tools of the entry of line 7 do",
			"give it a name that does not begin with that one's and an underscore"},

		{"profiles as a list", bridge(", profiles: [a]"), "f:3:112: mcp[0].upstreams[0].profiles: want a mapping from names, found a list", "write each as NAME: IDENTITY"},
		{"a profile's name", bridge(", profiles: {hunter/2: a}"), "f:3:113: mcp[0].upstreams[0].profiles: not a name for a profile", nameForm},
		{"a profile twice", bridge(", profiles: {p: a, p: a}"), "f:3:119: mcp[0].upstreams[0].profiles: duplicate key", "keep one of them"},
		{"a profile of nobody", bridge(", profiles: {p2: b}"), "f:3:113: mcp[0].upstreams[0].profiles.p2: unknown identity (did you mean a?)", "identities are a"},
		{"a profile without one", bridge(", profiles: {p: ''}"), "f:3:116: mcp[0].upstreams[0].profiles.p: is empty", ""},
		{"a profile of nothing", bridge(", profiles: {p:}"), "f:3:113: mcp[0].upstreams[0].profiles.p: has no value", "give it one, or remove the key"},
		{"a profile by the default's name", bridge(", profiles: {p: a}, default_profile: p"), "f:3:113: mcp[0].upstreams[0].profiles.p: is the name of the default profile",
			"give that another name by default_profile"},
		{"a profile by the identity's name", bridge(", profiles: {a: a}"), "f:3:113: mcp[0].upstreams[0].profiles.a: is the name of the default profile",
			"give that another name by default_profile"},
		{"a default of no profiles", bridge(", default_profile: p"), "f:3:102: mcp[0].upstreams[0].default_profile: there are no profiles", "add profiles: {NAME: IDENTITY}, or remove it"},
		{"the default's name", bridge(", profiles: {p: a}, default_profile: 'hunter 2'"), "f:3:120: mcp[0].upstreams[0].default_profile: not a name for a profile", nameForm},
		{"a parameter of no profiles", bridge(", parameter: p"), "f:3:102: mcp[0].upstreams[0].parameter: there are no profiles", "add profiles: {NAME: IDENTITY}, or remove it"},
		{"parameter", bridge(", profiles: {p: a}, parameter: hunter-2"), "f:3:120: mcp[0].upstreams[0].parameter: not a name for an argument", parameterForm},
		{"an empty parameter", bridge(", profiles: {p: a}, parameter: ''"), "f:3:120: mcp[0].upstreams[0].parameter: not a name for an argument", parameterForm},

		{"a list in _meta", bridge(", meta: {a: [hunter2]}"), "f:3:112: mcp[0].upstreams[0].meta.a: want text, found a list", ""},
		{"a key of _meta", bridge(", meta: {'hunter 2': x}"), "f:3:102: mcp[0].upstreams[0].meta: has a key that is none of _meta", metaForm},
		{"the protocol's key", bridge(", meta: {io.modelcontextprotocol/hunter: x}"), "f:3:102: mcp[0].upstreams[0].meta: has a key that is the protocol's own", ownKey},
		{"the protocol's older key", bridge(", meta: {mcp.dev/hunter: x}"), "f:3:102: mcp[0].upstreams[0].meta: has a key that is the protocol's own", ownKey},
		{"progress", bridge(", meta: {progressToken: hunter}"), "f:3:102: mcp[0].upstreams[0].meta: has a key that is the protocol's own", ownKey},

		{"a star inside", bridge(", tools: {allow: [a, hunter*2]}"), "f:3:121: mcp[0].upstreams[0].tools.allow[1]: a * that is not at the end", toolForm},
		{"no tool's name", bridge(", tools: {deny: ['hunter 2']}"), "f:3:117: mcp[0].upstreams[0].tools.deny[0]: not the name of a tool", "names have no spaces, and 128 characters at most"},
		{"an empty one", bridge(", tools: {read: ['']}"), "f:3:117: mcp[0].upstreams[0].tools.read[0]: is empty", ""},
		{"one twice", bridge(", tools: {write: [a, a]}"), "f:3:121: mcp[0].upstreams[0].tools.write[1]: listed twice", ""},
		{"two words on one", bridge(", tools: {read: [a, b], write: [c, b]}"), "f:3:135: mcp[0].upstreams[0].tools.write[1]: is in read too", "keep one of them"},
		{"approval", bridge(", approve: write"), "f:3:111: mcp[0].upstreams[0].approve: want never, writes or all (did you mean writes?)", ""},
		{"approval of no name", bridge(", approve_tools: ['**']"), "f:3:118: mcp[0].upstreams[0].approve_tools[0]: a * that is not at the end", toolForm},
		{"a relative pin", bridge(", pin: hunter2"), "f:3:107: mcp[0].upstreams[0].pin: not an absolute path", "start it with / or ~/"},
		{"an empty pin", bridge(", pin: ''"), "f:3:102: mcp[0].upstreams[0].pin: is empty", "name the file that freshet mcp pin wrote, or remove the key"},
		{"a pin without a value", bridge(", pin: "), "f:3:102: mcp[0].upstreams[0].pin: has no value", "give it one, or remove the key"},
		{"no time to connect", bridge(", timeouts: {connect: 0s}"), "f:3:113: mcp[0].upstreams[0].timeouts.connect: want more than 0s", ""},
		{"no time to write", bridge(", timeouts: {write: 0s}"), "f:3:113: mcp[0].upstreams[0].timeouts.write: want more than 0s", ""},
		{"no time to read", bridge(", timeouts: {read: 0s}"), "f:3:113: mcp[0].upstreams[0].timeouts.read: want more than 0s", ""},
		{"no time for a request", bridge(", timeouts: {request: 0s}"), "f:3:113: mcp[0].upstreams[0].timeouts.request: want more than 0s", ""},
		{"no time for a tool", bridge(", timeouts: {tool: 0s}"), "f:3:113: mcp[0].upstreams[0].timeouts.tool: want more than 0s", ""},
		{"a number of seconds", bridge(", timeouts: {tool: 5}"), "f:3:119: mcp[0].upstreams[0].timeouts.tool: want a duration such as 60s or 1h", ""},
		{"too many retries", bridge(", retries: 11"), "f:3:102: mcp[0].upstreams[0].retries: want 0 to 10", ""},
		{"fewer retries than none", bridge(", retries: -1"), "f:3:102: mcp[0].upstreams[0].retries: want 0 to 10", ""},
		{"fewer connections than none", bridge(", connections: -1"), "f:3:102: mcp[0].upstreams[0].connections: want 0 or more", "0 is no limit"},
		{"no sessions", bridge(", sessions: 0"), "f:3:102: mcp[0].upstreams[0].sessions: want 1 to 100", ""},
		{"too many sessions", bridge(", sessions: 101"), "f:3:102: mcp[0].upstreams[0].sessions: want 1 to 100", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, test.text, test.want, test.hint)
		})
	}
}

// Everything wrong with one entry is said at once.
func TestErrorsOfABridgeAreAllReported(t *testing.T) {
	text := minimal + "mcp:\n- {name: b, listen: 0.0.0.0:1, path: x, approvals: {wait: 0s}, upstreams: [{url: 'ftp://h', identity: z, retries: 99, sessions: 0}, {identity: a}]}\n"
	want := `f:4:53: mcp[0].approvals.wait: want more than 0s
f:4:76: mcp[0].upstreams[0]: the key name is missing
f:4:77: mcp[0].upstreams[0].url: not an https URL
f:4:93: mcp[0].upstreams[0].identity: unknown identity (did you mean a?)
f:4:106: mcp[0].upstreams[0].retries: want 0 to 10
f:4:119: mcp[0].upstreams[0].sessions: want 1 to 100
f:4:133: mcp[0].upstreams[1]: the key url is missing
f:4:133: mcp[0].upstreams[1]: the key name is missing`
	_, err := Parse("f", []byte(text), kinds())
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
