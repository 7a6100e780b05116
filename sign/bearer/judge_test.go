package bearer

import (
	"encoding/base64"
	"net/http"
	"testing"

	"freshet.dev/internal/signing"
)

const wanted = `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`

// challenged is a header with challenges.
func challenged(values ...string) http.Header { return http.Header{"Www-Authenticate": values} }

func TestJudge(t *testing.T) {
	std := base64.StdEncoding.EncodeToString([]byte(wanted))
	cae := `error="insufficient_claims", claims="` + std + `"`
	refused, met := signing.Verdict{Rejected: true}, signing.Verdict{Rejected: true, Claims: wanted}
	kept := signing.Verdict{}
	for _, test := range []struct {
		name   string
		status int
		header http.Header
		body   string
		want   signing.Verdict
	}{
		{"401 without a word", 401, nil, "", refused},
		{"401 of a token", 401, challenged(`Bearer realm="x", error="invalid_token"`), "", refused},
		{"401 that challenges to another scheme", 401, challenged(`Basic realm="Artifactory Realm"`), "", refused},
		{"401 of too few rights", 401, challenged(`Bearer error="insufficient_scope"`), "", refused},
		{"401 with a challenge that is none", 401, challenged("\x00=\"", `Bearer "`), "", refused},
		{"401 that wants claims", 401, challenged(`Bearer realm="", authorization_uri="https://login.example/authorize", ` + cae), "", met},
		{"claims before the error", 401, challenged(`Bearer claims="` + std + `", error="insufficient_claims"`), "", met},
		{"claims in the second challenge", 401, challenged(`Basic realm="a, b", Bearer ` + cae), "", met},
		{"claims in the second value", 401, challenged(`PoP realm="", nonce="x"`, `Bearer `+cae), "", met},
		{"claims of a scheme in other letters", 401, challenged(`bearer ERROR="insufficient_claims", Claims="` + std + `"`), "", met},
		{"claims without padding", 401, challenged(`Bearer error="insufficient_claims", claims="` + base64.RawURLEncoding.EncodeToString([]byte(wanted)) + `"`), "", met},
		{"claims without quotes", 401, challenged(`Bearer error=insufficient_claims, claims=` + std), "", met},
		{"claims without commas", 401, challenged(`Bearer error="insufficient_claims" claims="` + std + `"`), "", met},
		{"claims after words without quotes", 401, challenged(`Bearer authorization_uri=https://login.example/x?y=z, ` + cae), "", met},
		{"claims of another error", 401, challenged(`Bearer error="invalid_token", claims="` + std + `"`), "", refused},
		{"claims of another scheme", 401, challenged(`PoP ` + cae), "", refused},
		{"claims that are no base64", 401, challenged(`Bearer error="insufficient_claims", claims="!"`), "", refused},
		{"claims that are no JSON", 401, challenged(`Bearer error="insufficient_claims", claims="eA=="`), "", refused},
		{"claims that are a list", 401, challenged(`Bearer error="insufficient_claims", claims="W10="`), "", refused},
		{"no claims", 401, challenged(`Bearer error="insufficient_claims", claims=""`), "", refused},
		{"claims that are wrong and then right", 401, challenged(`Bearer error="insufficient_claims", claims="!", Bearer ` + cae), "", met},

		{"403 without a word", 403, nil, "", kept},
		{"403 of rights", 403, nil, `{"error":{"type":"permission_error","message":"invalid_token"}}`, kept},
		{"403 of too few rights", 403, challenged(`Bearer error="insufficient_scope", scope="invalid_token"`), "", kept},
		{"403 of a token", 403, challenged(`Basic realm="x"`, `Bearer realm="x", error="invalid_token", error_description="expired"`), "", refused},
		{"403 of another scheme's token", 403, challenged(`DPoP error="invalid_token"`), "", kept},
		{"403 with claims", 403, challenged(`Bearer ` + cae), "", kept},
		{"403 with an OAuth error", 403, nil, `{"error":"invalid_token","error_description":"x"}`, refused},
		{"403 of an API key", 403, nil, ` {"error": {"message": "no", "code": "invalid_api_key"}}`, refused},
		{"403 of an API key's type", 403, nil, `{"error":{"type":"invalid_api_key"}}`, refused},
		{"403 of Azure Storage", 403, http.Header{"X-Ms-Error-Code": {"AuthenticationFailed"}}, "<?xml version=\"1.0\"?><Error/>", refused},
		{"403 of Azure Storage's rights", 403, http.Header{"X-Ms-Error-Code": {"AuthorizationPermissionMismatch"}}, "", kept},
		{"403 of Bedrock", 403, http.Header{"X-Amzn-Errortype": {"ExpiredTokenException:http://internal.amazon.com/coral/com.amazon.coral.service/"}}, "{}", refused},
		{"403 of Bedrock's rights", 403, http.Header{"X-Amzn-Errortype": {"AccessDeniedException"}}, "{}", kept},
		{"403 of an AWS service's body", 403, nil, `{"__type":"com.amazon.coral.service#UnrecognizedClientException"}`, refused},
		{"403 with a code", 403, nil, `{"code":"AuthenticationFailed"}`, refused},
		{"403 with codes that are no words", 403, nil, `{"code":403,"error":["invalid_token"],"__type":{}}`, kept},
		{"403 with half a body", 403, nil, `{"error":"invalid_token"`, kept},
		{"403 that says so in passing", 403, nil, `invalid_token`, kept},

		{"400", 400, nil, "", kept},
		{"400 of a token", 400, challenged(`Bearer error="invalid_token"`), `{"error":"invalid_token"}`, kept},
		{"400 with claims", 400, challenged(`Bearer ` + cae), "", kept},
	} {
		header := test.header
		if header == nil {
			header = http.Header{}
		}
		for _, in := range []string{"", "api-key"} {
			if got := signer(t, in).Judge(&http.Response{StatusCode: test.status, Header: header}, []byte(test.body)); got != test.want {
				t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
			}
		}
	}
	if got := signer(t, "").Judge(&http.Response{StatusCode: 401}, nil); got != refused {
		t.Errorf("got %+v of an answer without a header", got)
	}
}
