package az

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata"

	"freshet.dev/freshet"
)

var update = flag.Bool("update", false, "write golden files")

// in makes a zone the local one, as TZ does for a process.
func in(t *testing.T, zone string) {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Local
	time.Local = loc
	t.Cleanup(func() { time.Local = before })
}

func TestOutputIsGolden(t *testing.T) {
	for name, test := range map[string]struct {
		zone, tenant string
		life         freshet.Validity
	}{
		"utc":     {"UTC", "", freshet.Validity{Lifetime: time.Hour}},
		"kolkata": {"Asia/Kolkata", "contoso.example", freshet.Validity{Lifetime: time.Hour}},
		"static":  {"UTC", "", freshet.Validity{Static: true}},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, test.zone)
			synctest.Test(t, func(t *testing.T) { // time begins at 2000-01-01T00:00:00Z
				c, err := freshet.NewBearer("token-<&>", "", test.life)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Render(freshet.Answer{Credential: c}, test.tenant)
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

// TestBothExpiriesAreOneInstant goes through a day in which summer time begins, one in which it ends, and others, in a zone that
// has it: expires_on is a JSON number, and expiresOn, read as az's readers do, the same instant. In the hour that comes twice it
// cannot be told from its double an hour apart.
func TestBothExpiriesAreOneInstant(t *testing.T) {
	in(t, "America/New_York")
	var ambiguous, checked int
	for _, day := range []string{"2026-03-08", "2026-07-01", "2026-11-01", "2026-12-24"} {
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			<-time.After(time.Until(at) + 123456789*time.Nanosecond)
			for range 48 {
				<-time.After(30 * time.Minute)
				c, err := freshet.NewBearer("t", "", freshet.Validity{Lifetime: 67 * time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				got, err := Render(freshet.Answer{Credential: c}, "")
				if err != nil {
					t.Fatal(err)
				}
				var doc struct {
					Epoch   json.RawMessage `json:"expires_on"`
					Expires string          `json:"expiresOn"`
				}
				if err := json.Unmarshal(got, &doc); err != nil {
					t.Fatal(err)
				}
				var epoch int64
				if err := json.Unmarshal(doc.Epoch, &epoch); err != nil || epoch != c.Expires().Unix() {
					t.Fatalf("expires_on %s, want the number %d", doc.Epoch, c.Expires().Unix())
				}
				local, err := time.ParseInLocation("2006-01-02 15:04:05.000000", doc.Expires, time.Local)
				if err != nil || len(doc.Expires) != len("2006-01-02 15:04:05.000000") {
					t.Fatalf("expiresOn %q: want local time with six digits (%v)", doc.Expires, err)
				}
				switch off := local.Unix() - epoch; {
				case off == 0:
					checked++
				case day == "2026-11-01" && (off == 3600 || off == -3600):
					ambiguous++
				default:
					t.Fatalf("expires_on is %v, expiresOn %v", time.Unix(epoch, 0), local)
				}
			}
		})
	}
	if checked < 180 || ambiguous > 2 {
		t.Errorf("%d expiries were one instant, %d an hour apart", checked, ambiguous)
	}
}

func TestTenantIsTheOneAskedForOrTheTokens(t *testing.T) {
	jwt := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	}
	for _, test := range []struct{ token, asked, want string }{
		{jwt(`{"tid":"own"}`), "", "own"},
		{jwt(`{"tid":"own"}`), "contoso.example", "contoso.example"},
		{jwt(`{"tid":7}`), "", ""},
		{jwt(`{}`), "", ""},
		{"a.!.c", "", ""},
		{"opaque", "", ""},
	} {
		c, err := freshet.NewBearer(test.token, "", freshet.Validity{Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		got, err := Render(freshet.Answer{Credential: c}, test.asked)
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(got, &doc); err != nil {
			t.Fatal(err)
		}
		if tenant, there := doc["tenant"]; there != (test.want != "") || there && tenant != test.want {
			t.Errorf("%q, asked for %q: tenant %v, want %q", test.token, test.asked, tenant, test.want)
		}
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
		got, err := Render(freshet.Answer{Credential: c}, "")
		if e := freshet.AsError(err); len(got) != 0 || e == nil || e.Kind != freshet.Invalid || e.Hint == "" || strings.Contains(e.Error(), "planted") {
			t.Errorf("%s: got %q, %v", c.Type(), got, err)
		}
	}
}
