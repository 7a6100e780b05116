package azd

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
)

func TestOutputIsUTCInWholeSecondsWithZ(t *testing.T) {
	zone := time.FixedZone("elsewhere", 5*3600+1800)
	before := time.Local
	time.Local = zone
	defer func() { time.Local = before }()
	for name, test := range map[string]struct {
		life freshet.Validity
		want string
	}{
		"lifetime": {freshet.Validity{Lifetime: time.Hour}, "2000-01-01T01:00:00Z"},
		"absolute": {freshet.Validity{Expires: time.Date(2000, 1, 1, 8, 0, 0, 5, zone)}, "2000-01-01T02:30:00Z"},
		"static":   {freshet.Validity{Static: true}, "2000-01-01T01:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time begins at 2000-01-01T00:00:00Z
				<-time.After(300 * time.Millisecond)
				c, err := freshet.NewBearer("a.b-c_d", "", test.life)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Render(freshet.Answer{Credential: c, Stale: true})
				if err != nil {
					t.Fatal(err)
				}
				if want := `{"token":"a.b-c_d","expiresOn":"` + test.want + `"}` + "\n"; string(got) != want {
					t.Errorf("got %s want %s", got, want)
				}
				var doc struct{ ExpiresOn string }
				if err := json.Unmarshal(got, &doc); err != nil {
					t.Fatal(err)
				}
				at, err := time.Parse("2006-01-02T15:04:05Z", doc.ExpiresOn) // azidentity's own layout
				if err != nil || !c.Static() && at.Unix() != c.Expires().Unix() {
					t.Errorf("azidentity reads %v (%v), want %v", at, err, c.Expires())
				}
			})
		})
	}
}

func TestOtherTypesAreRefused(t *testing.T) {
	v := freshet.Validity{Lifetime: time.Hour}
	keys, err1 := freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "a", SecretAccessKey: "planted-secret"}, v)
	basic, err2 := freshet.NewBasic("user", "planted-secret", v)
	id, err3 := freshet.NewIDToken("planted-token", v)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	for _, c := range []*freshet.Credential{keys, basic, id} {
		got, err := Render(freshet.Answer{Credential: c})
		if e := freshet.AsError(err); len(got) != 0 || e == nil || e.Kind != freshet.Invalid || e.Hint == "" || strings.Contains(e.Error(), "planted") {
			t.Errorf("%s: got %q, %v", c.Type(), got, err)
		}
	}
}
