package azure

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"freshet.dev/freshet"
)

// failure is a credential's error as freshet has it. Its text becomes the cause: azidentity's quotes the body of the answer. The
// error's type and the answer's status are public.
func failure(err error) *freshet.Error {
	if nested, ok := errors.AsType[*freshet.Error](err); ok {
		return &freshet.Error{Kind: nested.Kind, Why: nested.Error(), Hint: nested.Hint, RetryAfter: nested.RetryAfter, Cause: err}
	}
	name := fmt.Sprintf("%T", err)
	e := &freshet.Error{Kind: freshet.Unavailable, Why: "credential failed with a " + name, Cause: err}
	if name == "*azidentity.AuthenticationRequiredError" {
		e.Kind = freshet.LoginNeeded
	}
	if resp := response(err); resp != nil {
		e.Why = fmt.Sprintf("credential failed with a %s: HTTP %d", name, resp.StatusCode)
		e.RetryAfter = retryAfter(resp.Header)
		switch resp.StatusCode {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
			e.Kind = freshet.Denied
		}
	}
	return e
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

// retryAfter reads RFC 9110 §10.2.3; 0 where there is none.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(freshet.Now().Wall()))
	}
	return 0
}
