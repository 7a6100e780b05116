package oauthtoken

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// form is a request's parameters. Those that this dialect does not know are ignored (RFC 6749 §3.2).
type form struct {
	grantType, scope, clientID, clientSecret, audience, resource string
	hasSecret                                                    bool // client_secret is there, if only empty
}

const formType = "application/x-www-form-urlencoded"

// isForm reports whether a request says that its body is a form.
func isForm(contentType string) bool {
	if contentType == formType {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == formType
}

// readForm reads the body's parameters, and none from the URL, where they would end up in logs (§2.3.1). It says why it cannot.
// [http.Request.ParseForm] would do but for the maps that it fills, which cost a tenth of the whole answer.
func readForm(r *http.Request) (f form, why string) {
	b, err := readBody(r)
	if err != nil {
		return f, "the body cannot be read"
	}
	if strings.IndexByte(b, ';') >= 0 {
		return f, "the body is no form"
	}
	escaped := strings.IndexByte(b, '%') >= 0 || strings.IndexByte(b, '+') >= 0
	var seen [6]bool
	for pair := range strings.SplitSeq(b, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if escaped {
			var err1, err2 error
			key, err1 = url.QueryUnescape(key)
			value, err2 = url.QueryUnescape(value)
			if err1 != nil || err2 != nil {
				return f, "the body is no form"
			}
		}
		at, into := f.parameter(key)
		if into == nil {
			continue
		}
		if seen[at] { // §3.2; a second resource (RFC 8707) would be a second audience
			return f, key + " is there more than once"
		}
		seen[at], *into = true, value
		f.hasSecret = f.hasSecret || into == &f.clientSecret
	}
	return f, ""
}

// parameter is the place of a parameter; nil for one that is not known.
func (f *form) parameter(key string) (int, *string) {
	switch key {
	case "grant_type":
		return 0, &f.grantType
	case "scope":
		return 1, &f.scope
	case "client_id":
		return 2, &f.clientID
	case "client_secret":
		return 3, &f.clientSecret
	case "audience":
		return 4, &f.audience
	case "resource":
		return 5, &f.resource
	}
	return 0, nil
}

// readBody reads the body at once where its length is known. The guard has bounded both.
func readBody(r *http.Request) (string, error) {
	if r.ContentLength < 0 {
		b, err := io.ReadAll(r.Body)
		return string(b), err
	}
	b := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, b)
	return string(b), err
}
