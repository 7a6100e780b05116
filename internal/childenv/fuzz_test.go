package childenv

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// FuzzAWSConfig reads the private configuration as the two most lenient readers of AWS's files do, and holds that no profile in it
// leads to credentials but by its helper, whatever the user's file is. The JavaScript SDK (@smithy/shared-ini-file-loader) trims a
// line before it looks for a section; botocore's (Python's configparser) takes a carriage return for the end of a line, and an
// indented line for more of the setting above it, or where there is none for a setting.
func FuzzAWSConfig(f *testing.F) {
	f.Add("[default]\nregion = x\ncredential_process = mine\n", "default", "")
	f.Add("[profile a]\ns3 =\n  x = y\nrole_arn = mine\n[services s]\n", "a", "")
	f.Add("[services s]\n[\"\"]\ncredential_process = mine\n", "", "")
	f.Add("[services s]\n  [default]\n  credential_process = mine\n", "", "")
	f.Add("[default]\nregion = x\n  credential_process = mine\n", "", "eu-north-1")
	f.Add("[default]\nregion = x\rcredential_process = mine\n", "", "")
	f.Add("[default]\ns3 =\n [default]\n credential_process = mine\n", "", "")
	f.Add("[default]\ns3 =\n\n# x\n  a = b\n; y\noutput = json\n[profile b]\n", "", "")
	f.Fuzz(func(t *testing.T, users, profile, region string) {
		if strings.ContainsAny(region, "\r\n") {
			return // the configuration refuses it
		}
		out := string(AWSConfig([]byte(users), Place{Profile: profile, Region: region}, []Helper{{Profile: "second", Command: "helper"}}))
		if !strings.HasPrefix(out, "[default]\n") || strings.Count(out, "credential_process = helper\n") < 1 {
			t.Fatalf("got %q", out)
		}
		section, setting := "", ""
		for line := range strings.SplitSeq(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(out), "\n") {
			text := strings.TrimSpace(line)
			switch {
			case text == "" || text[0] == '#' || text[0] == ';':
			case text[0] == '[':
				name, _, closed := strings.Cut(text[1:], "]")
				kind, _, _ := strings.Cut(strings.TrimSpace(name), " ")
				if section, setting = name, ""; !closed || kind != "services" && name != "default" && name != "profile second" {
					t.Errorf("%q has the section %q", out, text)
				}
			case strings.HasPrefix(section, "services"):
			case setting != "" && (line[0] == ' ' || line[0] == '\t'): // more of the setting
			default:
				at := strings.IndexAny(text+"=", "=:")
				setting = strings.ToLower(strings.TrimSpace(text[:min(at, len(text))]))
				if !awsSettings[setting] && text != "credential_process = helper" {
					t.Errorf("%q has the setting %q", out, text)
				}
			}
		}
	})
}

// FuzzMerge holds that a child sees nothing that would win over the session's variables or a route's, each of those once, and the rest
// as it was, but for what says which hosts a network's proxy is not for.
func FuzzMerge(f *testing.F) {
	f.Add("PATH=/bin", "AWS_PROFILE=x", "AWS_BEARER_TOKEN_=y", true, false, "")
	f.Add("IDENTITY_ENDPOINT=x", "=x", "FRESHET_SOCKET", false, true, "openai")
	f.Add("HTTP_PROXY=x", "NO_PROXY=a,b", "NPM_config_//a/:_AUTH=x", false, false, "npm")
	f.Add("AWS_PROFILE=x", "no_proxy", "https_proxy=x", false, false, "s3")
	f.Fuzz(func(t *testing.T, a, b, c string, aws, azure bool, kind string) {
		environ := []string{a, b, c}
		add := map[string]string{"FRESHET_IDENTITY": "id"}
		if aws {
			add["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://127.0.0.1:1"
		}
		if azure {
			add["IDENTITY_ENDPOINT"] = "http://127.0.0.1:1"
		}
		k := KindNamed(kind)
		var routes []Proxy
		if k != nil {
			routes = []Proxy{{Identity: "id", Kind: k, URL: "http://127.0.0.1:2", Secret: "s", Region: "eu-north-1"}}
		}
		out := Merge(environ, add, routes...)
		if k != nil {
			maps.Copy(add, k.variables(routes[0]))
			maps.Copy(add, own(routes))
		}
		seen := make(map[string]int)
		for _, kv := range out {
			name, value, _ := strings.Cut(kv, "=")
			if want, ours := add[name]; ours {
				if seen[name]++; value != want {
					t.Errorf("%s is %q", name, value)
				}
				continue
			}
			if !slices.Contains(environ, kv) && (k == nil || !strings.EqualFold(name, "NO_PROXY") || !strings.Contains(value, "127.0.0.1")) {
				t.Errorf("%q was not there", kv)
			}
			if k != nil && k.drops(name) {
				t.Errorf("%q is left to a client of %s", kv, kind)
			}
			if slices.Contains(ownVariables, name) || aws && (slices.Contains(awsVariables, name) || strings.HasPrefix(name, awsBearer)) || azure && slices.Contains(azureVariables, name) {
				t.Errorf("%q is left", kv)
			}
		}
		for name := range add {
			if seen[name] != 1 {
				t.Errorf("%s is there %d times", name, seen[name])
			}
		}
	})
}
