package raw

import (
	"testing"
	"time"

	"freshet.dev/freshet"
)

func TestRawIsTheTokenAndANewline(t *testing.T) {
	v := freshet.Validity{Lifetime: time.Hour}
	bearer, err1 := freshet.NewBearer("a.b-c_d", "DPoP", v)
	id, err2 := freshet.NewIDToken("a.b-c_d", v)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for _, c := range []*freshet.Credential{bearer, id} {
		if got, err := Render(freshet.Answer{Credential: c, Stale: true}); err != nil || string(got) != "a.b-c_d\n" {
			t.Errorf("%s: got %q, %v", c.Type(), got, err)
		}
	}
}

func TestRawRefusesWhatHasNoToken(t *testing.T) {
	v := freshet.Validity{Lifetime: time.Hour}
	aws, err1 := freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "a", SecretAccessKey: "planted-secret"}, v)
	basic, err2 := freshet.NewBasic("user", "planted-secret", v)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for _, c := range []*freshet.Credential{aws, basic} {
		got, err := Render(freshet.Answer{Credential: c})
		if e := freshet.AsError(err); len(got) != 0 || e == nil || e.Kind != freshet.Invalid || e.Hint == "" {
			t.Errorf("%s: got %q, %v", c.Type(), got, err)
		}
	}
}
