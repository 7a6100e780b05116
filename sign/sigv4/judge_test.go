package sigv4

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/signing"
)

// answer is one to a request that was signed some time before.
func answer(method string, date, signed time.Time, header ...string) *http.Response {
	resp := &http.Response{StatusCode: 403, Header: make(http.Header), Request: &http.Request{Method: method, Header: http.Header{"X-Amz-Date": {signed.UTC().Format("20060102T150405Z")}}}}
	if !date.IsZero() {
		resp.Header.Set("Date", date.UTC().Format(http.TimeFormat))
	}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

func TestOnlyCodesThatNameTheCredentialRejectIt(t *testing.T) {
	s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
	now := freshet.Now().Wall()
	for _, c := range []struct {
		name, head string
		header     []string
		want       bool
	}{
		{"S3", `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message><Token-0>x</Token-0></Error>`, nil, true},
		{"S3, cut", `<Error><Code>InvalidAccessKeyId</Code><Message>The AWS Acc`, nil, true},
		{"S3, in the middle", `<Error><Message>x</Message><Resource/><Code> InvalidToken </Code></Error>`, nil, true},
		{"Query", `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code></Error></ErrorResponse>`, nil, true},
		{"EC2", `<Response><Errors><Error><Code>ExpiredToken</Code></Error></Errors></Response>`, nil, true},
		{"a namespace's prefix", `<a:Error xmlns:a="x"><a:Code>ExpiredToken</a:Code></a:Error>`, nil, true},
		{"JSON", `{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"x"}`, nil, true},
		{"JSON, later", `{"message":"x","a":[{"__type":"AccessDenied"}],"code":"UnrecognizedClientException"}`, nil, true},
		{"JSON, cut", `{"Code":"ExpiredToken","message":"x`, nil, true},
		{"JSON after a BOM", "\xef\xbb\xbf" + ` {"__type":"ExpiredTokenException"}`, nil, true},
		{"CBOR", "\xbf\x66__type\x78\x19a#ExpiredTokenException\x00\x00\xff", nil, false},
		{"CBOR of the right length", "\xbf\x66__type\x77a#ExpiredTokenException\xff", nil, true},
		{"CBOR with a byte for the length", "\xbf\x66__type\x78\x1baws.a#ExpiredTokenException\xff", nil, true},
		{"header", `{"message":"The security token included in the request is expired"}`, []string{"X-Amzn-Errortype", "ExpiredTokenException"}, true},
		{"header with an address", "", []string{"X-Amzn-Errortype", "UnrecognizedClientException:http://internal.amazon.com/coral/com.amazon.coral.service/"}, true},
		{"MinIO's HEAD", "", []string{"X-Minio-Error-Code", "InvalidAccessKeyId"}, true},
		{"TokenRefreshRequired", `<Error><Code>TokenRefreshRequired</Code></Error>`, nil, true},
		{"EC2's session token", `<Response><Errors><Error><Code>RequestExpired</Code></Error></Errors></Response>`, nil, true},

		{"denied", `<Error><Code>AccessDenied</Code><Message>ExpiredToken</Message></Error>`, nil, false},
		{"denied in JSON", `{"__type":"AccessDeniedException","Message":"InvalidClientTokenId"}`, nil, false},
		{"wrong signature", `<Error><Code>SignatureDoesNotMatch</Code></Error>`, nil, false},
		{"the code elsewhere", `<Error><Details><Code>ExpiredToken</Code></Details></Error>`, nil, false},
		{"the code within a string", `{"message":"\"__type\":\"ExpiredTokenException\""}`, nil, false},
		{"the header decides", `{"__type":"ExpiredTokenException"}`, []string{"X-Amzn-Errortype", "ValidationException"}, false},
		{"a page", `<html><body>ExpiredToken</body></html>`, nil, false},
		{"nothing", "", nil, false}, {"a word", "ExpiredToken", nil, false}, {"a number", "7", nil, false}, {"a list", `["ExpiredToken"]`, nil, false}, {"no string", `{"code":7}`, nil, false},
		{"broken", `{"code"`, nil, false}, {"broken XML", `<Error><Code`, nil, false}, {"short CBOR", "\x66__type\x78", nil, false}, {"shorter CBOR", "\x66__type", nil, false},
	} {
		if got := s.Judge(answer("GET", now, now, c.header...), []byte(c.head)); got != (signing.Verdict{Rejected: c.want}) {
			t.Errorf("%s: got %+v, want rejected: %v", c.name, got, c.want)
		}
	}
}

func TestAClockThatIsOffIsLearned(t *testing.T) {
	const skewed = `<Error><Code>RequestTimeTooSkewed</Code></Error>`
	for _, c := range []struct {
		name         string
		head, method string
		ahead        time.Duration // the upstream's clock
		header       []string
		want         bool
	}{
		{"ahead", skewed, "GET", time.Hour, nil, true},
		{"behind", skewed, "GET", -20 * time.Minute, nil, true},
		{"by a time zone", skewed, "GET", 14 * time.Hour, nil, true},
		{"JSON", `{"__type":"InvalidSignatureException"}`, "POST", 6 * time.Minute, nil, true},
		{"EC2", `<Response><Errors><Error><Code>AuthFailure</Code></Error></Errors></Response>`, "POST", 6 * time.Minute, nil, true},
		{"EC2's other", `<Response><Errors><Error><Code>RequestExpired</Code></Error></Errors></Response>`, "POST", 16 * time.Minute, nil, true},
		{"a HEAD", "", "HEAD", time.Hour, nil, true},
		{"no code", "", "GET", time.Hour, nil, false},
		{"denied", `<Error><Code>AccessDenied</Code></Error>`, "GET", time.Hour, nil, false},
		{"within bounds", `<Error><Code>SignatureDoesNotMatch</Code></Error>`, "GET", 3*time.Minute + 50*time.Second, nil, false},
		{"over a day", skewed, "GET", 25 * time.Hour, nil, false},
		{"years", skewed, "GET", -10 * 365 * 24 * time.Hour, nil, false},
		{"a cache's answer", skewed, "GET", time.Hour, []string{"Age", "0"}, false},
		{"a date that is none", skewed, "GET", time.Hour, []string{"Date", "soon"}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
			at := s.now()
			time.Sleep(2 * time.Second) // the round trip
			now := freshet.Now().Wall()
			if got := s.Judge(answer(c.method, now.Add(c.ahead), at, c.header...), []byte(c.head)); got != (signing.Verdict{Resign: c.want}) {
				t.Errorf("%s: got %+v, want resign: %v", c.name, got, c.want)
			}
			want := time.Duration(0)
			if c.want {
				want = c.ahead
			}
			if got := s.now().Sub(now); (got - want).Abs() > time.Second {
				t.Errorf("%s: signatures are of a time off by %v, want %v", c.name, got, want)
			}
			// One that was signed before the first answer came: by now the clock is known.
			if again := s.Judge(answer(c.method, now.Add(c.ahead), at, c.header...), []byte(c.head)); again.Resign != c.want {
				t.Errorf("%s: the second: got %+v, want resign: %v", c.name, again, c.want)
			}
			// And one that was signed by the right time: something else is wrong.
			if c.want {
				r := request(t, c.method, "https://up.example/k", "")
				if _, err := s.Prepare(r); err != nil {
					t.Fatal(err)
				}
				if err := s.Sign(r, awsKeys(t, "AKIA", planted, ""), hashOf("")); err != nil {
					t.Fatal(err)
				}
				resp := answer(c.method, now.Add(c.ahead), at, c.header...)
				resp.Request = r
				if v := s.Judge(resp, []byte(c.head)); v.Resign {
					t.Errorf("%s: got %+v of a signature whose time is right", c.name, v)
				}
			}
		})
	}
}

// TestASignatureThatGotOldIsMadeAnew has a request that waited, as behind a slow body, between two clocks that agree.
func TestASignatureThatGotOldIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
		at := s.now()
		time.Sleep(20*time.Minute + 300*time.Millisecond) // and a Date has no fractions
		if v := s.Judge(answer("PUT", s.now(), at), []byte(`<Error><Code>RequestTimeTooSkewed</Code></Error>`)); !v.Resign || v.Rejected {
			t.Errorf("got %+v", v)
		}
		if off := s.now().Sub(freshet.Now().Wall()); off != 0 {
			t.Errorf("a clock that is right was moved by %v", off)
		}
	})
}

func TestErrorsAreAsClientsReadThem(t *testing.T) {
	const code, message = "AccessDenied", `no <b>"you"</b> & may not`
	for service, root := range map[string]string{"s3": "Error", "s3express": "Error", "sts": "ErrorResponse", "ec2": "Response"} {
		s := signerFor(t, Config{Service: service, Region: "r"}, "https://up.example")
		typ, body := s.Explain(403, code, message)
		var got struct {
			XMLName       xml.Name
			Code, Message string
			Error         struct{ Code, Message string }
			Errors        struct {
				Error struct{ Code, Message string }
			}
		}
		if err := xml.Unmarshal(body, &got); err != nil || got.XMLName.Local != root || typ != "application/xml" || !strings.HasPrefix(string(body), "<?xml") {
			t.Errorf("%s: %v: %s %s", service, err, typ, body)
		}
		if got.Code+got.Error.Code+got.Errors.Error.Code != code || got.Message+got.Error.Message+got.Errors.Error.Message != message {
			t.Errorf("%s: got %s", service, body)
		}
		if errorCode(http.Header{}, body) != code {
			t.Errorf("%s: its own reader finds no code in %s", service, body)
		}
	}
	s := signerFor(t, Config{Service: "bedrock", Region: "r"}, "https://up.example")
	typ, body := s.Explain(403, code, message)
	var got map[string]string
	if err := json.Unmarshal(body, &got); err != nil || got["__type"] != code || got["code"] != code || got["message"] != message || typ != "application/x-amz-json-1.1" {
		t.Errorf("got %s %s, %v", typ, body, err)
	}
}

// FuzzJudge holds that no answer makes Judge panic, that a code is a short piece of the answer, and that only the codes for it reject.
func FuzzJudge(f *testing.F) {
	for _, head := range []string{`<Error><Code>ExpiredToken</Code></Error>`, `{"__type":"a#ExpiredTokenException:b"}`, "\xbf\x66__type\x78\x19a#ExpiredTokenException", "", "<a><b/></a></a>", `{"a":[[]],"code":"x"}`, "<!DOCTYPE x [<!ENTITY e 'ExpiredToken'>]><Error><Code>&e;</Code></Error>"} {
		f.Add(head, "")
	}
	f.Add("", "ExpiredTokenException:http://x")
	f.Fuzz(func(t *testing.T, head, header string) {
		s := signerFor(t, Config{Service: "s3", Region: "r"}, "https://up.example")
		now := freshet.Now().Wall()
		resp := answer("GET", now, now, "X-Amzn-Errortype", header)
		v := s.Judge(resp, []byte(head))
		code := errorCode(resp.Header, []byte(head))
		if v.Resign || v.Claims != "" || v.Rejected != (rejections[code] || code == "RequestExpired") {
			t.Errorf("%q: got %+v of %q", head, v, code)
		}
	})
}
