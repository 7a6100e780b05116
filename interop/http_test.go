package interop

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// postForm posts a client_credentials request with the form's parameters, to which edit may add a header.
func postForm(t *testing.T, address string, form url.Values, edit func(*http.Request)) (*http.Response, string) {
	t.Helper()
	full := url.Values{"grant_type": {"client_credentials"}}
	maps.Copy(full, form)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(full.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if edit != nil {
		edit(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// expiry is the exp of a JWT, which nobody has verified.
func expiry(token string) (time.Time, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return time.Time{}, err
	}
	var claims jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return time.Time{}, err
	}
	if claims.Expiry == nil {
		return time.Time{}, errors.New("a token without exp")
	}
	return claims.Expiry.Time(), nil
}
