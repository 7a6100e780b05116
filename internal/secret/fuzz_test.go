package secret

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"freshet.dev/freshet/freshettest"
)

// FuzzRef puts a secret in the places of names, where SECRET stands, and holds that neither errors nor any print show it, unless
// it is a path or a program, and that nothing but one place is accepted.
func FuzzRef(f *testing.F) {
	f.Add("NAME", "", "", false)
	f.Add("SECRET", "", "", false)
	f.Add("", "SECRET", "", true)
	f.Add("", "", "pass show SECRET", false)
	f.Add("A=SECRET", "/x", "", true)
	f.Add("", "./SECRET\n", "", false)
	const planted = "planted/Secret+0123"
	f.Fuzz(func(t *testing.T, env, file, command string, shared bool) {
		plant := func(s string) string { return strings.ReplaceAll(s, "SECRET", planted) }
		if filepath.IsAbs(file) {
			file = "/fuzz/none" // no file of this machine's is read
		}
		r := Ref{Env: plant(env), File: plant(file), Shared: shared}
		if command != "" {
			r.Command = strings.Split(command, " ")
			for i := range r.Command[1:] {
				r.Command[i+1] = plant(r.Command[i+1])
			}
		}
		text, _ := r.MarshalText()
		shown := fmt.Sprintf("%v %+v %#v %s %v", r, r, r, text, r.Files())
		ways := 0
		for _, given := range []bool{r.Env != "", r.File != "", len(r.Command) > 0} {
			if given {
				ways++
			}
		}
		err := r.Valid()
		if err == nil && (ways != 1 || r.File != "" && !filepath.IsAbs(r.File) || r.Shared && r.File == "") {
			t.Errorf("%q is accepted", []any{env, file, command, shared})
		}
		if err != nil {
			shown += err.Error()
		}
		if err := r.Check(); err != nil {
			shown += err.Error()
		}
		freshettest.LeakedSecrets(t, shown, planted)
	})
}

// FuzzTrim holds that a secret loses one line break at its end and nothing else.
func FuzzTrim(f *testing.F) {
	for _, text := range []string{"", "\n", "\r\n", "a\n\n", "a\r", " a \r\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		switch rest := strings.TrimPrefix(text, trim(text)); rest {
		case "", "\n", "\r\n":
			if rest == "" && strings.HasSuffix(text, "\n") {
				t.Errorf("%q keeps its line break", text)
			}
		default:
			t.Errorf("%q loses %q", text, rest)
		}
	})
}
