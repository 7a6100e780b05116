package awsapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch"
)

// transport is an HTTP client that a test answers for.
type transport func(*http.Request) (*http.Response, error)

func (t transport) Do(req *http.Request) (*http.Response, error) { return t(req) }

// ask makes a request of STS over a transport.
func ask(p Place, t transport) error {
	client := p.STS(new(fetch.Client))
	_, err := client.AssumeRoleWithWebIdentity(context.Background(), &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String("arn:aws:iam::123456789012:role/x"), RoleSessionName: aws.String("xx"), WebIdentityToken: aws.String("token"),
	}, func(o *sts.Options) { o.HTTPClient = t })
	return err
}

// TestSTSHostIsTheOneDialled asks the SDK's client, of every sort of place.
func TestSTSHostIsTheOneDialled(t *testing.T) {
	for want, place := range map[string]Place{
		"sts.us-east-1.amazonaws.com":      {},
		"sts.eu-central-1.amazonaws.com":   {Region: "eu-central-1"},
		"sts.cn-north-1.amazonaws.com.cn":  {Region: "cn-north-1"},
		"sts-fips.us-east-2.amazonaws.com": {Region: "us-east-2", FIPS: true},
		"sts.eu-west-1.api.aws":            {Region: "eu-west-1", DualStack: true},
		"sts.us-gov-west-1.amazonaws.com":  {Region: "us-gov-west-1", FIPS: true},
		"sts.xx-nowhere-7.amazonaws.com":   {Region: "xx-nowhere-7"},
		"minio.example:9000":               {Endpoint: "https://Minio.Example:9000"},
		"sts.example":                      {Endpoint: "https://sts.example:443/sts", Region: "eu-west-1"},
	} {
		if got := place.STSHost(); got != want {
			t.Errorf("%+v: got %q, want %q", place, got, want)
		}
		dialled := ""
		_ = ask(place, func(req *http.Request) (*http.Response, error) {
			dialled = fetch.Host(req.URL.String())
			return nil, errors.New("no network")
		})
		if dialled != want {
			t.Errorf("%+v: the client dials %q, want %q", place, dialled, want)
		}
	}
}

func TestSTSTarget(t *testing.T) {
	for role, account := range map[string]string{"arn:aws:iam::123456789012:role/x": "123456789012", "arn:minio:iam:::role/x": ""} {
		got := Place{Region: "eu-west-1"}.STSTarget(role)
		if want := (freshet.Target{Host: "sts.eu-west-1.amazonaws.com", Client: account}); got != want {
			t.Errorf("%s: got %v, want %v", role, got, want)
		}
	}
}

func TestFailureTellsWhatTheEngineGoesBy(t *testing.T) {
	for _, test := range []struct {
		status int
		code   string
		kind   freshet.Kind
		want   int
		after  time.Duration
	}{
		{400, "Throttling", freshet.Unavailable, 429, 7 * time.Second},
		{400, "ThrottlingException", freshet.Unavailable, 429, 7 * time.Second},
		{400, "Throttling.User", freshet.Unavailable, 429, 7 * time.Second},
		{400, "ThrottledException", freshet.Unavailable, 429, 7 * time.Second},
		{503, "RequestLimitExceeded", freshet.Unavailable, 429, 7 * time.Second},
		{400, "TooManyRequestsException", freshet.Unavailable, 429, 7 * time.Second},
		{503, "SlowDown", freshet.Unavailable, 429, 7 * time.Second},
		{429, "", freshet.Unavailable, 429, 7 * time.Second},
		{503, "ServiceUnavailable", freshet.Unavailable, 503, 7 * time.Second},
		{500, "", freshet.Unavailable, 500, 7 * time.Second},
		{502, "AccessDenied", freshet.Unavailable, 502, 7 * time.Second},
		{400, "IDPCommunicationError", freshet.Unavailable, 400, 7 * time.Second},
		{400, "ExpiredTokenException", freshet.Unavailable, 400, 0},
		{403, "AccessDenied", freshet.Denied, 403, 0},
		{403, "", freshet.Denied, 403, 0},
		{404, "", freshet.Malformed, 404, 0},
	} {
		err := ask(Place{}, func(req *http.Request) (*http.Response, error) {
			body := ""
			if test.code != "" {
				body = "<ErrorResponse><Error><Code>" + test.code + "</Code></Error></ErrorResponse>"
			}
			return &http.Response{
				StatusCode: test.status, Header: http.Header{"Retry-After": {"7"}}, Request: req, Body: io.NopCloser(bytes.NewBufferString(body)),
			}, nil
		})
		e := Failure(t.Context(), "sts", nil, err)
		if e.Kind != test.kind || e.Status != test.want || e.RetryAfter != test.after {
			t.Errorf("%d %s: got %q, status %d, retry after %v, want %+v", test.status, test.code, e.Kind, e.Status, e.RetryAfter, test)
		}
	}
	// Without an answer there is no status.
	err := ask(Place{}, func(*http.Request) (*http.Response, error) {
		return nil, &freshet.Error{Kind: freshet.Unavailable, Why: "sts: connection refused"}
	})
	if e := Failure(t.Context(), "sts", nil, err); e.Kind != freshet.Unavailable || e.Status != 0 {
		t.Errorf("got %v with status %d", e, e.Status)
	}
}
