package azureappservice

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/guard"
)

var update = flag.Bool("update", false, "write golden files")

const (
	secret  = "0123456789abcdef0123456789abcdef"
	version = "api-version=2019-08-01"
	vault   = version + "&resource=https%3A%2F%2Fvault.azure.net"
	mine    = "11111111-2222-3333-4444-55555555abcd"
)

// ask sends a query.
func ask(h http.Handler, query string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:9912"+Path+"?"+query, nil)
	r.Header.Set("X-IDENTITY-HEADER", secret)
	h.ServeHTTP(w, r)
	return w
}

func bearer(t *testing.T, token string, v freshet.Validity) *freshet.Credential {
	t.Helper()
	c, err := freshet.NewBearer(token, "", v)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serve(t *testing.T, cfg Config, v freshet.Validity) (*Handler, *freshettest.Door) {
	t.Helper()
	d := freshettest.NewDoor("id")
	d.Answer(freshet.Answer{Credential: bearer(t, "token-<&>", v)})
	return New(cfg, d, "id", guard.NewSecret(secret)), d
}

// answered is the document of an answer.
type answered struct {
	Token    string          `json:"access_token"`
	Expires  json.RawMessage `json:"expires_on"`
	Refresh  json.RawMessage `json:"refresh_in"`
	Resource string          `json:"resource"`
	Type     string          `json:"token_type"`
	ClientID *string         `json:"client_id"`
}

func read(t *testing.T, w *httptest.ResponseRecorder) (a answered) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d: %s (%v)", w.Code, w.Body, err)
	}
	return a
}

func TestAnswersAreGolden(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  Config
		life freshet.Validity
	}{
		"token":     {Config{}, freshet.Validity{Lifetime: time.Hour}},
		"refresh":   {Config{}, freshet.Validity{Lifetime: time.Hour, RefreshIn: 20 * time.Minute}},
		"client-id": {Config{ClientID: mine}, freshet.Validity{Lifetime: time.Hour}},
		"static":    {Config{}, freshet.Validity{Static: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time begins at 2000-01-01T00:00:00Z
				h, _ := serve(t, test.cfg, test.life)
				golden(t, "testdata/"+name+".json", ask(h, vault).Body.String())
			})
		})
	}
	w := httptest.NewRecorder()
	Deny(w, http.StatusForbidden, "no")
	golden(t, "testdata/error.json", w.Body.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got %s want %s", path, got, want)
	}
}

func TestResourceBecomesAScopeAsSDKsCutIt(t *testing.T) {
	for resource, scope := range map[string]string{
		"https://vault.azure.net":               "https://vault.azure.net/.default",
		"https://management.core.windows.net/":  "https://management.core.windows.net//.default",
		"api://00000000-0000-0000-0000-000000a": "api://00000000-0000-0000-0000-000000a/.default",
		"https://vault.azure.net/.default":      "https://vault.azure.net/.default",
		"//.default":                            "//.default",
	} {
		h, d := serve(t, Config{}, freshet.Validity{Lifetime: time.Hour})
		for range 2 { // the second is answered from memory
			r := httptest.NewRequest(http.MethodGet, Path, nil)
			q := r.URL.Query()
			q.Set("api-version", "2019-08-01")
			q.Set("resource", resource)
			a := read(t, ask(h, q.Encode()))
			if _, req := d.Last(); len(req.Scopes) != 1 || req.Scopes[0] != scope || a.Resource != resource {
				t.Errorf("%s: the door was asked for %q, want %q; the answer is for %q", resource, req.Scopes, scope, a.Resource)
			}
		}
	}
}

func TestQueriesThatAreNoneOfTheDialect(t *testing.T) {
	for query, want := range map[string]string{
		"":                                  "api-version",
		"resource=x":                        "api-version",
		"api-version=2017-09-01&resource=x": "api-version",
		version:                             "resource is missing",
		version + "&resource=":              "resource is missing",
		version + "&resource=x&resource=y":  "more than once",
		version + "&resource=a+b":           "characters",
		version + "&resource=a%00":          "characters",
		version + "&resource=%zz":           "cannot be read",
	} {
		h, d := serve(t, Config{}, freshet.Validity{Lifetime: time.Hour})
		w := ask(h, query)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) || d.Asked() != 0 {
			t.Errorf("%q: got %d %s, and the door was asked %d times", query, w.Code, w.Body, d.Asked())
		}
	}
}

func TestUnknownParametersAreIgnored(t *testing.T) {
	h, d := serve(t, Config{}, freshet.Validity{Lifetime: time.Hour})
	read(t, ask(h, vault+"&xms_cc=cp1&token_sha256_to_refresh=abc&xms_cc=again&sid"))
	if _, req := d.Last(); req.Claims != "" || req.Rejected != "" || len(req.Scopes) != 1 {
		t.Errorf("the door was asked for %v", req)
	}
}

func TestClientIDMustBeTheIdentitysWhereItHasOne(t *testing.T) {
	for _, test := range []struct {
		configured, query string
		want              int
	}{
		{"", "", 200},
		{"", "&client_id=whatever", 200},
		{"", "&mi_res_id=/subscriptions/x", 200},
		{mine, "", 200},
		{mine, "&client_id=" + mine, 200},
		{mine, "&client_id=" + strings.ToUpper(mine), 200},
		{mine, "&client_id=", 200}, // as good as none
		{mine, "&client_id=another", 400},
		{mine, "&mi_res_id=/subscriptions/x", 400},
		{mine, "&object_id=" + mine, 400},
		{mine, "&principal_id=" + mine, 400},
	} {
		h, d := serve(t, Config{ClientID: test.configured}, freshet.Validity{Lifetime: time.Hour})
		w := ask(h, vault+test.query)
		if w.Code != test.want || d.Asked() != map[int]int64{200: 1}[test.want] {
			t.Errorf("configured %q, asked %q: got %d %s, and the door was asked %d times", test.configured, test.query, w.Code, w.Body, d.Asked())
		}
		if w.Code != 200 {
			continue
		}
		if a := read(t, w); test.configured == "" && a.ClientID != nil || test.configured != "" && (a.ClientID == nil || *a.ClientID != mine) {
			t.Errorf("configured %q: the answer has client_id %v", test.configured, a.ClientID)
		}
	}
}

func TestExpiresOnIsTheTruthInDigits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		<-time.After(300 * time.Millisecond) // expiries are not whole seconds
		end := time.Now().Add(time.Hour)
		h, _ := serve(t, Config{}, freshet.Validity{Expires: end})
		for time.Until(end) > time.Minute {
			if got, want := string(read(t, ask(h, vault)).Expires), strconv.Quote(strconv.FormatInt(end.Unix(), 10)); got != want {
				t.Fatalf("expires_on %s, want %s", got, want)
			}
			<-time.After(13 * time.Minute)
		}
	})
}

func TestStaticTokenIsSaidToLiveAnHourFromNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := serve(t, Config{}, freshet.Validity{Static: true})
		for range 3 {
			<-time.After(25 * time.Minute)
			a := read(t, ask(h, vault))
			if got, want := string(a.Expires), strconv.Quote(strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)); got != want || a.Refresh != nil {
				t.Errorf("expires_on %s, want %s; refresh_in %s", got, want, a.Refresh)
			}
		}
	})
}

// TestRefreshInIsAWholeNumberBehindOurOwnRefresh watches refresh_in through a token's life: msal-go fails on what is no whole
// number, and a client that came before freshet's own refresh would get the version it has.
func TestRefreshInIsAWholeNumberBehindOurOwnRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := serve(t, Config{}, freshet.Validity{Lifetime: time.Hour, RefreshIn: 20*time.Minute + 400*time.Millisecond})
		a, _ := d.Get(t.Context(), "id", freshet.Request{})
		for a.Credential.Remaining() > time.Minute {
			until := time.Until(a.RefreshAt())
			got := read(t, ask(h, vault)).Refresh
			if until <= 0 {
				if got != nil {
					t.Fatalf("%v after it was due: refresh_in %s, want none", -until, got)
				}
			} else if in, err := strconv.Atoi(string(got)); err != nil || time.Duration(in)*time.Second <= until || time.Duration(in)*time.Second > until+time.Minute {
				t.Fatalf("due in %v: refresh_in %s (%v)", until, got, err)
			}
			<-time.After(7 * time.Second)
		}
	})
	synctest.Test(t, func(t *testing.T) { // an issuer's cache that keeps until 5 minutes are left, as az's does
		h, _ := serve(t, Config{}, freshet.Validity{Lifetime: time.Hour, RefreshIn: 55 * time.Minute})
		if a := read(t, ask(h, vault)); a.Refresh != nil {
			t.Errorf("refresh_in %s, which is later than SDKs come by themselves", a.Refresh)
		}
	})
}

func TestVersionIsRenderedOncePerResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := serve(t, Config{}, freshet.Validity{Lifetime: time.Hour})
		other := version + "&resource=other"
		read(t, ask(h, vault))
		read(t, ask(h, other))
		first := h.recent.find(vault).last.Load()
		<-time.After(30 * time.Minute)
		if a := read(t, ask(h, other)); a.Resource != "other" {
			t.Errorf("asked for other, got an answer for %q", a.Resource)
		}
		read(t, ask(h, vault))
		if first == nil || h.recent.find(vault).last.Load() != first {
			t.Error("the version was rendered again")
		}
		d.Answer(freshet.Answer{Credential: bearer(t, "next", freshet.Validity{Lifetime: time.Hour})})
		if a := read(t, ask(h, vault)); a.Token != "next" || a.Resource != "https://vault.azure.net" {
			t.Errorf("after a rotation the answer is %+v", a)
		}
	})
}

func TestRememberedQueriesAreBounded(t *testing.T) {
	h, d := serve(t, Config{}, freshet.Validity{Lifetime: time.Hour})
	d.Fail(freshet.Errorf(freshet.Denied, "no"))
	ask(h, vault)
	if h.recent.find(vault) != nil {
		t.Error("a query that had no answer is remembered")
	}
	d.Answer(freshet.Answer{Credential: bearer(t, "t", freshet.Validity{Lifetime: time.Hour})})
	for i := range 3*maxSeats + 1 {
		q := fmt.Sprintf("%s&n=%d", vault, i)
		read(t, ask(h, q))
		if h.recent.find(q) == nil || len(*h.recent.seats.Load()) > maxSeats {
			t.Fatalf("query %d: %d are remembered, at most %d may be", i, len(*h.recent.seats.Load()), maxSeats)
		}
	}
	long := vault + "&x=" + strings.Repeat("x", maxQuery)
	if read(t, ask(h, long)); h.recent.find(long) != nil {
		t.Error("a long query is remembered")
	}
}

// TestErrorsAreReadByEverySDK holds the three forms that SDKs read beside each other, and that what will not change has a
// status that none of them retries.
func TestErrorsAreReadByEverySDK(t *testing.T) {
	for kind, want := range map[freshet.Kind]int{freshet.LoginNeeded: 403, freshet.Denied: 403, freshet.Invalid: 400, freshet.Unavailable: 503} {
		h, d := serve(t, Config{}, freshet.Validity{Lifetime: time.Hour})
		d.Fail(freshet.Errorf(kind, "the reason").WithHint("run az login"))
		w := ask(h, vault)
		var doc struct {
			StatusCode int
			Message    string
			Error      struct{ Code, Message string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		const why = "the reason; run az login"
		if w.Code != want || doc.StatusCode != want || doc.Message != why || doc.Error.Code != string(kind) || doc.Error.Message != why {
			t.Errorf("%s: got %d %+v", kind, w.Code, doc)
		}
	}
}

func TestEnvironmentPointsAtThePath(t *testing.T) {
	env := Environment("http://127.0.0.1:1", "s")
	if env["IDENTITY_ENDPOINT"] != "http://127.0.0.1:1/msi/token" || env["IDENTITY_HEADER"] != "s" ||
		env["AZURE_TOKEN_CREDENTIALS"] != "ManagedIdentityCredential" || len(env) != 3 {
		t.Errorf("got %v", env)
	}
}
