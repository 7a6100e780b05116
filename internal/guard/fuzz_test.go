package guard

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// FuzzHost holds that what is let through names this machine by a number or by localhost, or a host that was given: no name that
// somebody's DNS can make mean it.
func FuzzHost(f *testing.F) {
	for _, host := range []string{
		"127.0.0.1", "127.0.0.1:80", "[::1]:80", "localhost", "LOCALHOST:1", "", ":80", "gate.internal:1", "[gate.internal]", "192.0.2.7:80",
		"localhost.evil.example", "127.0.0.1.evil.example:80", "[::1%25eth0]", "[[127.0.0.1]]", "::ffff:127.0.0.1", "2130706433", "0x7f.1", "127.1",
		"evil.example:80@127.0.0.1", "localhost:80:80", "\x00localhost",
	} {
		f.Add(host, "Host", "x")
	}
	f.Add("127.0.0.1", "Origin", "")
	f.Add("127.0.0.1", "Sec-Fetch-Site", "none")
	f.Add("127.0.0.1", "X-Forwarded-For", "127.0.0.1")
	passed := false
	h := Handler([]string{"gate.internal"}, deny, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true }))
	f.Fuzz(func(t *testing.T, host, name, value string) {
		header := http.Header{}
		header.Set(name, value)
		passed = false
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: "GET", Host: host, Header: header, Body: http.NoBody})
		if passed != (w.Code == http.StatusOK) {
			t.Fatalf("passed %v with status %d", passed, w.Code)
		}
		if !passed {
			return
		}
		if FromPage(header) || header["Forwarded"] != nil || header["X-Forwarded-For"] != nil {
			t.Errorf("%v is let through", header)
		}
		bare := host
		if h, _, err := net.SplitHostPort(host); err == nil {
			bare = h
		}
		bare = strings.ToLower(strings.Trim(bare, "[]"))
		addr, err := netip.ParseAddr(bare)
		if bare != "localhost" && bare != "gate.internal" && (err != nil || !addr.Unmap().IsLoopback()) {
			t.Errorf("host %q is let through", host)
		}
	})
}
