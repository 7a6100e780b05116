package bearer

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"freshet.dev/freshet"
	"freshet.dev/internal/field"
)

// Config is the settings of a signer. The zero value puts credentials into Authorization.
type Config struct {
	Header string `yaml:"header" json:"header,omitempty" doc:"header that carries the credential, as api-key or x-api-key, bare; default: Authorization, after its scheme"`
}

// taken are headers that have a meaning of their own to HTTP: a credential in one of them would not arrive, or do something else.
var taken = []string{
	"Accept", "Cache-Control", "Connection", "Cookie", "Date", "Expect", "Forwarded", "Host", "Http2-Settings", "Keep-Alive", "Origin",
	"Range", "Referer", "Set-Cookie", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "Via", "Www-Authenticate",
}

// takenBy are beginnings of such headers' names.
var takenBy = []string{"Accept-", "Access-Control-", "Content-", "If-", "Proxy-", "Sec-", "X-Forwarded-"}

// tchar are the characters of a header's name (RFC 9110 §5.6.2).
const tchar = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// maxHeader is longer than any header's name, and short enough for an error's text.
const maxHeader = 64

// Check says what is wrong with the settings, as a field error.
func (c Config) Check() error {
	const help = "write the one that the service documents, as api-key; Authorization needs no mention"
	name := http.CanonicalHeaderKey(c.Header)
	switch {
	case strings.Trim(c.Header, tchar) != "" || len(c.Header) > maxHeader:
		return &field.Error{Field: "header", Why: "not the name of a header", Help: help}
	case slices.Contains(taken, name), slices.ContainsFunc(takenBy, func(s string) bool { return strings.HasPrefix(name, s) }):
		return &field.Error{Field: "header", Why: "a header that carries no credential", Help: help}
	}
	return nil
}

// invalid is an error of the settings as one of the library's.
func invalid(err error) *freshet.Error {
	e := &freshet.Error{Kind: freshet.Invalid, Why: err.Error(), Cause: err}
	if f, ok := errors.AsType[*field.Error](err); ok {
		e.Hint = f.Help
	}
	return e
}
