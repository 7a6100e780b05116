package header

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
)

func TestHeaderOfEachType(t *testing.T) {
	v := freshet.Validity{Lifetime: time.Hour}
	bearer, err1 := freshet.NewBearer("a.b-c_d", "bearer", v)
	pop, err2 := freshet.NewBearer("a.b-c_d", "DPoP", v)
	id, err3 := freshet.NewIDToken("a.b-c_d", v)
	basic, err4 := freshet.NewBasic("Aladdin", "open sesame:ü\n", v)
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for c, want := range map[*freshet.Credential]string{
		bearer: "Bearer a.b-c_d", pop: "DPoP a.b-c_d", id: "Bearer a.b-c_d",
		basic: "Basic QWxhZGRpbjpvcGVuIHNlc2FtZTrDvAo=",
	} {
		got, err := Render(freshet.Answer{Credential: c, Stale: true})
		if err != nil || string(got) != "Authorization: "+want+"\n" {
			t.Errorf("%s: got %q, %v, want %q", c.Type(), got, err, want)
		}
	}
	got, _ := Render(freshet.Answer{Credential: basic})
	_, value, _ := strings.Cut(strings.TrimSpace(string(got)), ": ")
	r := &http.Request{Header: http.Header{"Authorization": {value}}}
	if user, password, ok := r.BasicAuth(); !ok || user != "Aladdin" || password != "open sesame:ü\n" {
		t.Errorf("a server reads %q and %q", user, password)
	}
}

func TestWhatIsNoHeaderIsRefused(t *testing.T) {
	v := freshet.Validity{Lifetime: time.Hour}
	keys, err1 := freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "a", SecretAccessKey: "planted-secret"}, v)
	colon, err2 := freshet.NewBasic("a:b", "planted-secret", v)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	for _, c := range []*freshet.Credential{keys, colon} {
		got, err := Render(freshet.Answer{Credential: c})
		if e := freshet.AsError(err); len(got) != 0 || e == nil || e.Kind != freshet.Invalid || strings.Contains(e.Error(), "planted") {
			t.Errorf("%s: got %q, %v", c.Type(), got, err)
		}
	}
	_, err := Render(freshet.Answer{Credential: keys})
	if freshet.AsError(err).Hint == "" {
		t.Error("AWS keys are refused without a hint")
	}
}
