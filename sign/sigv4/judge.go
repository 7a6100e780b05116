package sigv4

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strings"

	"freshet.dev/internal/signing"
)

// rejections are the codes by which services refuse keys that are no good, or no good any more. A plain AccessDenied is none of
// them: it says that good keys may not do what was asked.
var rejections = map[string]bool{
	"ExpiredToken": true, "ExpiredTokenException": true, "TokenRefreshRequired": true,
	"InvalidAccessKeyId": true, "InvalidClientTokenId": true, "UnrecognizedClientException": true,
	"InvalidToken": true, "InvalidSecurity": true, "InvalidSecurityToken": true, "InvalidSecurityTokenException": true,
}

// clockCodes are the codes of what a wrong clock brings about, among other things.
var clockCodes = map[string]bool{
	"RequestTimeTooSkewed": true, "SignatureDoesNotMatch": true, "InvalidSignatureException": true, "AuthFailure": true,
	"RequestExpired": true, "RequestInTheFuture": true,
}

// Judge implements proxy.Signer.
func (s *Signer) Judge(resp *http.Response, head []byte) (v signing.Verdict) {
	code := errorCode(resp.Header, head)
	if rejections[code] {
		v.Rejected = true
		return v
	}
	// The answer to a HEAD has no body to tell the code in.
	if clockCodes[code] || code == "" && resp.Request != nil && resp.Request.Method == http.MethodHead {
		v.Resign = s.learn(resp)
	}
	// EC2 says it of session tokens too ("RequestExpired" in its list of error codes): of those, where the time was right.
	v.Rejected = code == "RequestExpired" && !v.Resign
	return v
}

// errorCode is the code of an error, in any of the ways that AWS's protocols have for it; "" for none.
func errorCode(h http.Header, head []byte) string {
	code := h.Get("X-Amzn-Errortype")
	if code == "" {
		code = h.Get("X-Minio-Error-Code") // in the answer to a HEAD
	}
	if code == "" {
		switch head = bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))); {
		case len(head) == 0:
		case head[0] == '<':
			code = xmlCode(head)
		case head[0] == '{':
			code = jsonCode(head)
		default:
			code = cborCode(head)
		}
	}
	// com.amazonaws.dynamodb.v20120810#ExpiredTokenException, ExpiredTokenException:http://internal.amazon.com/…
	code, _, _ = strings.Cut(code, ":")
	return strings.TrimSpace(code[strings.LastIndexByte(code, '#')+1:])
}

// xmlCode is the Code within an Error, wherever that stands, and whatever its namespace. It reads as far as head goes.
func xmlCode(head []byte) string {
	d := xml.NewDecoder(bytes.NewReader(head))
	var path []string
	for {
		token, err := d.RawToken()
		if err != nil {
			return ""
		}
		switch t := token.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
			if len(path) > 8 {
				return ""
			}
		case xml.EndElement:
			path = path[:max(0, len(path)-1)]
		case xml.CharData:
			if n := len(path); n > 1 && path[n-1] == "Code" && path[n-2] == "Error" && len(bytes.TrimSpace(t)) > 0 {
				return string(bytes.TrimSpace(t))
			}
		}
	}
}

// jsonCode is the code of an object, as far as head goes.
func jsonCode(head []byte) string {
	d := json.NewDecoder(bytes.NewReader(head))
	if _, err := d.Token(); err != nil {
		return ""
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return ""
		}
		var value any
		if d.Decode(&value) != nil {
			return ""
		}
		if text, ok := value.(string); ok && (name == "__type" || name == "code" || name == "Code") && text != "" {
			return text
		}
	}
	return ""
}

// cborCode is the __type of a map in CBOR (Smithy's RPC v2), without reading the rest of it: RFC 8949 §3.1, major type 3.
func cborCode(head []byte) string {
	_, rest, ok := bytes.Cut(head, []byte("\x66__type"))
	if !ok || len(rest) < 2 || rest[0]>>5 != 3 {
		return ""
	}
	n := int(rest[0] & 31)
	rest = rest[1:]
	switch {
	case n > 24: // longer than any code, or in pieces
		return ""
	case n == 24: // the length is in the next byte
		n, rest = int(rest[0]), rest[1:]
	}
	if n > len(rest) {
		return ""
	}
	return string(rest[:n])
}
