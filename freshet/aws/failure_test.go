package aws

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"github.com/aws/aws-sdk-go-v2/aws"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func TestTargets(t *testing.T) {
	mine := freshet.Target{Host: "sts.example", Client: "123456789012"}
	for name, test := range map[string]struct {
		p           aws.CredentialsProvider
		given, want freshet.Target
	}{
		"none":            {&fake{}, freshet.Target{}, freshet.Target{Host: "name"}},
		"given":           {&fake{}, mine, mine},
		"of no host":      {&fake{}, freshet.Target{Client: "c"}, freshet.Target{Host: "name", Client: "c"}},
		"an instance's":   {aws.NewCredentialsCache(&instance{}), freshet.Target{}, freshet.Target{Host: metadata}},
		"a role from one": {&role{}, freshet.Target{}, freshet.Target{Host: "name"}},
		"given for one":   {&instance{}, mine, mine},
	} {
		p, err := New(test.p, Config{Name: "name", Cache: newCache(t), Target: test.given})
		if err != nil {
			t.Fatal(err)
		}
		var of freshet.Targeter = p.s.source
		if got := of.Target(freshet.Request{}); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

// answer is an error about an HTTP answer, as clients of the SDK have it.
func answer(status int, header http.Header, err error) error {
	return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: header}}, Err: err}
}

// endpointError is as endpointcreds has it, whose status is nowhere else.
type endpointError struct{ refusal }

func (*endpointError) HTTPStatusCode() int { return 503 }

func TestFailuresSayWhatTheIssuerAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
		for name, test := range map[string]struct {
			err    error
			kind   freshet.Kind
			status int
			wait   time.Duration
		}{
			"throttled":         {answer(400, nil, &refusal{"Throttling"}), freshet.Unavailable, 429, 0},
			"of another name":   {answer(503, nil, &refusal{"SlowDown"}), freshet.Unavailable, 429, 0},
			"with a time":       {answer(400, http.Header{"X-Amz-Retry-After": {"1500"}, "Retry-After": {"7"}}, &refusal{"ThrottlingException"}), freshet.Unavailable, 429, 1500 * time.Millisecond},
			"seconds":           {answer(429, http.Header{"Retry-After": {"7"}}, errDown), freshet.Unavailable, 429, 7 * time.Second},
			"a date":            {answer(503, http.Header{"Retry-After": {at(time.Hour)}, "Date": {at(59 * time.Minute)}}, errDown), freshet.Unavailable, 503, time.Minute},
			"a date that is by": {answer(503, http.Header{"Retry-After": {at(-time.Hour)}}, errDown), freshet.Unavailable, 503, 0},
			"over an hour":      {answer(503, http.Header{"Retry-After": {"86400"}}, errDown), freshet.Unavailable, 503, time.Hour},
			"over all bounds":   {answer(503, http.Header{"Retry-After": {"99999999999999999999"}}, errDown), freshet.Unavailable, 503, time.Hour},
			"down":              {answer(500, nil, &refusal{"InternalFailure"}), freshet.Unavailable, 500, 0},
			"denied":            {answer(403, nil, &refusal{"AccessDenied"}), freshet.Denied, 403, 0},
			"denied, no code":   {answer(403, nil, errDown), freshet.Denied, 403, 0},
			"expired":           {answer(400, nil, &refusal{"ExpiredTokenException"}), freshet.LoginNeeded, 400, 0},
			"a container's":     {&endpointError{refusal{"Busy"}}, freshet.Unavailable, 503, 0},
			"nobody answered":   {&smithyhttp.RequestSendError{Err: errDown}, freshet.Unavailable, 0, 0},
			"a nested one's":    {&freshet.Error{Kind: freshet.Unavailable, Status: 429, RetryAfter: time.Minute}, freshet.Unavailable, 429, time.Minute},
		} {
			got := freshet.AsError(failure(test.err))
			if got.Kind != test.kind || got.Status != test.status || got.RetryAfter != test.wait {
				t.Errorf("%s: got kind %q, status %d, retry after %v; want %q, %d, %v", name, got.Kind, got.Status, got.RetryAfter,
					test.kind, test.status, test.wait)
			}
		}
	})
}
