package awsprocess

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

var update = flag.Bool("update", false, "write golden files")

func TestOutputIsGolden(t *testing.T) {
	session := freshet.AWSKeys{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret/key+1", SessionToken: "session==", AccountID: "123456789012"}
	for name, test := range map[string]struct {
		keys freshet.AWSKeys
		life freshet.Validity
	}{
		"session": {session, freshet.Validity{Lifetime: time.Hour}},
		"short":   {session, freshet.Validity{Lifetime: 10 * time.Minute}},
		// Keys that do not expire are told to end in an hour: without Expiration an SDK would keep them for ever.
		"static": {freshet.AWSKeys{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"}, freshet.Validity{Static: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time begins at 2000-01-01T00:00:00Z
				c, err := freshet.NewAWS(test.keys, test.life)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Render(freshet.Answer{Credential: c})
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
				var doc map[string]any
				if err := json.Unmarshal(got, &doc); err != nil || doc["Version"] != float64(1) || doc["Expiration"] == nil {
					t.Errorf("Version %v, Expiration %v, %v: Version is the number 1, and without Expiration keys are kept for ever",
						doc["Version"], doc["Expiration"], err)
				}
			})
		})
	}
}

func TestOtherTypesAreRefused(t *testing.T) {
	v := freshet.Validity{Lifetime: time.Hour}
	bearer, err1 := freshet.NewBearer("planted-token", "", v)
	basic, err2 := freshet.NewBasic("user", "planted-secret", v)
	id, err3 := freshet.NewIDToken("planted-token", v)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	for _, c := range []*freshet.Credential{bearer, basic, id} {
		got, err := Render(freshet.Answer{Credential: c})
		if e := freshet.AsError(err); len(got) != 0 || e == nil || e.Kind != freshet.Invalid {
			t.Errorf("%s: got %q, %v", c.Type(), got, err)
		}
	}
}
