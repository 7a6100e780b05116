package config

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

// planted is the secret where a fuzzed file has SECRET. YAML does not take it apart, and as some of its characters are
// those of secrets alone, it is neither a key nor an identity's name, which may be shown.
const planted = "Zq7+Planted/Secret+7qZ"

var oneLine = regexp.MustCompile(`^f:[1-9][0-9]*:[1-9][0-9]*: [^\n]+: [^\n]+$`)

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add(minimal)
	f.Add(oauth2("client_secret: SECRET"))
	f.Add(oauth2("client_secret: {SECRET}"))
	f.Add(oauth2("client_secret: {env: SECRET, SECRET: SECRET}"))
	f.Add(oauth2("SECRET: x, params: {SECRET: SECRET, SECRET: [SECRET]}"))
	f.Add("version: SECRET\nidentities: {SECRET SECRET: SECRET}\nSECRET: 1\nlog: {level: SECRET}\ncache: {entries: SECRET, bytes: SECRET}\n")
	f.Add("version: 1\nidentities:\n  a: {source: SECRET, from: SECRET, refresh: {at: SECRET}, allow: {uids: [SECRET]}}\nendpoints:\n- {endpoint: SECRET, listen: SECRET, identity: SECRET}\n")
	f.Add("a: &SECRET \"SECRET\n")
	f.Add("a: *SECRET\n? SECRET\n: !SECRET SECRET\n<<: {SECRET: SECRET}\n")
	f.Add("a: SECRET: SECRET\n")
	f.Add("%SECRET\n--- SECRET\n...\n--- |SECRET\n")
	f.Add("a: [{\"\\SECRET\": @SECRET}")
	f.Add("socket: {path: SECRET, mode: SECRET}\naudit: {file: SECRET}\nmetrics: {listen: SECRET}")
	f.Add("version: 1\nidentities: {a: {source: azure-cli}}\nproxies:\n- {signer: SECRET, listen: 'unix:/SECRET', upstream: SECRET, identity: SECRET, name: SECRET}\n" +
		"- {signer: bearer, listen: 127.0.0.1:1, path: /SECRET, upstream: 'https://SECRET/SECRET?SECRET', identity: a, tenant: SECRET, secret: SECRET, methods: [SECRET], paths: [SECRET, '/*SECRET']}\n")
	f.Add(allBridges)
	f.Add("version: 1\nidentities: {a: {source: azure-cli}}\nmcp:\n- {name: SECRET, listen: SECRET, path: SECRET, secret: SECRET, upstreams: [{url: SECRET, identity: SECRET}, {name: SECRET, url: 'https://h/SECRET?SECRET', SECRET: SECRET}]}\n" +
		"- {name: b, upstreams: [{url: 'https://h', identity: a, signer: SECRET, profiles: {SECRET: SECRET, p: SECRET, a: a}, parameter: SECRET, default_profile: SECRET, meta: {SECRET: SECRET, mcp.dev/SECRET: x}, " +
		"tools: {allow: ['*SECRET'], deny: [SECRET SECRET], read: [SECRET], write: [SECRET]}, approve: SECRET, approve_tools: ['SECRET*x'], pin: SECRET, service: SECRET}]}\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 16<<10 {
			return // the parser takes the square of some lengths
		}
		text = strings.ReplaceAll(text, "SECRET", planted)
		parsed, err := Parse("f", []byte(text), kinds())
		if (err == nil) == (parsed == nil) {
			t.Fatalf("got %v and %v", parsed, err)
		}
		if err == nil {
			return
		}
		var all Errors
		if !errors.As(err, &all) || len(all) == 0 {
			t.Fatalf("got %T, want Errors", err)
		}
		for _, e := range all {
			if shown := e.Error() + e.Help; strings.Contains(shown, planted) {
				t.Errorf("%q shows the secret", shown)
			}
			if !oneLine.MatchString(e.Error()) {
				t.Errorf("%q is not one line with a position", e)
			}
			if strings.Contains(e.Help, "\n") {
				t.Errorf("%q is not one line", e.Help)
			}
		}
	})
}
