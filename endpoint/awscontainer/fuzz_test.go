package awscontainer

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/corpus"
	"freshet.dev/internal/guard"
)

// FuzzRequest holds that credentials go to nobody but GET /creds with the secret as its Authorization, and that what the issuer
// says against it becomes JSON that no header and no line of which it can make. SECRET stands for the secret.
func FuzzRequest(f *testing.F) {
	f.Add("GET", Path, "SECRET", "aws-sdk-go-v2/1.40.0", "")
	f.Add("GET", Path, "Bearer SECRET", "python-urllib3/1.26.12", "no\r\nSet-Cookie: x")
	f.Add("GET", "/creds/../creds?Authorization=SECRET", "", "", "\x00\xff<script>")
	f.Add("POST", "/%63reds", "SECRET ", "Boto3", "")
	f.Add("GET", "//creds#", "SECRETSECRET", "AWS-CLI/2", "")
	for _, golden := range corpus.Of(f, "testdata/*.json") {
		f.Add("GET", Path, "SECRET", "", golden)
	}
	c, err := freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "AKIA", SecretAccessKey: "planted-secret-key"}, freshet.Validity{Lifetime: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, target, authorization, agent, failure string) {
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		d := freshettest.NewDoor("id")
		if failure == "" {
			d.Answer(freshet.Answer{Credential: c})
		} else {
			d.Fail(freshet.Errorf(freshet.Unavailable, "%s", failure))
		}
		authorization = strings.ReplaceAll(authorization, "SECRET", secret)
		r := &http.Request{Method: method, URL: u, Host: "127.0.0.1", Body: http.NoBody,
			Header: http.Header{"Authorization": {authorization}, "User-Agent": {agent}}}
		w := httptest.NewRecorder()
		guard.Handler(nil, Deny, New(d, "id", guard.NewSecret(secret))).ServeHTTP(w, r)

		right := method == http.MethodGet && u.Path == Path && authorization == secret
		if (d.Asked() != 0) != right || (w.Code == http.StatusOK) != (right && failure == "") {
			t.Fatalf("answered %d, asked %d times; the request is right: %v", w.Code, d.Asked(), right)
		}
		freshettest.LeakedSecrets(t, w.Body.String(), secret)
		var doc map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatalf("%q: %v", w.Body, err)
		}
		if w.Code == http.StatusOK {
			if at, err := time.Parse(time.RFC3339, doc["Expiration"]); err != nil || at.Before(time.Now()) || doc["SecretAccessKey"] != "planted-secret-key" {
				t.Errorf("got %v", doc)
			}
		} else if doc["code"] == "" || doc["code"] != doc["Code"] || doc["message"] != doc["Message"] {
			t.Errorf("got %v", doc)
		} else {
			freshettest.LeakedSecrets(t, w.Body.String(), "planted-secret-key")
		}
		for name, values := range w.Header() {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n") {
				t.Errorf("header %q: %q", name, values)
			}
		}
		if _, req := d.Last(); right && (req.Hold <= 0 || req.Hold > patience) {
			t.Errorf("agent %q is held for %v", agent, req.Hold)
		}
	})
}
