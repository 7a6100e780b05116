package lab_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"freshet.dev/freshet/freshettest"
	"freshet.dev/lab"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	graph         = "https://graph.example/.default"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestEntraRefusesAsEntraDoes(t *testing.T) {
	c := start(t, nil)
	key, foreign := newKey(t), newKey(t)
	c.Register(&key.PublicKey)
	entra := c.Entra(lab.Tenant)
	own := func(k *ecdsa.PrivateKey, change func(*jwt.Claims)) string {
		claims := jwt.Claims{Issuer: c.ClientID, Subject: c.ClientID, Audience: jwt.Audience{entra}, Expiry: in(time.Minute)}
		if change != nil {
			change(&claims)
		}
		return assertion(t, k, jose.ES256, claims)
	}
	federated := func(base, audience string, life time.Duration) string {
		token, err := c.WorkloadToken(base, "pod", audience, life)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	azures := c.post(entra, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret, "scope", lab.AudienceEntra+"/.default").doc["access_token"].(string)

	for _, test := range []struct {
		name, tenant, grant, client, secret, assertion, typ, scope string

		status int
		code   string
		aadsts float64
	}{
		{name: "secret", status: 200},
		{name: "domain for a tenant", tenant: "contoso.example", status: 200},
		{name: "msal's scopes", scope: "openid offline_access profile " + graph, status: 200},
		{name: "own assertion", assertion: own(key, nil), status: 200},
		{name: "federated", assertion: federated(c.base, lab.AudienceEntra, time.Minute), status: 200},
		{name: "no tenant", tenant: "a b", status: 400, code: "invalid_request", aadsts: 900023},
		{name: "common", tenant: "common", status: 400, code: "invalid_request", aadsts: 50059},
		{name: "no grant", grant: "-", status: 400, code: "invalid_request", aadsts: 900144},
		{name: "other grant", grant: "password", status: 400, code: "unsupported_grant_type", aadsts: 70003},
		{name: "unknown client", client: "x", status: 400, code: "unauthorized_client", aadsts: 700016},
		{name: "wrong secret", secret: c.ClientSecret + "x", status: 401, code: "invalid_client", aadsts: 7000215},
		{name: "no secret", secret: "-", status: 401, code: "invalid_client", aadsts: 7000218},
		{name: "no scope", scope: "-", status: 400, code: "invalid_request", aadsts: 900144},
		{name: "a scope that is no resource", scope: "User.Read", status: 400, code: "invalid_scope", aadsts: 1002012},
		{name: "two resources", scope: graph + " https://other.example/.default", status: 400, code: "invalid_scope", aadsts: 1002012},
		{name: "assertion without its type", assertion: own(key, nil), typ: "-", status: 400, code: "invalid_request", aadsts: 900144},
		{name: "foreign key", assertion: own(foreign, nil), status: 401, code: "invalid_client", aadsts: 700027},
		{name: "garbage", assertion: "x.y.z", status: 401, code: "invalid_client", aadsts: 700027},
		{name: "own, expired", assertion: own(key, func(c *jwt.Claims) { c.Expiry = in(-time.Minute) }), status: 401, code: "invalid_client", aadsts: 700024},
		{name: "own, without end", assertion: own(key, func(c *jwt.Claims) { c.Expiry = nil }), status: 401, code: "invalid_client", aadsts: 700024},
		{name: "own, not yet", assertion: own(key, func(c *jwt.Claims) { c.NotBefore = in(30 * time.Second) }), status: 401, code: "invalid_client", aadsts: 700024},
		{name: "own, for another", assertion: own(key, func(c *jwt.Claims) { c.Audience = jwt.Audience{"x"} }), status: 401, code: "invalid_client", aadsts: 700023},
		{name: "own, of another", assertion: own(key, func(c *jwt.Claims) { c.Subject = "x" }), status: 401, code: "invalid_client", aadsts: 700021},
		{name: "federated, expired", assertion: federated(c.base, lab.AudienceEntra, -time.Minute), status: 401, code: "invalid_client", aadsts: 700024},
		{name: "federated, for another", assertion: federated(c.base, "x", time.Minute), status: 401, code: "invalid_client", aadsts: 700212},
		{name: "federated, of another issuer", assertion: federated("http://x", lab.AudienceEntra, time.Minute), status: 401, code: "invalid_client", aadsts: 700211},
		{name: "Entra's own token", assertion: azures, status: 401, code: "invalid_client", aadsts: 700027},
	} {
		t.Run(test.name, func(t *testing.T) {
			given := func(s, otherwise string) string {
				switch s {
				case "":
					return otherwise
				case "-":
					return ""
				}
				return s
			}
			secret, typ := given(test.secret, c.ClientSecret), ""
			if test.assertion != "" {
				secret, typ = "", given(test.typ, assertionType)
			}
			before := c.Count(lab.Entra)
			a := c.post(c.Entra(url.PathEscape(given(test.tenant, lab.Tenant))), "grant_type", given(test.grant, "client_credentials"),
				"client_id", given(test.client, c.ClientID), "client_secret", secret, "client_assertion", test.assertion,
				"client_assertion_type", typ, "scope", given(test.scope, graph))
			if a.status != test.status {
				t.Fatalf("got %d %s, want %d", a.status, a.body, test.status)
			}
			want := before
			if want.Requests++; a.status == 200 {
				want.Granted++
				if claims, _ := c.verified(a.doc["access_token"].(string)); !claims.Audience.Contains("https://graph.example") {
					t.Errorf("got claims %v", claims)
				}
			} else {
				want.Refused++
				codes, _ := a.doc["error_codes"].([]any)
				if a.doc["error"] != test.code || len(codes) != 1 || codes[0] != test.aadsts {
					t.Errorf("got %s, want %s %v", a.body, test.code, test.aadsts)
				}
				for _, name := range []string{"error_description", "timestamp", "trace_id", "correlation_id"} {
					if s, _ := a.doc[name].(string); s == "" {
						t.Errorf("%s is missing in %s", name, a.body)
					}
				}
				freshettest.LeakedSecrets(t, a.body, c.ClientSecret)
			}
			if got := c.Count(lab.Entra); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestEntraAnswersInWholeNumbers(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.Entra: {Lifetime: 20 * time.Minute, RefreshIn: 10 * time.Minute}})
	ask := func() answer {
		return c.post(c.Entra(lab.Tenant), "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret, "scope", graph)
	}
	a := ask()
	for _, want := range []string{`"expires_in":1200`, `"ext_expires_in":1200`, `"refresh_in":600`, `"token_type":"Bearer"`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("got %s, want %s in it", a.body, want)
		}
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got Cache-Control %q", a.header.Get("Cache-Control"))
	}
	if ask().doc["access_token"] == a.doc["access_token"] {
		t.Error("two answers have the same token")
	}
	if err := c.Set(lab.Entra, lab.Settings{}); err != nil {
		t.Fatal(err)
	}
	if a := ask(); a.doc["refresh_in"] != nil || a.doc["expires_in"] != 3600.0 {
		t.Errorf("by default: got %s", a.body)
	}
}

func TestOAuthRefusesAsRFC6749Says(t *testing.T) {
	c := start(t, nil)
	key, foreign := newKey(t), newKey(t)
	c.Register(&key.PublicKey)
	own := func(k *ecdsa.PrivateKey, audience string, life time.Duration) string {
		return assertion(t, k, jose.ES256, jwt.Claims{Issuer: c.ClientID, Subject: c.ClientID, Audience: jwt.Audience{audience}, Expiry: in(life)})
	}
	id, secret := url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret)
	for _, test := range []struct {
		name           string
		user, password string // of Basic
		form           []string
		grant          string
		status         int
		code           string
	}{
		{name: "Basic", user: id, password: secret, status: 200},
		{name: "Basic and its id", user: id, password: secret, form: []string{"client_id", c.ClientID}, status: 200},
		{name: "form", form: []string{"client_id", c.ClientID, "client_secret", c.ClientSecret}, status: 200},
		{name: "assertion", form: []string{"client_assertion_type", assertionType, "client_assertion", own(key, c.OAuthToken, time.Minute)}, status: 200},
		{name: "assertion for the issuer", form: []string{"client_assertion_type", assertionType, "client_assertion", own(key, c.Issuer, time.Minute)}, status: 200},
		{name: "nothing", status: 401, code: "invalid_client"},
		{name: "Basic that is not encoded", user: c.ClientID, password: c.ClientSecret, status: 401, code: "invalid_client"},
		{name: "wrong Basic", user: id, password: "x", status: 401, code: "invalid_client"},
		{name: "Basic of another", user: "x", password: secret, status: 401, code: "invalid_client"},
		{name: "Basic and another id", user: id, password: secret, form: []string{"client_id", "x"}, status: 401, code: "invalid_client"},
		{name: "wrong secret", form: []string{"client_id", c.ClientID, "client_secret", "x"}, status: 401, code: "invalid_client"},
		{name: "two ways", user: id, password: secret, form: []string{"client_secret", c.ClientSecret}, status: 400, code: "invalid_request"},
		{name: "foreign assertion", form: []string{"client_assertion_type", assertionType, "client_assertion", own(foreign, c.OAuthToken, time.Minute)}, status: 401, code: "invalid_client"},
		{name: "expired assertion", form: []string{"client_assertion_type", assertionType, "client_assertion", own(key, c.OAuthToken, -time.Minute)}, status: 401, code: "invalid_client"},
		{name: "assertion for another", form: []string{"client_assertion_type", assertionType, "client_assertion", own(key, "x", time.Minute)}, status: 401, code: "invalid_client"},
		{name: "assertion without its type", form: []string{"client_assertion", own(key, c.OAuthToken, time.Minute)}, status: 401, code: "invalid_client"},
		{name: "no grant", user: id, password: secret, grant: "-", status: 400, code: "invalid_request"},
		{name: "other grant", user: id, password: secret, grant: "password", status: 400, code: "unsupported_grant_type"},
	} {
		t.Run(test.name, func(t *testing.T) {
			grant := test.grant
			if grant = strings.TrimPrefix(grant, "-"); test.grant == "" {
				grant = "client_credentials"
			}
			req := c.form(c.OAuthToken, append(test.form, "grant_type", grant)...)
			if test.user != "" {
				req.SetBasicAuth(test.user, test.password)
			}
			a := c.do(req)
			if a.status != test.status || test.code != "" && a.doc["error"] != test.code {
				t.Errorf("got %d %s, want %d %s", a.status, a.body, test.status, test.code)
			}
			if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
				t.Error("WWW-Authenticate is missing")
			}
			freshettest.LeakedSecrets(t, a.body, c.ClientSecret)
		})
	}
}

// TestTokensMayServeAsWorkloadIdentities takes an OAuth token to Entra and to STS.
func TestTokensMayServeAsWorkloadIdentities(t *testing.T) {
	c := start(t, nil)
	token := func(parameters ...string) string {
		form := append(parameters, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret)
		return c.post(c.OAuthToken, form...).doc["access_token"].(string)
	}
	both := token("audience", lab.AudienceEntra, "resource", lab.AudienceSTS)
	if claims, _ := c.verified(both); len(claims.Audience) != 2 {
		t.Errorf("aud is %v", claims.Audience)
	}
	if claims, _ := c.verified(token()); len(claims.Audience) != 1 || claims.Audience[0] != "lab" {
		t.Errorf("aud is %v", claims.Audience)
	}
	if a := c.post(c.Entra("contoso.example"), "grant_type", "client_credentials", "client_id", c.ClientID,
		"client_assertion", both, "client_assertion_type", assertionType, "scope", graph); a.status != 200 {
		t.Errorf("Entra: got %d %s", a.status, a.body)
	}
	if a := c.post(c.STS, "Action", "AssumeRoleWithWebIdentity", "RoleArn", lab.Role, "RoleSessionName", "me", "WebIdentityToken", both); a.status != 200 {
		t.Errorf("STS: got %d %s", a.status, a.body)
	}
}

// TestTokensLiveAsLongAsTheyAreSaidTo asks within a second: exp is in whole ones.
func TestTokensLiveAsLongAsTheyAreSaidTo(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.OAuth: {Lifetime: time.Second}})
	for range 20 {
		before := time.Now()
		a := c.post(c.OAuthToken, "grant_type", "client_credentials", "client_id", c.ClientID, "client_secret", c.ClientSecret)
		parsed, err := jwt.ParseSigned(a.doc["access_token"].(string), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.Claims
		if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
			t.Fatal(err)
		}
		if exp := claims.Expiry.Time(); exp.Before(before.Add(time.Second)) {
			t.Fatalf("asked at %v, exp is %v", before, exp)
		}
		<-time.After(37 * time.Millisecond)
	}
}

func TestManagedIdentityRefusals(t *testing.T) {
	c := start(t, nil)
	for _, test := range []struct {
		query, header string
		status        int
	}{
		{"?api-version=2019-08-01&resource=r&xms_cc=CP1", c.MSIHeader, 200}, // msal-node adds what it likes
		{"?api-version=2019-08-01&resource=r", "x", 401},
		{"?api-version=2019-08-01&resource=r", "", 401},
		{"?api-version=2017-09-01&resource=r", c.MSIHeader, 400},
		{"?api-version=2019-08-01", c.MSIHeader, 400},
	} {
		req := c.request("GET", c.MSI+test.query, "")
		req.Header.Set("X-IDENTITY-HEADER", test.header)
		a := c.do(req)
		if a.status != test.status || a.status != 200 && (a.doc["statusCode"] != float64(test.status) || a.doc["message"] == "") {
			t.Errorf("%s: got %d %s, want %d", test.query, a.status, a.body, test.status)
		}
		if _, text := a.doc["expires_on"].(string); a.status == 200 && !text {
			t.Errorf("expires_on is no string: %s", a.body)
		}
	}
}
