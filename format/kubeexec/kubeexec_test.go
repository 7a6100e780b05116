package kubeexec

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

var update = flag.Bool("update", false, "write golden files")

func info(version string) string {
	return `{"kind":"ExecCredential","apiVersion":"` + version + `","spec":{"interactive":false,"cluster":{"server":"https://127.0.0.1:6443"}},"status":null}`
}

func TestOutputIsGolden(t *testing.T) {
	bearer := func(v freshet.Validity) (*freshet.Credential, error) { return freshet.NewBearer("token-<&>", "", v) }
	for name, test := range map[string]struct {
		construct func(freshet.Validity) (*freshet.Credential, error)
		life      freshet.Validity
		info      string
	}{
		"default":  {bearer, freshet.Validity{Lifetime: time.Hour}, ""},
		"v1":       {bearer, freshet.Validity{Lifetime: time.Hour}, info("client.authentication.k8s.io/v1")},
		"v1beta1":  {bearer, freshet.Validity{Lifetime: 10 * time.Minute}, info("client.authentication.k8s.io/v1beta1")},
		"id-token": {func(v freshet.Validity) (*freshet.Credential, error) { return freshet.NewIDToken("to.k.en", v) }, freshet.Validity{Lifetime: time.Hour}, ""},
		// Without a timestamp client-go would keep it until a server refuses it.
		"static": {bearer, freshet.Validity{Static: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time begins at 2000-01-01T00:00:00Z
				c, err := test.construct(test.life)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Render(freshet.Answer{Credential: c}, test.info)
				if err != nil {
					t.Fatal(err)
				}
				path := "testdata/" + name + ".json"
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

func TestTimestampIsEarlyAndNeverPast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := freshet.NewBearer("t", "", freshet.Validity{Lifetime: 20 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for c.Remaining() > 2*time.Second {
			got, err := Render(freshet.Answer{Credential: c}, "")
			if err != nil {
				t.Fatal(err)
			}
			var doc struct {
				Status struct{ ExpirationTimestamp time.Time }
			}
			if err := json.Unmarshal(got, &doc); err != nil {
				t.Fatal(err)
			}
			at := doc.Status.ExpirationTimestamp
			if early := c.Expires().Sub(at); !at.After(time.Now()) || c.Remaining() > 3*time.Minute && early < 2*time.Minute {
				t.Fatalf("%v before the end: the timestamp is %v early, and %v ahead", c.Remaining(), early, time.Until(at))
			}
			<-time.After(19 * time.Second)
		}
	})
}

func TestWhatCannotBeAnsweredIsRefused(t *testing.T) {
	v := freshet.Validity{Lifetime: time.Hour}
	bearer, err1 := freshet.NewBearer("planted-token", "", v)
	keys, err2 := freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "a", SecretAccessKey: "planted-secret"}, v)
	basic, err3 := freshet.NewBasic("user", "planted-secret", v)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	for name, test := range map[string]struct {
		c    *freshet.Credential
		info string
	}{
		"AWS keys":        {keys, ""},
		"password":        {basic, ""},
		"v1alpha1":        {bearer, info("client.authentication.k8s.io/v1alpha1")},
		"another group":   {bearer, info("example.com/v1")},
		"without version": {bearer, `{}`},
		"no JSON":         {bearer, "planted"},
	} {
		got, err := Render(freshet.Answer{Credential: test.c}, test.info)
		e := freshet.AsError(err)
		if len(got) != 0 || e == nil || e.Kind != freshet.Invalid || e.Hint == "" || strings.Contains(e.Error()+e.Hint, "planted") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}
