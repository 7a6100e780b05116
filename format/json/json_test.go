package json

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/wire"
)

var update = flag.Bool("update", false, "write golden files")

// TestEveryTypeIsGolden prints each type, and reads it back as the client does.
func TestEveryTypeIsGolden(t *testing.T) {
	for name, construct := range map[string]func(freshet.Validity) (*freshet.Credential, error){
		"bearer": func(v freshet.Validity) (*freshet.Credential, error) {
			return freshet.NewBearer("token-<&>", "DPoP", v)
		},
		"id_token": func(v freshet.Validity) (*freshet.Credential, error) { return freshet.NewIDToken("token", v) },
		"aws": func(v freshet.Validity) (*freshet.Credential, error) {
			return freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "AKIA", SecretAccessKey: "secret", SessionToken: "session", AccountID: "123456789012"}, v)
		},
		"static": func(freshet.Validity) (*freshet.Credential, error) {
			return freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "AKIA", SecretAccessKey: "secret"}, freshet.Validity{Static: true})
		},
		"basic": func(v freshet.Validity) (*freshet.Credential, error) {
			return freshet.NewBasic("user", "pass\nword", v)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time begins at 2000-01-01T00:00:00Z
				c, err := construct(freshet.Validity{Lifetime: time.Hour, RefreshIn: 30 * time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				a := freshet.Answer{Credential: c, Stale: name == "bearer", Short: name == "bearer", Retrieved: name == "aws"}
				got, err := Render(a)
				if err != nil {
					t.Fatal(err)
				}
				var doc wire.Credential
				if err := json.Unmarshal(got, &doc); err != nil {
					t.Fatal(err)
				}
				back, err := doc.Answer(freshet.Now())
				if err != nil || back.Credential.Token() != c.Token() || back.Credential.AWS() != c.AWS() || !back.Credential.Expires().Equal(c.Expires()) ||
					back.Stale != a.Stale || back.Short != a.Short || back.Retrieved != a.Retrieved || !back.RefreshAt().Equal(a.RefreshAt()) ||
					back.Credential.Static() != c.Static() || back.Credential.TokenType() != c.TokenType() {
					t.Errorf("read back: %+v, %v", back, err)
				}
				if name == "basic" { // its fingerprint is keyed anew in every process
					doc.Fingerprint = "keyed"
					got, _ = json.Marshal(doc)
					got = append(got, '\n')
				} else if back.Credential.Fingerprint() != c.Fingerprint() {
					t.Error("read back as another version")
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
