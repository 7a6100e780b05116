package lab

import (
	"errors"
	"net/http"
	"strings"
)

// tenantOf is the tenant that a request is about, by the issuer's own idea of one: "" where it has none.
func tenantOf(issuer string, r *request) string {
	switch issuer {
	case Entra:
		return r.PathValue("tenant")
	case AzureCLI:
		if tenant := r.form.Get("tenant"); tenant != "" {
			return tenant
		}
		return Tenant
	case ManagedIdentity:
		return Tenant
	case STS:
		if p := strings.SplitN(r.form.Get("RoleArn"), ":", 6); len(p) == 6 {
			return p[4]
		}
	}
	return ""
}

// checkTenant says whether an issuer can have such a tenant; "" is none.
func checkTenant(issuer, tenant string) error {
	switch {
	case tenant == "":
	case issuer == OAuth || issuer == Container || issuer == OpenAI:
		return errors.New("tenant: this issuer has none; leave it out")
	case issuer == STS && (len(tenant) != 12 || strings.Trim(tenant, "0123456789") != ""):
		return errors.New("tenant: want the role's account, of 12 digits")
	case issuer == ManagedIdentity && tenant != Tenant:
		return errors.New("tenant: this issuer has one alone; leave it out")
	case !isTenant(tenant):
		return errors.New("tenant: want a GUID or a domain")
	}
	return nil
}

// throttled is how an issuer says that too much is asked of it. It says so before it looks at who asks.
func throttled(issuer string, r *request) reply {
	switch issuer {
	case Entra:
		return aadsts(r, 429, "temporarily_unavailable", 90055, "There are too many incoming requests.")
	case STS:
		// AWS's Query services answer 400 to this, not 429 (aws-sdk-go-v2#2481).
		return (&stsError{400, "Throttling", "Rate exceeded"}).reply()
	case ManagedIdentity:
		return msiError(429, "Too many requests")
	case Container:
		return containerError(429, "ThrottlingException", "Rate exceeded")
	case OpenAI:
		return openaiError(429, "requests", "rate_limit_exceeded", "Rate limit reached for requests")
	}
	// RFC 6749 has no word for it: slow_down is RFC 8628's, for devices.
	return oauthError(429, "temporarily_unavailable", "too many requests")
}

// failing is how an issuer says that it is down.
func failing(issuer string, r *request, status int) reply {
	code, aws := "server_error", "InternalFailure"
	if status == http.StatusServiceUnavailable || status == http.StatusOK {
		code, aws = "temporarily_unavailable", "ServiceUnavailable"
	}
	switch issuer {
	case Entra:
		return aadsts(r, status, code, 90033, "A transient error has occurred. Please try again.")
	case STS:
		return (&stsError{status, aws, "The request has failed due to a temporary failure of the server."}).reply()
	case ManagedIdentity:
		return msiError(status, "The service is not available")
	case Container:
		return containerError(status, aws, "The service is not available")
	case OpenAI:
		return openaiError(status, "server_error", nil, "The server had an error while processing your request.")
	}
	return oauthError(status, code, "the server is down")
}
