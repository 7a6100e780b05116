package aws

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet"
	"github.com/aws/aws-sdk-go-v2/aws"
)

// FuzzFailure has a service refuse with any code, status and header, or a provider fail with any text. It holds that the error is one
// that callers can act on, and shows nothing but a code that looks like one.
func FuzzFailure(f *testing.F) {
	f.Add("ExpiredToken", 400, "1500", "7", "hunter2-hunter2")
	f.Add("Throttling", 400, "", "Sun, 06 Nov 2094 08:49:37 GMT", "Sun, 06 Nov 2094 08:49:30 GMT")
	f.Add("hunter2-hunter2 ", 403, "99999999999999999999", "-1", "")
	f.Add("", 503, "0", "", "please reauthenticate")
	f.Add("", 0, "", "", "the SSO session has expired or is invalid: hunter2-hunter2")
	f.Fuzz(func(t *testing.T, code string, status int, millis, seconds, text string) {
		header := http.Header{"X-Amz-Retry-After": {millis}, "Retry-After": {seconds}, "Date": {text}}
		for _, err := range []error{
			&refusal{code}, answer(status, header, &refusal{code}), answer(status, header, fmt.Errorf("%s", text)), fmt.Errorf("%s", text), &endpointError{refusal{code}},
		} {
			e, ok := failure(err).(*freshet.Error)
			if !ok || !slices.Contains([]freshet.Kind{freshet.LoginNeeded, freshet.Denied, freshet.Unavailable}, e.Kind) || e.RetryAfter < 0 || e.RetryAfter > time.Hour {
				t.Fatalf("%q %d: %#v", code, status, e)
			}
			if shown := e.Error() + e.Hint; strings.ContainsAny(shown, "\r\n\x1b") || len(shown) > 200 || strings.Contains(shown, "hunter2-hunter2") {
				t.Errorf("%q %d %q: the error is %q", code, status, text, shown)
			}
		}
	})
}

// FuzzKeys has a provider give any keys. It holds that those kept live, and are given back as they were.
func FuzzKeys(f *testing.F) {
	f.Add("AKIA", "s", "t", "123456789012", true, int64(4e9))
	f.Add("AKIA", "s", "", "", false, int64(0))
	f.Add("", "s", "t", "", true, int64(1))
	f.Add("a/b", "s\r\n", "\x00", "", true, int64(1<<62))
	f.Fuzz(func(t *testing.T, id, secret, session, account string, ends bool, seconds int64) {
		keys := aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: session, AccountID: account, CanExpire: ends}
		if ends {
			keys.Expires = time.Unix(seconds, 0)
		}
		s := &source{inner: &fake{reply: func(int64) (aws.Credentials, error) { return keys, nil }}}
		cred, err := s.Retrieve(t.Context(), freshet.Request{})
		if (cred == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cred, err)
		}
		if err != nil {
			odd := strings.ContainsFunc(id+secret+session+account, func(r rune) bool { return r <= ' ' || r >= 0x7f })
			if e := freshet.AsError(err); e.Kind != freshet.Malformed || !ends && id != "" && secret != "" && !odd {
				t.Errorf("got %v", err)
			}
			return
		}
		if cred.Remaining() <= 0 || cred.Static() == ends || id == "" || secret == "" {
			t.Errorf("%+v: got %v", keys.Expires, cred)
		}
		if got := s.original(cred); got != keys || s.known(id, session) != cred.Fingerprint() {
			t.Errorf("the keys are given back as another version's")
		}
	})
}
