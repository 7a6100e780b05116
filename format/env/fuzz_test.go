package env

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/corpus"
)

// assignment is an output's statement, whose value has no quote but those that shell.Quote writes.
var assignment = regexp.MustCompile(`\A(?:unset ([A-Z_]+)\n|export ([A-Z_]+)='((?:[^']|'\\'')*)'\n)`)

// FuzzRender reads an output back as a POSIX shell does: each variable has its part of the credential, and nothing else is done.
func FuzzRender(f *testing.F) {
	for _, golden := range corpus.Of(f, "testdata/*.sh") {
		f.Add(golden, "x", "")
	}
	f.Add("id", "secret'; rm -rf /; '", "to\nken")
	f.Add("$(id)", "`id`", `\`)
	f.Add("id", "\x00", "")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		v := freshet.Validity{Lifetime: time.Hour}
		keys, keysErr := freshet.NewAWS(freshet.AWSKeys{AccessKeyID: a, SecretAccessKey: freshet.Secret(b), SessionToken: freshet.Secret(c)}, v)
		basic, basicErr := freshet.NewBasic(a, b, v)
		token, tokenErr := freshet.NewBearer(a, "", v)
		for _, trial := range []struct {
			credential *freshet.Credential
			err        error
			want       map[string]string
		}{
			{keys, keysErr, map[string]string{"AWS_ACCESS_KEY_ID": a, "AWS_SECRET_ACCESS_KEY": b, "AWS_SESSION_TOKEN": c}},
			{basic, basicErr, map[string]string{"FRESHET_USERNAME": a, "FRESHET_PASSWORD": b}},
			{token, tokenErr, map[string]string{"FRESHET_TOKEN": a}},
		} {
			if trial.err != nil {
				continue
			}
			out, err := Render(freshet.Answer{Credential: trial.credential})
			if err != nil {
				nul := false
				for _, value := range trial.want {
					nul = nul || strings.ContainsRune(value, 0)
				}
				if !nul || len(out) != 0 {
					t.Errorf("%q: %v", trial.want, err)
				}
				continue
			}
			if strings.ContainsRune(string(out), 0) {
				t.Errorf("%q: got a NUL, which ends a shell's word", trial.want)
			}
			seen := 0
			for rest := string(out); rest != ""; {
				m := assignment.FindStringSubmatch(rest)
				if m == nil {
					t.Fatalf("%q: a shell reads %q", trial.want, rest)
				}
				rest = rest[len(m[0]):]
				name, value := m[1]+m[2], strings.ReplaceAll(m[3], `'\''`, "'")
				if want, ok := trial.want[name]; ok && want != value || ok && (value == "") != (m[1] != "") {
					t.Errorf("%s is %q, want %q", name, value, want)
				} else if ok {
					seen++
				} else if !strings.HasSuffix(name, "_EXPIRATION") {
					t.Errorf("%s is set too", name)
				}
			}
			if seen != len(trial.want) {
				t.Errorf("%q: got %q", trial.want, out)
			}
		}
	})
}
