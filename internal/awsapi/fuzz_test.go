package awsapi

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"freshet.dev/freshet"
	"freshet.dev/internal/awsapi/ststest"
)

// FuzzAssumeRole reads answers of STS: keys that live, or an error that shows nothing of the answer but a code.
func FuzzAssumeRole(f *testing.F) {
	f.Add(ststest.Answer("AssumeRole", "ASIAROLE", time.Now().Add(24*time.Hour)), 200, "")
	f.Add(ststest.Answer("AssumeRole", "ASIAROLE", time.Unix(1e9, 0)), 200, "")
	f.Add(ststest.Failing("AccessDenied"), 403, "")
	f.Add(ststest.Failing("Throttling"), 400, "30")
	f.Add(ststest.Failing("ExpiredToken"), 400, "")
	f.Add(ststest.Failing(ststest.Gossip+"\n"), 400, "")
	f.Add("<a/>", 200, "")
	f.Add("", 503, "Sun, 06 Nov 2094 08:49:37 GMT")
	input, err := freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "AKIA", SecretAccessKey: "s"}, freshet.Validity{Static: true})
	if err != nil {
		f.Fatal(err)
	}
	var answer func(*http.Request) *http.Response
	client := sts.New(sts.Options{
		Region: "us-east-1", Retryer: aws.NopRetryer{}, HTTPSignerV4: signer{}, Credentials: aws.AnonymousCredentials{},
		HTTPClient: transport(func(r *http.Request) (*http.Response, error) { return answer(r), nil }),
	})
	f.Fuzz(func(t *testing.T, body string, status int, wait string) {
		if status < 200 || status > 599 || len(body) > 64<<10 {
			return
		}
		answer = func(r *http.Request) *http.Response {
			return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {wait}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
		}
		cred, err := AssumeRole(t.Context(), client, input, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::1:role/r"), RoleSessionName: aws.String("s")})
		if (cred == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cred, err)
		}
		if err == nil {
			if cred.Remaining() <= 0 || cred.Type() != freshet.AWS || cred.AWS().SessionToken == "" || status/100 != 2 || !only(cred.AWS().AccountID, digits) {
				t.Errorf("%d %q gives %v", status, body, cred)
			}
			return
		}
		e, ok := err.(*freshet.Error)
		if !ok || e.Kind == freshet.Bug || e.Kind == freshet.Invalid || e.RetryAfter < 0 || e.RetryAfter > time.Hour {
			t.Fatalf("%d %q: got %v", status, body, err)
		}
		if strings.Contains(e.Error()+e.Hint, ststest.Gossip) || strings.Contains(e.Error(), ststest.SecretKey) || len(e.Error()) > 100 || strings.ContainsAny(e.Error()+e.Hint, "\r\n\x1b") {
			t.Errorf("%d %q: the error is %q", status, body, e)
		}
	})
}

// FuzzARN holds that what is accepted as a role's name can be nothing else in a request, and that names of sessions are of STS's form.
func FuzzARN(f *testing.F) {
	for _, text := range []string{
		"arn:aws:iam::123456789012:role/path/NAME", "arn:minio:iam:::role/NAME", "arn:aws:sts::123456789012:assumed-role/a/b", "arn:aws-cn:iam::1:role/", ":::::",
		"arn:aws:iam::123456789012:role/a b", "planted-secret",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if err := CheckRole("role", text); err == nil {
			if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || len(text) > 2048 || Partition(text) == "" {
				t.Errorf("%q is a role", text)
			}
		} else if strings.Contains(err.Error(), "planted-secret") {
			t.Errorf("the error is %v", err)
		}
		if account := Account(text); account != "" && (len(account) != 12 || !only(account, digits)) {
			t.Errorf("%q is of account %q", text, account)
		}
		if name := SessionName([]string{text}); CheckSession("s", name) != nil || !strings.HasPrefix(name, "freshet-") {
			t.Errorf("%q has sessions %q", text, name)
		}
	})
}
