// Package sigv4 reads AWS's Signature Version 4 as a server does: it finds a request's signature, checks it with the secret that it
// should have been made with, and takes it away.
//
//	Authorization: AWS4-HMAC-SHA256 Credential=KEY/20260102/REGION/SERVICE/aws4_request, SignedHeaders=host;x-amz-date, Signature=HEX
//	X-Amz-Date: 20260102T030405Z
//
// or, presigned, all of it in the query:
//
//	?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=KEY%2F20260102%2FREGION%2FSERVICE%2Faws4_request&X-Amz-Date=20260102T030405Z
//	&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature=HEX
//
// What is signed is the method, path, query and the headers named, in a canonical form, and the hash of the body. The form is that of
// "Create a signed AWS API request" in the IAM user guide and of "Authenticating Requests (AWS Signature Version 4)" in S3's API
// reference. They leave some things open, and the SDKs differ there: see canonical.
//
// Version 4a, whose signatures are made with a key pair (AWS4-ECDSA-P256-SHA256), is refused: it has no secret to check it with.
package sigv4

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"freshet.dev/freshet"
)

// Signature is what a request says of how it was signed.
type Signature struct {
	AccessKeyID, Day, Region, Service string
	SignedHeaders                     []string // lowercase, as they were listed
	Signature                         string   // 64 hex digits
	Time                              time.Time
	Query                             bool          // presigned: it stands in the query
	Expires                           time.Duration // after Time, where it is presigned
}

const (
	algorithm = "AWS4-HMAC-SHA256"
	timeForm  = "20060102T150405Z"
	// maxExpires is how long a presigned URL may be good for: AWS's seven days.
	maxExpires = 7 * 24 * time.Hour
	// maxSigned bounds the headers that are named: nobody signs as many as a request can have.
	maxSigned = 200
)

// Unsigned stands where the hash of a body would, if the body is not signed.
const Unsigned = "UNSIGNED-PAYLOAD"

// Nothing is the hash of no bytes.
const Nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Find finds a signature in the Authorization header or in the query. An error, of kind Invalid, is about one that is there and is
// not well made.
func Find(r *http.Request) (sig Signature, found bool, err error) {
	header, inHeader := authorization(r.Header)
	query, inQuery, once := presigned(r.URL.RawQuery)
	switch {
	case inHeader && inQuery:
		return sig, true, malformed("it is signed twice, in the header and in the query")
	case inHeader:
		sig, err = fromHeader(r.Header, header)
		return sig, true, err
	case inQuery && !once:
		return sig, true, malformed("a parameter is there twice")
	case inQuery:
		sig, err = fromQuery(query)
		return sig, true, err
	}
	return sig, false, nil
}

func malformed(why string) error {
	return freshet.Errorf(freshet.Invalid, "the request's signature is malformed: %s", why)
}

// authorization is the header, if it is a signature of any version 4.
func authorization(h http.Header) (string, bool) {
	for _, value := range h["Authorization"] {
		if strings.HasPrefix(value, "AWS4-") {
			return value, true
		}
	}
	return "", false
}

func fromHeader(h http.Header, value string) (sig Signature, err error) {
	rest, ok := strings.CutPrefix(value, algorithm+" ")
	switch {
	case !ok:
		return sig, malformed("its algorithm is not " + algorithm)
	case len(h["Authorization"]) > 1, len(h["X-Amz-Date"]) > 1:
		return sig, malformed("a header is there twice")
	}
	part := make(map[string]string, 3)
	for one := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(one), "=")
		if _, twice := part[name]; twice {
			return sig, malformed(`a part of the Authorization header is there twice`)
		}
		part[name] = value
	}
	at, err := time.Parse(timeForm, h.Get("X-Amz-Date"))
	if err != nil && h.Get("X-Amz-Date") == "" {
		at, err = http.ParseTime(h.Get("Date")) // which AWS takes too
	}
	if err != nil {
		return sig, malformed("it has no X-Amz-Date such as 20260102T030405Z")
	}
	sig.Time = at.UTC()
	return sig, sig.read(part["Credential"], part["SignedHeaders"], part["Signature"])
}

func fromQuery(q map[string]string) (sig Signature, err error) {
	if q["X-Amz-Algorithm"] != algorithm {
		return sig, malformed("its X-Amz-Algorithm is not " + algorithm)
	}
	sig.Query = true
	if sig.Time, err = time.Parse(timeForm, q["X-Amz-Date"]); err != nil {
		return sig, malformed("it has no X-Amz-Date such as 20260102T030405Z")
	}
	// Not all services want it, and not all signers send it: AWS's own bound stands in.
	sig.Expires = maxSkew
	if text, ok := q["X-Amz-Expires"]; ok {
		n, err := strconv.ParseUint(text, 10, 32)
		sig.Expires = time.Duration(n) * time.Second
		if err != nil || sig.Expires > maxExpires {
			return sig, malformed("its X-Amz-Expires is not a number of seconds up to 604800")
		}
	}
	return sig, sig.read(q["X-Amz-Credential"], q["X-Amz-SignedHeaders"], q["X-Amz-Signature"])
}

// read reads what both forms have. An access key id may have slashes in it: MinIO's may.
func (s *Signature) read(credential, headers, signature string) error {
	scope := strings.Split(credential, "/")
	n := len(scope) - 4
	if n < 1 || scope[n+3] != "aws4_request" || scope[n+1] == "" || scope[n+2] == "" {
		return malformed("its Credential is not KEY/DAY/REGION/SERVICE/aws4_request")
	}
	s.AccessKeyID, s.Day, s.Region, s.Service = strings.Join(scope[:n], "/"), scope[n], scope[n+1], scope[n+2]
	if s.AccessKeyID == "" || s.Time.Format("20060102") != s.Day {
		return malformed("its Credential is not of the day of X-Amz-Date")
	}
	if len(signature) != 64 || !hexDigits(signature) {
		return malformed("its Signature is not 64 hex digits")
	}
	s.Signature = signature
	host := false
	for name := range strings.SplitSeq(headers, ";") {
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") != "" || name == "" || len(s.SignedHeaders) == maxSigned {
			return malformed("its SignedHeaders are not lowercase names of headers")
		}
		host = host || name == "host"
		s.SignedHeaders = append(s.SignedHeaders, name)
	}
	if !host {
		return malformed("its SignedHeaders lack host")
	}
	if !s.Query && !slices.Contains(s.SignedHeaders, "x-amz-date") && !slices.Contains(s.SignedHeaders, "date") {
		return malformed("its SignedHeaders lack x-amz-date")
	}
	return nil
}

func hexDigits(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// IsHash reports whether a text is a SHA-256 in lowercase hex digits.
func IsHash(s string) bool { return len(s) == 64 && hexDigits(s) }
