package awscontainer

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/guard"
)

var update = flag.Bool("update", false, "write golden files")

const secret = "0123456789abcdef0123456789abcdef"

var keys = freshet.AWSKeys{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret/key+1", SessionToken: "session==&<>", AccountID: "123456789012"}

// ask asks for the credential and returns the answer's document and its text.
func ask(t *testing.T, h http.Handler) (doc map[string]string, text string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:9911"+Path, nil)
	r.Header.Set("Authorization", secret)
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc, w.Body.String()
}

func serve(t *testing.T, k freshet.AWSKeys, v freshet.Validity) (*Handler, *freshettest.Door) {
	t.Helper()
	c, err := freshet.NewAWS(k, v)
	if err != nil {
		t.Fatal(err)
	}
	d := freshettest.NewDoor("id")
	d.Answer(freshet.Answer{Credential: c})
	return New(d, "id", guard.NewSecret(secret)), d
}

func TestAnswersAreGolden(t *testing.T) {
	for name, k := range map[string]freshet.AWSKeys{
		"session": keys,
		// JavaScript requires Token to be there, empty or not.
		"long-term": {AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time begins at 2000-01-01T00:00:00Z
				zone := time.FixedZone("elsewhere", 5*3600+1800)
				h, _ := serve(t, k, freshet.Validity{Expires: time.Now().Add(time.Hour).In(zone)})
				_, text := ask(t, h)
				golden(t, "testdata/"+name+".json", text)
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

func TestExpirationIsEarlyByTheMarginAndNeverPast(t *testing.T) {
	for _, lifetime := range []time.Duration{15 * time.Second, 40 * time.Second, time.Minute, 15 * time.Minute, time.Hour, 12 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			<-time.After(300 * time.Millisecond) // expiries are not whole seconds
			end := time.Now().Add(lifetime)
			h, _ := serve(t, keys, freshet.Validity{Expires: end})
			margin := min(2*time.Minute, lifetime/10)
			floor := min(10*time.Second, lifetime/50) // the engine serves nothing after it
			for time.Until(end) > max(floor, time.Second) {
				doc, _ := ask(t, h)
				if !strings.HasSuffix(doc["Expiration"], "Z") {
					t.Fatalf("Expiration %q: the JavaScript SDK rejects what does not end in Z", doc["Expiration"])
				}
				at, err := time.Parse(time.RFC3339, doc["Expiration"])
				switch {
				case err != nil:
					t.Fatal(err)
				case !at.After(time.Now()):
					t.Fatalf("lifetime %v, %v before its end: Expiration %v is past", lifetime, time.Until(end), time.Since(at))
				case at.After(end):
					t.Fatalf("lifetime %v: Expiration is %v after its end", lifetime, at.Sub(end))
				case time.Until(end) > margin+time.Second && (at.After(end.Add(-margin)) || at.Before(end.Add(-margin-time.Second))):
					t.Fatalf("lifetime %v: Expiration is %v before its end, want %v and less than a second", lifetime, end.Sub(at), margin)
				}
				<-time.After(lifetime / 97)
			}
		})
	}
}

func TestVersionIsRenderedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := serve(t, keys, freshet.Validity{Lifetime: time.Hour})
		ask(t, h)
		first := h.last.Load()
		<-time.After(30 * time.Minute)
		ask(t, h)
		if first == nil || h.last.Load() != first {
			t.Error("the version was rendered again")
		}
		next, err := freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "ASIANEXT", SecretAccessKey: "next"}, freshet.Validity{Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		d.Answer(freshet.Answer{Credential: next})
		if doc, _ := ask(t, h); doc["AccessKeyId"] != "ASIANEXT" || doc["SecretAccessKey"] != "next" || doc["Token"] != "" {
			t.Errorf("after a rotation the answer is of %v", doc)
		}
		// In the last part of its life the true end is told, and rendered every time.
		<-time.After(59 * time.Minute)
		if doc, _ := ask(t, h); doc["Expiration"] != next.Expires().Format(time.RFC3339) {
			t.Errorf("a minute before its end: %v, want the true one %v", doc["Expiration"], next.Expires())
		}
	})
}

func TestStaticKeysAreSaidToLiveAnHourFromNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := serve(t, keys, freshet.Validity{Static: true})
		for range 3 {
			<-time.After(25 * time.Minute)
			doc, _ := ask(t, h)
			if got, want := doc["Expiration"], time.Now().UTC().Add(time.Hour).Format(time.RFC3339); got != want {
				t.Errorf("Expiration %s, want %s", got, want)
			}
		}
	})
}

func TestErrorsHaveBothSpellings(t *testing.T) {
	d := freshettest.NewDoor("id")
	d.Fail(freshet.Errorf(freshet.LoginNeeded, "log in"))
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, Path, nil)
	r.Header.Set("Authorization", secret)
	New(d, "id", guard.NewSecret(secret)).ServeHTTP(w, r)
	var doc map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc["code"] != doc["Code"] || doc["message"] != doc["Message"] || doc["code"] != "login needed" || doc["message"] != "log in" {
		t.Errorf("got %v: Go reads code and message, JavaScript Code and Message", doc)
	}
}

func TestHoldIsWhatTheClientBears(t *testing.T) {
	for agent, want := range map[string]time.Duration{
		"python-urllib3/1.26.12":                                 1500 * time.Millisecond, // botocore 1.29, and awscli 2.9 by its own
		"python-urllib3/2.7.0":                                   1500 * time.Millisecond, // botocore 1.43
		"Boto3/1.26.27 Python/3.11.2 Linux/6.1 Botocore/1.29.27": 1500 * time.Millisecond,
		"aws-cli/2.9.19 Python/3.11.2":                           1500 * time.Millisecond,
		"Go-http-client/1.1":                                     20 * time.Second, // aws-sdk-go-v2
		"":                                                       20 * time.Second, // the SDK for JavaScript
	} {
		h, d := serve(t, keys, freshet.Validity{Lifetime: time.Hour})
		r := httptest.NewRequest(http.MethodGet, Path, nil)
		r.Header.Set("Authorization", secret)
		r.Header.Set("User-Agent", agent)
		h.ServeHTTP(httptest.NewRecorder(), r)
		if _, req := d.Last(); req.Hold != want {
			t.Errorf("%q is held for %v, want %v", agent, req.Hold, want)
		}
	}
}

func TestEnvironmentPointsAtThePath(t *testing.T) {
	env := Environment("http://127.0.0.1:1", "s")
	if env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] != "http://127.0.0.1:1/creds" || env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] != "s" || len(env) != 2 {
		t.Errorf("got %v", env)
	}
}
