package lab

import (
	"net/http"
	"strconv"

	"freshet.dev/internal/guard"
)

// msiToken is App Service's managed identity endpoint, version 2019-08-01.
func (c *Cloud) msiToken(r *request, s Settings) reply {
	q := r.URL.Query()
	resource := q.Get("resource")
	switch {
	case !same(r.Header.Get("X-Identity-Header"), c.credentials.MSIHeader):
		return msiError(http.StatusUnauthorized, "the X-IDENTITY-HEADER is not this app's")
	case q.Get("api-version") != "2019-08-01":
		return msiError(http.StatusBadRequest, "api-version is not 2019-08-01")
	case resource == "":
		return msiError(http.StatusBadRequest, "resource is missing")
	}
	expires := s.expires(r.now())
	token, err := c.azureToken(r, Tenant, resource, expires)
	if err != nil {
		return broken
	}
	doc := map[string]any{
		"access_token": token, "expires_on": strconv.FormatInt(expires.Unix(), 10), "resource": resource, "token_type": "Bearer",
		"client_id": c.credentials.ClientID,
	}
	if s.RefreshIn > 0 {
		doc["refresh_in"] = int64(s.RefreshIn.Seconds())
	}
	return object(200, doc)
}

func msiError(status int, text string) reply {
	return object(status, map[string]any{"statusCode": status, "message": text})
}

// azAnswer is what the lab's az is told.
type azAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresOn   int64  `json:"expires_on"`
	Tenant      string `json:"tenant"`
}

// azToken answers the lab's az.
func (c *Cloud) azToken(r *request, s Settings) reply {
	resource, tenant := r.form.Get("resource"), r.form.Get("tenant")
	if tenant == "" {
		tenant = Tenant
	}
	switch {
	case !bearer(r.Request, guard.NewSecret(c.credentials.AzureCLISecret)):
		return oauthError(401, "invalid_client", "not the az of this lab")
	case resource == "":
		return oauthError(400, "invalid_request", "resource is missing")
	case !isTenant(tenant):
		return oauthError(400, "invalid_request", "not a tenant")
	}
	expires := s.expires(r.now())
	token, err := c.azureToken(r, tenant, resource, expires)
	if err != nil {
		return broken
	}
	return object(200, azAnswer{token, expires.Unix(), tenant})
}
