package lab_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
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
		{"PUT", "/issuers/entra/faults", "", `{"kind":"outage"}`, 401},
		{"PUT", "/issuers/entra/faults", "x", `{"kind":"outage"}`, 401},
		{"PUT", "/issuers/entra/faults", c.ClientSecret, `{"kind":"outage"}`, 401},
		{"DELETE", "/issuers/entra/faults", "", "", 401},
		{"PUT", "/issuers/x/faults", c.AdminToken, `{"kind":"outage"}`, 404},
		{"DELETE", "/issuers/x/faults", c.AdminToken, "", 404},
		{"PUT", "/issuers/entra/faults", c.AdminToken, ``, 400},
		{"PUT", "/issuers/entra/faults", c.AdminToken, `{"kind":"outage"} {}`, 400},
		{"PUT", "/issuers/entra/faults", c.AdminToken, `{"kind":"outage","until":"1h"}`, 400},
		{"PUT", "/issuers/entra/faults", c.AdminToken, `{"kind":"outage","for":600}`, 400},
		{"PUT", "/issuers/entra/faults", c.AdminToken, `{"kind":"outage","for":"25h"}`, 400},
		{"PUT", "/issuers/entra/faults", c.AdminToken, `{"kind":"outage","probability":0}`, 400},
		{"PUT", "/issuers/entra/faults", c.AdminToken, `{"kind":"outage","tenant":"` + strings.Repeat("x", 64<<10) + `"}`, 413},
		{"POST", "/issuers/entra/faults", c.AdminToken, `{"kind":"outage"}`, 405},
	} {
		if a := c.admin(test.method, test.path, test.token, test.body); a.status != test.status {
			t.Errorf("%s %s %s: got %d %s, want %d", test.method, test.path, test.body, a.status, a.body, test.status)
		}
	}
	if on := c.Faults(); len(on) > 0 {
		t.Errorf("got faults %v", on)
	}
	req := c.request("GET", c.Admin+"/issuers", "")
	req.Header.Set("Authorization", "Basic "+c.AdminToken)
	if a := c.do(req); a.status != 401 {
		t.Errorf("another scheme: got %d", a.status)
	}
}

func TestAdminAPIPutsShowsAndEndsFaults(t *testing.T) {
	c := start(t, nil)
	for path, body := range map[string]string{
		"/issuers/entra/faults": `{"kind":"outage","how":"5xx","status":500,"for":"20m","probability":1,"seed":3}`,
		"/issuers/sts/faults":   `{"kind":"throttle","tenant":"123456789012","retry_after":"30s"}`,
	} {
		if a := c.admin("PUT", path, c.AdminToken, body); a.status != 204 {
			t.Errorf("PUT %s: got %d %s", path, a.status, a.body)
		}
	}
	if got := c.status(c.wants(lab.Entra)); got != 500 {
		t.Errorf("got %d", got)
	}
	var got map[string]lab.IssuerStatus
	a := c.admin("GET", "/issuers", c.AdminToken, "")
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	entra, sts := got[lab.Entra], got[lab.STS]
	if len(entra.Faults) != 1 || entra.Faults[0].Fault != (lab.Fault{Kind: lab.Outage, How: "5xx", Status: 500, For: 20 * time.Minute, Probability: 1, Seed: 3}) ||
		entra.Faults[0].Left > 20*time.Minute || entra.Faults[0].Left < 19*time.Minute || entra.Faults[0].Touched != 1 || entra.Count.Faults.Outage != 1 {
		t.Errorf("entra: got %+v", entra)
	}
	if len(sts.Faults) != 1 || sts.Faults[0].For != 10*time.Minute || sts.Faults[0].How != "seconds" || sts.Faults[0].Requests != 0 || len(got[lab.OAuth].Faults) != 0 {
		t.Errorf("sts: got %+v", sts)
	}
	if !strings.Contains(a.body, `"count":{"requests":1,"granted":0,"refused":0,"peak":1,"faults":{"outage":1}}`) || strings.Contains(a.body, `"faults":null`) {
		t.Errorf("got %s", a.body)
	}
	k := c.Credentials
	freshettest.LeakedSecrets(t, a.body, k.ClientSecret, k.SecretAccessKey, k.MSIHeader, k.ContainerToken, k.AzureCLISecret, k.AdminToken)
	for _, test := range []struct {
		path string
		left int // issuers with faults
	}{
		{"/issuers/sts/faults?tenant=210987654321", 2}, {"/issuers/sts/faults?tenant=123456789012", 1}, {"/issuers/sts/faults", 1}, {"/issuers/entra/faults", 0},
	} {
		if a := c.admin("DELETE", test.path, c.AdminToken, ""); a.status != 204 || len(c.Faults()) != test.left {
			t.Errorf("DELETE %s: got %d, with %v left", test.path, a.status, c.Faults())
		}
	}
	// Counts stay when faults end, and go with a reset.
	if n := c.Count(lab.Entra); n.Faults.Outage != 1 {
		t.Errorf("got %+v", n)
	}
	c.Reset()
	if n := c.Count(lab.Entra); n != (lab.Count{}) {
		t.Errorf("after a reset: got %+v", n)
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
