package env

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

var update = flag.Bool("update", false, "write golden files")

var hour = freshet.Validity{Lifetime: time.Hour}

// credentials are one of each form.
var credentials = map[string]func() (*freshet.Credential, error){
	"aws": func() (*freshet.Credential, error) {
		return freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret/key+1", SessionToken: "session==", AccountID: "1"}, hour)
	},
	"aws-static": func() (*freshet.Credential, error) {
		return freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"}, freshet.Validity{Static: true})
	},
	"bearer":   func() (*freshet.Credential, error) { return freshet.NewBearer("tok-en", "", hour) },
	"id_token": func() (*freshet.Credential, error) { return freshet.NewIDToken("to.k.en", hour) },
	"basic":    func() (*freshet.Credential, error) { return freshet.NewBasic("", "it's \"$HOME\" `id`\n\\ *", hour) },
}

func TestOutputIsGolden(t *testing.T) {
	for name, construct := range credentials {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time begins at 2000-01-01T00:00:00Z
				got := render(t, construct)
				path := "testdata/" + name + ".sh"
				if *update {
					if err := os.WriteFile(path, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil || string(got) != string(want) {
					t.Errorf("got %s want %s (%v)", got, want, err)
				}
			})
		})
	}
}

func render(t *testing.T, construct func() (*freshet.Credential, error)) []byte {
	t.Helper()
	c, err := construct()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Render(freshet.Answer{Credential: c})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestShellReadsWhatWasWritten evaluates each output in a shell whose environment has an earlier credential, and looks at what
// a program that it runs is given.
func TestShellReadsWhatWasWritten(t *testing.T) {
	earlier := []string{"AWS_SESSION_TOKEN=earlier", "AWS_CREDENTIAL_EXPIRATION=earlier", "FRESHET_USERNAME=earlier", "HOME=/nowhere"}
	for name, want := range map[string][]string{
		"aws-static": {"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret"},
		"basic":      {"FRESHET_PASSWORD=it's \"$HOME\" `id`\n\\ *"},
		"bearer":     {"FRESHET_TOKEN=tok-en"},
	} {
		for _, shell := range []string{"sh", "bash"} {
			path, err := exec.LookPath(shell)
			if err != nil {
				continue
			}
			cmd := exec.Command(path, "-euc", `eval "$OUT"; unset OUT; exec env -0`)
			cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "OUT=" + string(render(t, credentials[name]))}, earlier...)
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %s: %v", name, shell, err)
			}
			got := strings.Split(string(out), "\x00")
			for _, kv := range want {
				if !slices.Contains(got, kv) {
					t.Errorf("%s: %s: no %q in %q", name, shell, kv, got)
				}
			}
			if kind, _, _ := strings.Cut(want[0], "_"); slices.ContainsFunc(got, func(kv string) bool {
				return strings.HasPrefix(kv, kind) && strings.HasSuffix(kv, "=earlier") && name != "bearer"
			}) {
				t.Errorf("%s: %s: an earlier credential's part is left: %q", name, shell, got)
			}
		}
	}
}

func TestNULIsRefused(t *testing.T) {
	c, err := freshet.NewBasic("user", "planted\x00secret", hour)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Render(freshet.Answer{Credential: c})
	if e := freshet.AsError(err); len(got) != 0 || e == nil || e.Kind != freshet.Invalid || strings.Contains(e.Error(), "planted") {
		t.Errorf("got %q, %v", got, err)
	}
}
