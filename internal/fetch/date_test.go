package fetch

import (
	"net/http"
	"testing"
	"time"
)

func TestDate(t *testing.T) {
	const date = "Sun, 06 Nov 1994 08:49:37 GMT"
	at := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for name, test := range map[string]struct {
		header http.Header
		want   time.Time
	}{
		"plain":       {http.Header{"Date": {date}}, at},
		"RFC 850":     {http.Header{"Date": {"Sunday, 06-Nov-94 08:49:37 GMT"}}, at},
		"none":        {http.Header{}, time.Time{}},
		"no date":     {http.Header{"Date": {"yesterday"}}, time.Time{}},
		"of a cache":  {http.Header{"Date": {date}, "Age": {"12"}}, time.Time{}},
		"just cached": {http.Header{"Date": {date}, "Age": {"0"}}, time.Time{}},
		"odd Age":     {http.Header{"Date": {date}, "Age": {""}}, time.Time{}},
	} {
		if got := Date(test.header); !got.Equal(test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestHost(t *testing.T) {
	for address, want := range map[string]string{
		"https://IDP.Example/token?x":    "idp.example",
		"https://idp.example:443/":       "idp.example",
		"https://idp.example:80/":        "idp.example:80",
		"https://idp.example:8443":       "idp.example:8443",
		"http://localhost:80/token":      "localhost",
		"http://127.0.0.1:9000":          "127.0.0.1:9000",
		"https://[2001:DB8::1]/token":    "[2001:db8::1]",
		"https://[2001:db8::1]:8443/tok": "[2001:db8::1]:8443",
		"":                               "",
		"://":                            "",
	} {
		if got := Host(address); got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}
