package process

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/corpus"
)

// FuzzParse reads what the formats print, and what is like it: a credential that lives, or an error that shows none of it.
func FuzzParse(f *testing.F) {
	for _, golden := range corpus.Of(f, "../../format/az/testdata/*.json", "../../format/awsprocess/testdata/*.json", "../../format/json/testdata/*.json",
		"../../endpoint/azureappservice/testdata/*.json") {
		f.Add([]byte(golden), int64(time.Hour))
	}
	for _, out := range []string{
		`{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":"T","Expiration":"2099-01-01T00:00:00Z"}`,
		`{"token":"x","expiresOn":"2026-01-01T00:00:00Z"}`, `{"access_token":"x","expires_in":"5"}`, "eyJ.e30.x", "{", "",
		`{"accessToken":"x","expires_on":"nan"}`,
	} {
		f.Add([]byte(out), int64(time.Minute))
	}
	f.Add([]byte(`{"token":"planted-secret","expiresOn":"planted-secret"}`), int64(0))
	f.Add([]byte(`{"Version":"planted-secret"}`), int64(0))
	f.Add([]byte(`{"Version":1,"AccessKeyId":"planted-secret"}`), int64(0))
	f.Fuzz(func(t *testing.T, out []byte, lifetime int64) {
		c, err := parse(out, freshet.Now(), time.Duration(max(0, lifetime)))
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v, %v", c, err)
		}
		if err != nil {
			e, ok := err.(*freshet.Error)
			if !ok || e.Kind != freshet.Malformed || len(e.Error()) > 100 || strings.Contains(e.Error()+e.Hint, "planted-secret") {
				t.Errorf("%q: %v", out, err)
			}
			return
		}
		if c.Remaining() <= 0 || c.Static() && (c.Type() != freshet.AWS || c.AWS().SessionToken != "") {
			t.Errorf("%q: %v", out, c)
		}
	})
}

// FuzzFailure holds that whatever a program says in whichever way it ends, the error is of a kind that callers can act on, and one
// short printable line without what it was given in its environment.
func FuzzFailure(f *testing.F) {
	for _, said := range []string{
		"run aws sso login\nplease", "token=SECRET", "no such host SECRET\x00\xff\x1b]0;SECRET\x07", "", "KNOWN", "KNOWNKNOWN\u202e", "az\n login",
	} {
		f.Add(said, said, 1, 0)
	}
	const secret, known = "wJalrXUtnFEMI7K7MDENG+bPxRfiCY01", "correct horse"
	s := &Source{cfg: Config{Command: []string{"/opt/helper", "secret-argument"}, Env: map[string]string{"PASS": known}}}
	plant := strings.NewReplacer("SECRET", secret, "KNOWN", known)
	f.Fuzz(func(t *testing.T, stdout, stderr string, code, signal int) {
		c := &child.Error{Program: "/opt/helper", Reason: child.Exited, Code: code}
		if signal > 0 {
			c.Reason, c.Signal = child.Signaled, syscall.Signal(signal)
		}
		e := s.failure(child.Output{Stdout: []byte(plant.Replace(stdout)), Stderr: plant.Replace(stderr)}, c)
		if !slices.Contains([]freshet.Kind{freshet.Invalid, freshet.LoginNeeded, freshet.Unavailable}, e.Kind) {
			t.Errorf("%q: kind %q", stderr, e.Kind)
		}
		text := e.Error() + e.Hint
		for _, s := range []string{secret, known, "secret-argument"} {
			if strings.Contains(text, s) {
				t.Errorf("%q: the error is %q", stderr, text)
			}
		}
		if len(e.Error()) > 1000 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q: the error is %q", stderr, text)
		}
		if e.Kind == freshet.LoginNeeded && child.LoginIn(e.Hint) == "" {
			t.Errorf("%q: the hint is %q", stderr, e.Hint)
		}
	})
}
