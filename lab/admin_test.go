package lab_test

import (
	"encoding/json"
	"net/http/httptest"
	"testing"
	"time"

	"freshet.dev/freshet/freshettest"
	"freshet.dev/lab"
)

func (c *cloud) admin(method, path, token, body string) answer {
	c.t.Helper()
	req := c.request(method, c.Admin+path, body)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return c.do(req)
}

func TestAdminAPIShowsAndChangesIssuers(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.STS: {Latency: time.Millisecond}})
	c.post(c.OAuthToken, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret)
	if a := c.admin("PUT", "/issuers/entra", c.AdminToken, `{"latency":"1s","lifetime":"20m"}`); a.status != 204 {
		t.Errorf("PUT: got %d %s", a.status, a.body)
	}
	a := c.admin("GET", "/issuers", c.AdminToken, "")
	var got map[string]struct {
		Settings lab.Settings
		Count    lab.Count
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
		t.Fatalf("got %d, %v: %s", a.status, err, a.body)
	}
	if len(got) != len(lab.Issuers()) || got[lab.Entra].Settings != (lab.Settings{Latency: time.Second, Lifetime: 20 * time.Minute}) ||
		got[lab.STS].Settings != (lab.Settings{Latency: time.Millisecond}) || got[lab.OAuth].Count != (lab.Count{Requests: 1, Granted: 1, Peak: 1}) {
		t.Errorf("got %s", a.body)
	}
	k := c.Credentials
	freshettest.LeakedSecrets(t, a.body, k.ClientSecret, k.SecretAccessKey, k.MSIHeader, k.ContainerToken, k.AzureCLISecret, k.AdminToken)
	if a := c.admin("POST", "/reset", c.AdminToken, ""); a.status != 204 || c.Count(lab.OAuth) != (lab.Count{}) {
		t.Errorf("reset: got %d, then %+v", a.status, c.Count(lab.OAuth))
	}
}

func TestAdminAPIRefuses(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.Entra: {Latency: time.Millisecond}})
	for _, test := range []struct {
		method, path, token, body string
		status                    int
	}{
		{"GET", "/issuers", "", "", 401},
		{"GET", "/issuers", "x", "", 401},
		{"GET", "/issuers", c.ClientSecret, "", 401},
		{"PUT", "/issuers/entra", "", `{}`, 401},
		{"POST", "/reset", "", "", 401},
		{"PUT", "/issuers/x", c.AdminToken, `{}`, 404},
		{"PUT", "/issuers/entra", c.AdminToken, ``, 400},
		{"PUT", "/issuers/entra", c.AdminToken, `{"latency":1}`, 400},
		{"PUT", "/issuers/entra", c.AdminToken, `{"delay":"1s"}`, 400},
		{"PUT", "/issuers/entra", c.AdminToken, `{"latency":"1h"}`, 400},
		{"GET", "/x", c.AdminToken, "", 404},
	} {
		if a := c.admin(test.method, test.path, test.token, test.body); a.status != test.status {
			t.Errorf("%s %s %s: got %d %s, want %d", test.method, test.path, test.body, a.status, a.body, test.status)
		}
	}
	req := c.request("GET", c.Admin+"/issuers", "")
	req.Header.Set("Authorization", "Basic "+c.AdminToken)
	if a := c.do(req); a.status != 401 {
		t.Errorf("another scheme: got %d", a.status)
	}
}

func TestAdminAPIIsForThisMachine(t *testing.T) {
	c := newCloud(t, lab.Config{AdminToken: "0123456789abcdef0123456789abcdef"})
	for remote, want := range map[string]int{"127.0.0.1:1": 200, "[::1]:1": 200, "pipe": 200, "192.0.2.1:1": 403, "[2001:db8::1]:1": 403} {
		req := httptest.NewRequest("GET", "http://127.0.0.1/admin/issuers", nil)
		req.RemoteAddr = remote
		req.Header.Set("Authorization", "Bearer 0123456789abcdef0123456789abcdef")
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("from %s: got %d, want %d", remote, w.Code, want)
		}
	}
}
