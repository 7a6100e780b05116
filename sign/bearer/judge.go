package bearer

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"freshet.dev/internal/signing"
	"freshet.dev/internal/wire"
)

// named are codes by which a service says with a 403, where others send a 401, that it is the credential it refuses.
var named = []string{
	"invalid_token",               // RFC 6750 §3.1, which frameworks put into the body too
	"invalid_api_key",             // OpenAI and those that speak as it does
	"AuthenticationFailed",        // Azure Storage, of a bearer token that has expired or was not meant for it
	"ExpiredTokenException",       // Amazon Bedrock, of an API key, as of a session token
	"UnrecognizedClientException", // likewise, of one that does not exist
}

// Judge reads what the upstream says of the token.
//
// Every 401 refuses it, whatever scheme the challenge names: a request that had credentials and got a 401 was refused for them
// (RFC 9110 §15.5.2), and registries as Artifactory's and GitHub's challenge an expired bearer token to Basic. What a 401 means
// otherwise, that the upstream never accepts this identity, costs a retrieval for each version, of which the cache makes no more
// than it would for callers of its own.
//
// A 403 mostly says that who this is may not do that: a newer token would change nothing. It refuses the token where it says so, by
// RFC 6750's invalid_token or a code that services are known to have for it. A 400 is about the request.
func (s *Signer) Judge(resp *http.Response, head []byte) signing.Verdict {
	challenges := parse(resp.Header.Values("WWW-Authenticate"))
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return signing.Verdict{Rejected: true, Claims: claims(challenges)}
	case http.StatusForbidden:
		for _, c := range challenges {
			if c.bearer() && c.params["error"] == "invalid_token" {
				return signing.Verdict{Rejected: true}
			}
		}
		return signing.Verdict{Rejected: slices.ContainsFunc(codes(resp.Header, head), func(code string) bool {
			return slices.Contains(named, code)
		})}
	}
	return signing.Verdict{}
}

// claims is the first challenge of continuous access evaluation, decoded; "" where there is none that is right. As azcore 1.24 has
// it, only such with this error are meant for a new token.
func claims(challenges []challenge) string {
	for _, c := range challenges {
		if !c.bearer() || c.params["error"] != "insufficient_claims" || c.params["claims"] == "" {
			continue
		}
		if text, err := wire.DecodeClaims(c.params["claims"]); err == nil {
			return text
		}
	}
	return ""
}

// codes are what an answer calls its error: in the headers of Azure Storage and of AWS, and in a JSON body by the keys that OAuth
// and the APIs of OpenAI, Azure and AWS have for it.
func codes(h http.Header, head []byte) []string {
	found := []string{h.Get("X-Ms-Error-Code"), h.Get("X-Amzn-Errortype")}
	var body struct {
		Error json.RawMessage `json:"error"`
		Code  json.RawMessage `json:"code"`
		Type  json.RawMessage `json:"__type"`
	}
	if json.Unmarshal(head, &body) == nil {
		var inner struct {
			Code json.RawMessage `json:"code"`
			Type json.RawMessage `json:"type"`
		}
		_ = json.Unmarshal(body.Error, &inner) // it may be a word itself
		for _, raw := range []json.RawMessage{body.Error, body.Code, body.Type, inner.Code, inner.Type} {
			var word string
			if json.Unmarshal(raw, &word) == nil {
				found = append(found, word)
			}
		}
	}
	for i, code := range found {
		code, _, _ = strings.Cut(code, ":") // ExpiredTokenException:http://internal.amazon.com/coral/…
		found[i] = code[strings.LastIndexByte(code, '#')+1:]
	}
	return found
}
