package lab

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// maxSkew is how far the time of a signature may be off: AWS's fifteen minutes.
const maxSkew = 15 * time.Minute

// authorization is a header of Signature Version 4:
//
//	AWS4-HMAC-SHA256 Credential=KEY/20260102/REGION/sts/aws4_request, SignedHeaders=host;x-amz-date, Signature=HEX
type authorization struct {
	accessKeyID, day, region string
	signed                   string // names of headers
	signature                string
}

func parseAuthorization(header string) (a authorization, ok bool) {
	rest, ok := strings.CutPrefix(header, "AWS4-HMAC-SHA256 ")
	if !ok {
		return a, false
	}
	part := make(map[string]string)
	for one := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(one), "=")
		part[name] = value
	}
	scope := strings.Split(part["Credential"], "/")
	if len(scope) != 5 || scope[3] != "sts" || scope[4] != "aws4_request" || part["Signature"] == "" {
		return a, false
	}
	a = authorization{scope[0], scope[1], scope[2], part["SignedHeaders"], part["Signature"]}
	names := strings.Split(a.signed, ";")
	return a, slices.Contains(names, "host") && slices.Contains(names, "x-amz-date")
}

// caller is who signed a request.
type caller struct{ arn, userID string }

// caller finds out who signed a request to STS. It makes the signature anew, with the SDK's own signer, from what came.
func (c *Cloud) caller(r *request) (caller, *stsError) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return caller{}, &stsError{403, "MissingAuthenticationToken", "Request is missing Authentication Token"}
	}
	a, ok := parseAuthorization(header)
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if !ok || err != nil || at.Format("20060102") != a.day {
		return caller{}, &stsError{400, "IncompleteSignature", "The request signature does not conform to AWS standards."}
	}
	token := r.Header.Get("X-Amz-Security-Token")
	who := caller{"arn:aws:iam::" + Account + ":user/lab", "AIDALAB"}
	secret := c.credentials.SecretAccessKey
	var s session
	if a.accessKeyID != c.credentials.AccessKeyID || token != "" {
		if s, ok = c.vault.open(token); !ok || s.AccessKeyID != a.accessKeyID {
			return caller{}, &stsError{403, "InvalidClientTokenId", "The security token included in the request is invalid."}
		}
		who = caller{s.ARN, roleID + ":" + s.ARN[strings.LastIndexByte(s.ARN, '/')+1:]}
		secret = c.vault.secret(s.AccessKeyID)
	}
	credentials := aws.Credentials{AccessKeyID: a.accessKeyID, SecretAccessKey: secret, SessionToken: token}
	if again, ok := sign(r, a, at, credentials); !ok || subtle.ConstantTimeCompare([]byte(again.signature), []byte(a.signature)) != 1 {
		return caller{}, &stsError{403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."}
	}
	switch off := r.now().Sub(at); {
	case off > maxSkew:
		return caller{}, &stsError{403, "SignatureDoesNotMatch", "Signature expired: the request's time is too far from the server's."}
	case off < -maxSkew:
		return caller{}, &stsError{403, "SignatureDoesNotMatch", "Signature not yet current: the request's time is too far from the server's."}
	case token != "" && s.expired():
		// STS says so of signed requests; of a web identity token it says ExpiredTokenException.
		return caller{}, &stsError{403, "ExpiredToken", "The security token included in the request is expired"}
	}
	return who, nil
}

// sign signs what a request's signature says it covers. The signer is a new one each time, as it keeps a key for every access
// key that it ever saw.
func sign(r *request, a authorization, at time.Time, credentials aws.Credentials) (authorization, bool) {
	again := &http.Request{
		Method: r.Method, Host: r.Host, Header: make(http.Header),
		URL: &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
	}
	for name := range strings.SplitSeq(a.signed, ";") {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = slices.Clone(r.Header.Values(name))
		}
	}
	sum := sha256.Sum256(r.body)
	if v4.NewSigner().SignHTTP(r.Context(), credentials, again, hex.EncodeToString(sum[:]), "sts", a.region, at) != nil {
		return authorization{}, false
	}
	signed, ok := parseAuthorization(again.Header.Get("Authorization"))
	return signed, ok && signed.signed == a.signed
}
