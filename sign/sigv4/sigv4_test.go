package sigv4

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
	"freshet.dev/internal/sigv4"
)

const (
	planted = "planted-secret-access-key-0123456789abcdef"
	session = "planted-session-token-0123456789abcdef/+="
)

func awsKeys(t testing.TB, id, secret, token string) *freshet.Credential {
	t.Helper()
	c, err := freshet.NewAWS(freshet.AWSKeys{AccessKeyID: id, SecretAccessKey: freshet.Secret(secret), SessionToken: freshet.Secret(token)}, freshet.Validity{Static: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func signerFor(t testing.TB, c Config, upstream string) *Signer {
	t.Helper()
	u, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(c, u)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// request is one for an upstream, as the proxy has it.
func request(t testing.TB, method, u, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, u, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		r.Body = http.NoBody
	}
	r.Host = "127.0.0.1:9920" // as the caller called the proxy
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// send prepares and signs a request as the proxy does, and gives what the upstream got of it.
func send(t testing.TB, s *Signer, r *http.Request, c *freshet.Credential) *http.Request {
	t.Helper()
	plan, err := s.Prepare(r)
	if err != nil {
		t.Fatalf("%s: %v", r.URL, err)
	}
	body, hash := []byte(nil), ""
	if r.Body != nil {
		if body, err = io.ReadAll(r.Body); err != nil {
			t.Fatalf("%s: %v", r.URL, err)
		}
	}
	if plan.Hash {
		hash = hashOf(string(body))
		r.ContentLength = int64(len(body))
	}
	if plan.Read != nil {
		if err := plan.Read(r.Header); err != nil {
			t.Fatalf("%s: %v", r.URL, err)
		}
	}
	if r.Body = io.NopCloser(bytes.NewReader(body)); len(body) == 0 {
		r.Body = nil
	}
	if err := s.Sign(r, c, hash); err != nil {
		t.Fatalf("%s: %v", r.URL, err)
	}
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatalf("%s: %v", r.URL, err)
	}
	got, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatalf("%s: %v", r.URL, err)
	}
	return got
}

// verified checks what an upstream got as it would, and gives its signature.
func verified(t testing.TB, got *http.Request, secret string) sigv4.Signature {
	t.Helper()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	sig, found, err := sigv4.Find(got)
	if !found || err != nil {
		t.Fatalf("%s: %v, %v", got.URL, found, err)
	}
	if err := sig.Verify(got, secret, freshet.Now().Wall(), func() (string, error) { return hashOf(string(body)), nil }); err != nil {
		t.Errorf("%s: %v", got.RequestURI, err)
	}
	if said, ok := sig.Payload(got); ok && sigv4.IsHash(said) && said != hashOf(string(body)) {
		t.Errorf("%s: it tells another hash than the body's", got.RequestURI)
	}
	return sig
}

// TestSignatureMatchesThePublishedVectors has those of AWS's test suite that sign what this signer signs, and of the examples in S3's
// API reference.
func TestSignatureMatchesThePublishedVectors(t *testing.T) {
	const suite, s3 = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	for _, v := range []struct {
		service, secret, at, method, url, contentType, body, want string
	}{
		{"service", suite, "20150830T123600Z", "GET", "https://example.amazonaws.com/", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"service", suite, "20150830T123600Z", "GET", "https://example.amazonaws.com", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"service", suite, "20150830T123600Z", "GET", "https://example.amazonaws.com/?Param2=value2&Param1=value1", "", "", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"service", suite, "20150830T123600Z", "GET", "https://example.amazonaws.com/?Param1=value1", "", "", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		{"service", suite, "20150830T123600Z", "GET", "https://example.amazonaws.com/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "", "", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
		{"service", suite, "20150830T123600Z", "GET", "https://example.amazonaws.com/example/..", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"service", suite, "20150830T123600Z", "GET", "https://example.amazonaws.com//", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"service", suite, "20150830T123600Z", "GET", "https://example.amazonaws.com//example//", "", "", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
		{"service", suite, "20150830T123600Z", "GET", "https://example.amazonaws.com/./example", "", "", "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
		{"service", suite, "20150830T123600Z", "POST", "https://example.amazonaws.com:443/", "", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"service", suite, "20150830T123600Z", "POST", "https://example.amazonaws.com/?Param1=value1", "", "", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
		{"service", suite, "20150830T123600Z", "POST", "https://example.amazonaws.com/", "application/x-www-form-urlencoded", "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
		{"service", suite, "20150830T123600Z", "POST", "https://example.amazonaws.com/", "application/x-www-form-urlencoded; charset=utf8", "Param1=value1", "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"},
		{"s3", s3, "20130524T000000Z", "GET", "https://examplebucket.s3.amazonaws.com/?lifecycle", "", "", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"s3", s3, "20130524T000000Z", "GET", "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", "", "", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		synctest.Test(t, func(t *testing.T) { // where time stands still
			s := signerFor(t, Config{Service: v.service, Region: "us-east-1"}, v.url)
			at, err := time.Parse("20060102T150405Z", v.at)
			if err != nil {
				t.Fatal(err)
			}
			s.offset.Store(int64(at.Sub(freshet.Now().Wall())))
			r := request(t, v.method, v.url, v.body)
			if v.contentType != "" {
				r.Header.Set("Content-Type", v.contentType)
			}
			hash := ""
			if plan, err := s.Prepare(r); err != nil || !plan.Hash {
				t.Fatalf("%s: %+v, %v", v.url, plan, err)
			}
			hash, r.ContentLength = hashOf(v.body), -1 // whose length the suite does not sign
			if err := s.Sign(r, awsKeys(t, "AKIDEXAMPLE", v.secret, ""), hash); err != nil {
				t.Fatal(err)
			}
			if got := r.Header.Get("Authorization"); !strings.HasSuffix(got, "Signature="+v.want) {
				t.Errorf("%s %s: got %s, want %s", v.method, v.url, got, v.want)
			}
		})
	}
}

func TestWhatIsSignedIsWhatIsSent(t *testing.T) {
	c := awsKeys(t, "AKIA", planted, session)
	for _, service := range []string{"s3", "execute-api"} {
		s := signerFor(t, Config{Service: service, Region: "eu-west-1"}, "https://up.example:8443")
		for _, path := range []string{"", "/", "/b/a%20b", "/b/a+b", "/b/a%2Bb", "/b/a;b", "/b/a%3bb", "/b//a//", "//b", "/b/é€", "/b/%c3%a9", "/b/a=b@c:d", "/b/a%2Fb", "/b/../c/./d",
			"/b/~-_.!$&'()*,", "/b/%25", "/b/%2520", "/b/a%00b", "/b/[x]", "/b/^`{|}\"<>", "/b/a%3Fb%23c", "/model/a.b-v2:0/invoke"} {
			for _, query := range []string{"", "?", "?acl", "?a=b&a=a&A=%2B&%61=c", "?prefix=a+b", "?prefix=a%20b%2F&delimiter=/", "?x=é&y=%FF", "?a&&=b&=", "?a=b=c", "?list-type=2&start-after=%26%3D"} {
				r := request(t, "GET", "https://up.example:8443"+path+query, "")
				want := r.URL.EscapedPath()
				got := send(t, s, r, c)
				sig := verified(t, got, planted)
				if got.Host != "up.example:8443" || sig.Service != service || sig.Region != "eu-west-1" || sig.AccessKeyID != "AKIA" || got.Header.Get("X-Amz-Security-Token") != session {
					t.Errorf("got %+v of %s", sig, got.Host)
				}
				if sent, _, _ := strings.Cut(got.RequestURI, "?"); sent != want && want != "" {
					t.Errorf("%s is sent as %s", want, sent)
				}
			}
		}
	}
}

// TestTheHostIsSignedAsItIsSent has hosts with the scheme's own port, which clients do not send, and with others.
func TestTheHostIsSignedAsItIsSent(t *testing.T) {
	for upstream, want := range map[string]string{
		"https://up.example:443": "up.example", "http://127.0.0.1:80": "127.0.0.1", "http://127.0.0.1:443": "127.0.0.1:443", "https://up.example:80": "up.example:80",
		"https://[::1]:443": "[::1]", "http://[::1]:9000": "[::1]:9000", "https://up.example": "up.example",
	} {
		s := signerFor(t, Config{Service: "s3", Region: "r"}, upstream)
		got := send(t, s, request(t, "GET", upstream+"/b/k", ""), awsKeys(t, "AKIA", planted, ""))
		verified(t, got, planted)
		if got.Host != want {
			t.Errorf("%s: got %s, want %s", upstream, got.Host, want)
		}
	}
}

func TestPathsAreSignedAsTheServiceReadsThem(t *testing.T) {
	for _, c := range []struct{ service, path, want string }{
		{"s3", "/b/a%2fb+c//d/../é", "/b/a/b%2Bc//d/../%C3%A9"},
		{"execute-api", "/b/a%2fb+c//d/../%c3%a9", "/b/a%252fb%2Bc/%25c3%25a9"},
		{"execute-api", "/a/..", "/"}, {"execute-api", "/../../a/.b/..c/...", "/a/.b/..c/..."}, {"execute-api", "/a//", "/a/"}, {"s3", "", "/"},
	} {
		u, err := url.Parse("https://up.example" + c.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := sigv4.Path(u, c.service); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.service, c.path, got, c.want)
		}
	}
}

func TestQueriesThatReadDifferentlyAreRefused(t *testing.T) {
	s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
	for _, query := range []string{"a;b", "a=b;c=d", "a=%zz", "%=a", "a=%2", "X-Amz-Signature=x", "a=b&X-Amz-Credential=x", "X-Amz-Algorithm", "X%2DAmz-Security-Token=" + planted} {
		r := request(t, "GET", "https://up.example/", "")
		r.URL.RawQuery = query
		_, err := s.Prepare(r)
		if !errors.Is(err, freshet.Invalid) || freshet.AsError(err).Hint == "" {
			t.Errorf("%s: got %v, want a refusal with a hint", query, err)
		} else if strings.Contains(err.Error(), planted) {
			t.Errorf("%v shows the query", err)
		}
	}
	r := request(t, "GET", "https://up.example/?a=b+c&d=%2B", "")
	was := r.URL
	if _, err := s.Prepare(r); err != nil || r.URL.RawQuery != "a=b%20c&d=%2B" || was.RawQuery != "a=b+c&d=%2B" {
		t.Errorf("got %s, %v: a plus is sent as the space that it is read as, in a URL of its own", r.URL.RawQuery, err)
	}
}

func TestOnlyWhatMeansSomethingToTheServiceIsSigned(t *testing.T) {
	s := signerFor(t, Config{Service: "sts", Region: "us-east-1"}, "https://up.example")
	r := request(t, "POST", "https://up.example/", "a=b", "Content-Type", "text/plain", "Content-Md5", "x", "X-Amz-Target", " T  t ", "X-Amz-Meta-A", "1", "X-Amz-Meta-A", "2",
		"Connection", "close", "Te", "trailers", "Accept-Encoding", "gzip", "User-Agent", "me", "Accept", "*/*", "X-Amzn-Trace-Id", "Root=1", "X-Amzn-Other", "x", "Expect", "x", "Range", "bytes=0-", "Amz-Sdk-Request", "attempt=1",
		"Authorization", "Bearer theirs", "X-Amz-Date", "20000101T000000Z", "X-Amz-Security-Token", "theirs", "X-Amz-Content-Sha256", "x", "X-Amz-Content-Sha256", "y",
		"Forwarded", "for=x", "Via", "1.1 x", "X-Forwarded-For", "10.0.0.1", "X-Forwarded-Anything", "x")
	got := send(t, s, r, awsKeys(t, "AKIA", planted, ""))
	sig := verified(t, got, planted)
	if want := "content-length content-md5 content-type host x-amz-date x-amz-meta-a x-amz-target"; strings.Join(sig.SignedHeaders, " ") != want {
		t.Errorf("got %v signed, want %s", sig.SignedHeaders, want)
	}
	for _, name := range []string{"X-Amz-Security-Token", "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Anything", "X-Amz-Content-Sha256"} {
		if value, ok := got.Header[name]; ok {
			t.Errorf("%s: %s is sent", name, value)
		}
	}
	for name, want := range map[string]string{"X-Amzn-Trace-Id": "Root=1", "Range": "bytes=0-", "User-Agent": "me", "Accept-Encoding": "gzip"} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: got %q, want it as it came", name, got.Header[name])
		}
	}
}

// TestAttemptsShareNoValues signs copies of one header, as attempts are that have its values in common.
func TestAttemptsShareNoValues(t *testing.T) {
	s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
	first := request(t, "GET", "https://up.example/k", "")
	if _, err := s.Prepare(first); err != nil {
		t.Fatal(err)
	}
	if err := s.Sign(first, awsKeys(t, "AKIA1", planted, session), sigv4.Nothing); err != nil {
		t.Fatal(err)
	}
	before, second := first.Header.Clone(), *first
	second.Header = make(http.Header)
	for name, values := range first.Header {
		second.Header[name] = values
	}
	if err := s.Sign(&second, awsKeys(t, "AKIA2", planted+"2", ""), sigv4.Nothing); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, first.Header) {
		t.Errorf("got %v, want %v: another attempt's signature has changed it", first.Header, before)
	}
	if token, ok := second.Header["X-Amz-Security-Token"]; ok {
		t.Errorf("got a token of another version: %v", token)
	}
	got := second.Clone(t.Context())
	got.Body = http.NoBody
	if sig := verified(t, got, planted+"2"); sig.AccessKeyID != "AKIA2" {
		t.Errorf("got %s", sig.AccessKeyID)
	}
}

// TestPartsAreOfOneVersion has versions that differ in the secret alone, since the SDK's signer tells them apart by the id.
func TestPartsAreOfOneVersion(t *testing.T) {
	s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
	secret, token := func(i int) string { return fmt.Sprintf("%s-%d", planted, i) }, func(i int) string { return fmt.Sprintf("token-%d", i) }
	var versions []*freshet.Credential
	for i := range 8 {
		versions = append(versions, awsKeys(t, "AKIA", secret(i), token(i)))
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for n := range 100 {
				i := (g + n/3) % len(versions)
				r := request(t, "GET", "https://up.example/k", "")
				if _, err := s.Prepare(r); err != nil {
					t.Error(err)
				}
				if err := s.Sign(r, versions[i], sigv4.Nothing); err != nil {
					t.Error(err)
				}
				sig, _, err := sigv4.Find(r)
				if err != nil {
					t.Error(err)
					return
				}
				if err := sig.Verify(r, secret(i), freshet.Now().Wall(), nil); err != nil || r.Header.Get("X-Amz-Security-Token") != token(i) {
					t.Errorf("version %d: %v, with token %s", i, err, r.Header.Get("X-Amz-Security-Token"))
				}
			}
		})
	}
	all.Wait()
	last := s.last.Load()
	if again := s.version(last.of); again != last {
		t.Error("a version that is used again was made anew")
	}
}

func TestOnlyAWSKeysSign(t *testing.T) {
	s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
	bearer, err := freshet.NewBearer(planted, "", freshet.Validity{Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	r := request(t, "GET", "https://up.example/", "")
	if _, err := s.Prepare(r); err != nil {
		t.Fatal(err)
	}
	err = s.Sign(r, bearer, sigv4.Nothing)
	if !errors.Is(err, freshet.Invalid) || !strings.Contains(err.Error(), "type bearer") || r.Header.Get("Authorization") != "" {
		t.Errorf("got %v, %v", err, r.Header)
	}
	if err := s.Sign(request(t, "GET", "https://up.example/", ""), awsKeys(t, "AKIA", planted, ""), ""); !errors.Is(err, freshet.Bug) {
		t.Errorf("got %v: a request that was not prepared is signed", err)
	}
}

func TestPrintsNoSecret(t *testing.T) {
	s := signerFor(t, Config{Service: "s3", Region: "us-east-1"}, "https://up.example")
	send(t, s, request(t, "GET", "https://up.example/", ""), awsKeys(t, "AKIA", planted, session))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, s); got != "sigv4(s3 us-east-1)" {
			t.Errorf("%s: got %s", verb, got)
		}
	}
}

func TestPlaceOfAHost(t *testing.T) {
	for host, want := range map[string]string{
		"sts.us-east-1.amazonaws.com": "sts us-east-1", "sts.amazonaws.com": "sts us-east-1", "iam.amazonaws.com": "iam us-east-1", "iam.us-gov.amazonaws.com": "iam us-gov-west-1",
		"s3.amazonaws.com": "s3 us-east-1", "s3.eu-west-1.amazonaws.com": "s3 eu-west-1", "s3-eu-west-1.amazonaws.com": "s3 eu-west-1", "s3.dualstack.eu-west-1.amazonaws.com": "s3 eu-west-1",
		"bucket.s3.amazonaws.com": "s3 us-east-1", "a.b.s3.eu-west-1.amazonaws.com": "s3 eu-west-1", "my-bucket-1.s3.amazonaws.com": "s3 us-east-1", "b.s3-eu-west-1.amazonaws.com": "s3 eu-west-1",
		"s3-fips.us-gov-west-1.amazonaws.com": "s3 us-gov-west-1", "s3-fips.dualstack.us-east-1.amazonaws.com": "s3 us-east-1", "b.s3-accelerate.amazonaws.com": "s3 ", "b.s3-accelerate.dualstack.amazonaws.com": "s3 ",
		"ap-1234.s3-accesspoint.us-west-2.amazonaws.com": "s3 us-west-2", "b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com": "s3express us-east-1", "x.s3-outposts.us-west-2.amazonaws.com": "s3-outposts us-west-2",
		"s3.cn-north-1.amazonaws.com.cn": "s3 cn-north-1", "x.accesspoint.s3-global.amazonaws.com": " ", "b.s3-website-us-east-1.amazonaws.com": " ",
		"bedrock-runtime.us-east-1.amazonaws.com": "bedrock us-east-1", "bedrock-runtime-fips.us-east-1.amazonaws.com": "bedrock us-east-1", "fips-secretsmanager.us-east-1.amazonaws.com": "secretsmanager us-east-1",
		"gateway-1.gateway.bedrock-agentcore.us-east-1.amazonaws.com": "bedrock-agentcore us-east-1", "bedrock-agentcore-control.us-east-1.amazonaws.com": "bedrock-agentcore us-east-1",
		"abc123.execute-api.eu-central-1.amazonaws.com": "execute-api eu-central-1", "vpce-1.execute-api.eu-central-1.vpce.amazonaws.com": "execute-api eu-central-1", "bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com": "s3 us-east-1",
		"search-x-1.us-east-1.es.amazonaws.com": "es us-east-1", "x.us-east-1.aoss.amazonaws.com": "aoss us-east-1", "us-west-2.queue.amazonaws.com": "sqs us-west-2",
		"runtime.sagemaker.us-west-2.amazonaws.com": "sagemaker us-west-2", "streams.dynamodb.us-west-2.amazonaws.com": "dynamodb us-west-2", "email.us-west-2.amazonaws.com": "ses us-west-2",
		"abc-ats.iot.us-west-2.amazonaws.com": "iotdata us-west-2", "iot.us-west-2.amazonaws.com": "iot us-west-2", "entitlement.marketplace.us-east-1.amazonaws.com": "aws-marketplace us-east-1",
		"dynamodb.us-west-2.api.aws": "dynamodb us-west-2", "x.lambda-url.us-west-2.on.aws": "lambda us-west-2", "x.7d67968.vpc-lattice-svcs.us-west-2.on.aws": "vpc-lattice-svcs us-west-2", "x.unknown.us-west-2.on.aws": " us-west-2",
		"sts.eusc-de-east-1.amazonaws.eu": "sts eusc-de-east-1", "d111.cloudfront.net": " ", "amazonaws.com": " ", "evil-amazonaws.com": " ", "sts.us-east-1.amazonaws.com.evil.example": " ", "127.0.0.1": " ", "localhost": " ",
		"something.amazonaws.com": " ", ".amazonaws.com": " ", "us-east-1.amazonaws.com": " us-east-1",
	} {
		service, region := place(host)
		if got := service + " " + region; got != want {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		cfg      Config
		upstream string
		want     string // an error, or the signer
	}{
		{Config{}, "https://STS.eu-west-1.amazonaws.com.", "sigv4(sts eu-west-1)"},
		{Config{Service: "s3"}, "https://s3.eu-west-1.amazonaws.com", "sigv4(s3 eu-west-1)"},
		{Config{Region: "us-west-1"}, "https://b.s3-accelerate.amazonaws.com", "sigv4(s3 us-west-1)"},
		{Config{Service: "s3", Region: "auto"}, "http://127.0.0.1:9000", "sigv4(s3 auto)"},
		{Config{Service: "s3", Region: "r", Payload: "unsigned"}, "http://127.0.0.1:9000", "sigv4(s3 r)"},
		{Config{Service: "s3", Region: "r", Payload: "unsigned"}, "https://up.example", "sigv4(s3 r)"},
		{Config{}, "http://127.0.0.1:9000", "service: the upstream's host does not tell which it is; region: the upstream's host does not tell which it is"},
		{Config{}, "https://b.s3-accelerate.amazonaws.com", "region: the upstream's host does not tell which it is"},
		{Config{Service: "S3/x", Region: "EU", Payload: "none"}, "https://up.example", "service: not a service; region: not a region; payload: want hash or unsigned"},
		{Config{Service: "sts", Region: "r", Payload: "unsigned"}, "https://up.example", "payload: only S3 and VPC Lattice take requests whose body is not signed"},
		{Config{Service: "s3", Region: "r", Payload: "unsigned"}, "http://up.example", "payload: without a signature over the body the upstream has to be https"},
	} {
		u, err := url.Parse(c.upstream)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(c.cfg, u)
		got := fmt.Sprint(s)
		if err != nil {
			got = err.Error()
			if _, ok := errors.AsType[*field.Error](err); !ok || !errors.Is(err, freshet.Invalid) || s != nil {
				t.Errorf("%+v: got %#v", c.cfg, err)
			}
		}
		if got != c.want {
			t.Errorf("%+v: got %s, want %s", c.cfg, got, c.want)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	for _, service := range []string{"s3", "bedrock"} {
		b.Run(service, func(b *testing.B) {
			s, c := signerFor(b, Config{Service: service, Region: "us-east-1"}, "https://up.example"), awsKeys(b, "AKIA", planted, session)
			r := request(b, "POST", "https://up.example/bucket/some/key%20here?list-type=2&prefix=a", "{}", "Content-Type", "application/json", "X-Amz-Target", "T", "User-Agent", "x", "Accept", "*/*",
				"Accept-Encoding", "gzip", "Amz-Sdk-Request", "attempt=1")
			if _, err := s.Prepare(r); err != nil {
				b.Fatal(err)
			}
			hash := hashOf("{}")
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Sign(r, c, hash); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
