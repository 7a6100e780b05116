package azure

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"freshet.dev/freshet"
)

// failure is a credential's error, about a request, as freshet has it. Its text becomes the cause: azidentity's quotes the body of
// the answer. The error's type and the answer's status and code are public.
func failure(err error, req *freshet.Request) *freshet.Error {
	if nested, ok := errors.AsType[*freshet.Error](err); ok {
		return &freshet.Error{
			Kind: nested.Kind, Why: nested.Error(), Hint: nested.Hint, RetryAfter: nested.RetryAfter, Status: nested.Status, Cause: err,
		}
	}
	name := fmt.Sprintf("%T", err)
	e := &freshet.Error{Kind: freshet.Unavailable, Why: "credential failed with a " + name, Cause: err}
	if resp := response(err); resp != nil {
		answered(e, resp)
		return e
	}
	switch {
	case is(err, "*azidentity.AuthenticationRequiredError"):
		e.Kind, e.Why = freshet.LoginNeeded, "a user has to log in: call the credential's Authenticate"
	case loginNeeded(e, err.Error(), req):
	case is(err, "*azidentity.credentialUnavailableError"):
		// It lacks what it needs to ask at all, says azidentity: no wait helps.
		e.Kind = freshet.Denied
	}
	return e
}

// answered says what an issuer answered.
func answered(e *freshet.Error, resp *http.Response) {
	e.Status, e.RetryAfter = resp.StatusCode, retryAfter(resp.Header)
	e.Why += fmt.Sprintf(": HTTP %d", resp.StatusCode)
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		e.Kind = freshet.Denied
		if word := word(resp); kinds[word] != "" {
			e.Kind = kinds[word]
			e.Why += " " + word
		}
	}
}

// kinds are the words of Entra's that say more than a status of refusal: RFC 6749 §5.2, and OpenID Connect Core §3.1.2.6 for those
// that only a user can do something about.
var kinds = map[string]freshet.Kind{
	"invalid_grant":           freshet.LoginNeeded,
	"interaction_required":    freshet.LoginNeeded,
	"login_required":          freshet.LoginNeeded,
	"consent_required":        freshet.LoginNeeded,
	"invalid_client":          freshet.Denied,
	"unauthorized_client":     freshet.Denied,
	"temporarily_unavailable": freshet.Unavailable,
}

// word is the error in an answer's body, which is there to be read again afterwards.
func word(resp *http.Response) string {
	if resp.Body == nil {
		return ""
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var said struct {
		Error string `json:"error"`
	}
	if err != nil || json.Unmarshal(body, &said) != nil {
		return ""
	}
	return said.Error
}

// logins are what the command lines that azidentity runs call their logins, and the argument that takes a claims challenge.
var logins = []struct{ command, tenant, claims string }{
	{"az login", " --tenant ", " --claims-challenge CLAIMS"},
	{"azd auth login", " --tenant-id ", ""},
	{"Connect-AzAccount", " -TenantId ", " -ClaimsChallenge CLAIMS"},
}

// outages are errors of Entra's own, which pass, although az offers a login after them as after whatever Entra says.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var outages = []string{
	"AADSTS50196:", "AADSTS90006:", "AADSTS90012:", "AADSTS90024:", "AADSTS90025:", "AADSTS90033:", "AADSTS90036:", "AADSTS90055:",
	"AADSTS900384:",
}

// loginNeeded reports whether an error's text, which for a chain is those of all its links, names a login, and then says so.
func loginNeeded(e *freshet.Error, text string, req *freshet.Request) bool {
	for _, code := range outages {
		if strings.Contains(text, code) {
			return false
		}
	}
	var commands []string
	challenged := false
	for _, l := range logins {
		if !strings.Contains(text, l.command) {
			continue
		}
		command := l.command
		if req.Tenant != "" {
			command += l.tenant + req.Tenant
		}
		if req.Claims != "" && l.claims != "" {
			command += l.claims
			challenged = true
		}
		commands = append(commands, command)
	}
	if commands == nil {
		return false
	}
	e.Kind, e.Hint = freshet.LoginNeeded, "run "+strings.Join(commands, " or ")
	if challenged {
		e.Hint += ", where CLAIMS is what the service sent, in base64"
	}
	e.Why = "login needed: " + e.Hint // shown by SDKs, which know of no hints
	return true
}

// is reports whether an error or one that it wraps is of a type; to ask for azidentity's by name keeps that out, and msal with it.
func is(err error, name string) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if fmt.Sprintf("%T", err) == name {
			return true
		}
	}
	return false
}

// response is the answer that an error is about, or nil. azcore.ResponseError and azidentity.AuthenticationFailedError have it in
// a field of one name; to ask for the latter by its type would bring azidentity, and msal with it, into every program that
// imports this package.
func response(err error) *http.Response {
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.ValueOf(err)
		if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
			continue
		}
		f, ok := v.Elem().Type().FieldByName("RawResponse")
		if !ok || len(f.Index) != 1 || !f.IsExported() {
			continue
		}
		if resp, ok := v.Elem().FieldByIndex(f.Index).Interface().(*http.Response); ok && resp != nil {
			return resp
		}
	}
	return nil
}

// maxRetryAfter bounds how long an issuer can silence us: longer is a mistake.
const maxRetryAfter = time.Hour

// retryAfter is how long an answer asks to be left alone, at most an hour; 0 if it does not say. Azure's services say it in
// milliseconds as well, which azcore prefers; the rest is RFC 9110 §10.2.3. A date counts from the answer's own Date, so that
// neither clock need be right.
func retryAfter(h http.Header) time.Duration {
	for _, in := range []struct {
		name string
		unit time.Duration
	}{{"Retry-After-Ms", time.Millisecond}, {"X-Ms-Retry-After-Ms", time.Millisecond}, {"Retry-After", time.Second}} {
		n, err := strconv.ParseUint(strings.TrimSpace(h.Get(in.name)), 10, 31)
		if err == nil && n > 0 || errors.Is(err, strconv.ErrRange) {
			return min(time.Duration(n)*in.unit, maxRetryAfter)
		}
	}
	at, err := http.ParseTime(h.Get("Retry-After"))
	if err != nil {
		return 0
	}
	from, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		from = freshet.Now().Wall()
	}
	return min(max(0, at.Sub(from)), maxRetryAfter)
}
