package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"freshet.dev/freshet"
)

// maxSkew is how far the time of a signature may be off: AWS's fifteen minutes.
const maxSkew = 15 * time.Minute

// The causes of refusals, for errors.Is.
var (
	ErrSignature = freshet.Errorf(freshet.Denied, "the request's signature is wrong")
	ErrTime      = freshet.Errorf(freshet.Denied, "the request's signature is of another time")
	ErrExpired   = freshet.Errorf(freshet.Denied, "the presigned URL has expired")
)

// Payload is what a request says its body's hash is, or one of AWS's words in its place; false where the signature is over the
// body's hash, and the request does not tell it: of the common SDKs only the one for JavaScript tells services other than S3.
func (s *Signature) Payload(r *http.Request) (string, bool) {
	if s.Query {
		for _, p := range pairs(r.URL.RawQuery) {
			if p.name == "X-Amz-Content-Sha256" {
				return p.value, true
			}
		}
	}
	if hash := r.Header.Get("X-Amz-Content-Sha256"); hash != "" {
		return hash, true
	}
	if s.Query && OnceEscaped(s.Service) {
		return Unsigned, true
	}
	return "", false
}

// Verify checks that a request, as it came, was signed with a secret and not long ago. body is asked for the hex SHA-256 of the
// body where [Signature.Payload] has none; nil says that there is no body. Whether the body has the hash that the request tells is
// left to whoever reads it. Errors are of kind Denied, or body's own.
func (s *Signature) Verify(r *http.Request, secret string, now time.Time, body func() (string, error)) error {
	payload, ok := s.Payload(r)
	if !ok {
		payload = Nothing
		if body != nil {
			var err error
			if payload, err = body(); err != nil {
				return err
			}
		}
	}
	if !s.made(r, secret, payload) {
		return refuse(ErrSignature, "sign with the secret that the proxy was given as the secret access key, and change nothing afterwards")
	}
	// What begins so tells a service what to do, and S3 refuses it unsigned too. Date and token go with the signature.
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") && name != "X-Amz-Date" && name != "X-Amz-Security-Token" && !slices.Contains(s.SignedHeaders, strings.ToLower(name)) {
			return refuse(ErrSignature, "sign all headers that begin with x-amz-: %s is not signed", strings.ToLower(name))
		}
	}
	off := now.Sub(s.Time)
	switch {
	case off < -maxSkew, !s.Query && off > maxSkew:
		return refuse(ErrTime, "its time is off by %s: set the clock of the machine that signs", off.Abs().Round(time.Second))
	case s.Query && off > s.Expires:
		return refuse(ErrExpired, "presign it again")
	}
	return nil
}

func refuse(cause *freshet.Error, hint string, args ...any) error {
	return (&freshet.Error{Kind: cause.Kind, Why: cause.Why, Cause: cause}).WithHint(hint, args...)
}

// made reports whether the signature is the one that comes of a secret, by either way to make it.
func (s *Signature) made(r *http.Request, secret, payload string) bool {
	key := hmacOf([]byte("AWS4"+secret), s.Day)
	for _, part := range []string{s.Region, s.Service, "aws4_request"} {
		key = hmacOf(key, part)
	}
	tried := ""
	for _, read := range []bool{true, false} {
		text, ok := s.canonical(r, payload, read)
		if !ok || text == tried {
			continue
		}
		tried = text
		sum := sha256.Sum256([]byte(text))
		sign := algorithm + "\n" + s.Time.Format(timeForm) + "\n" + s.Day + "/" + s.Region + "/" + s.Service + "/aws4_request\n" + hex.EncodeToString(sum[:])
		if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(hmacOf(key, sign))), []byte(s.Signature)) == 1 {
			return true
		}
	}
	return false
}

func hmacOf(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// presigned are a query's parameters of presigning, unescaped.
func presigned(raw string) (parameters map[string]string, found, once bool) {
	if len(raw) < len("X-Amz-Signature=") {
		return nil, false, false
	}
	once = true
	for _, p := range pairs(raw) {
		if !presigning(p.name) {
			continue
		}
		if parameters == nil {
			parameters = make(map[string]string, 8)
		}
		if _, twice := parameters[p.name]; twice {
			once = false
		}
		value, err := url.QueryUnescape(p.value)
		if err != nil {
			value = "" // which none of them may be
		}
		parameters[p.name] = value
		found = found || p.name == "X-Amz-Signature" || p.name == "X-Amz-Algorithm" || p.name == "X-Amz-Credential"
	}
	return parameters, found, once
}

// presigning reports whether a query's parameter is one of a signature. Their names are case-sensitive, and nobody escapes them.
func presigning(name string) bool {
	switch name {
	case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature",
		"X-Amz-Security-Token", "X-Amz-Content-Sha256":
		return true
	}
	return false
}
