package peers

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
)

// client is the application's id at Entra.
const client = "00000000-0000-0000-0000-00000000000a"

// MSAL is Microsoft's library beneath azidentity, for who uses it directly.
var MSAL = Peer{
	Name: "msal-go", Role: measure.Peer, Modules: []string{"github.com/AzureAD/microsoft-authentication-library-for-go"},
	Note:   "one confidential client; AcquireTokenByCredential, WithTenantID",
	Scopes: true, Tenants: true,
	New: func(i *issuer.Issuer) (Get, error) {
		c, err := NewMSAL(i)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, w issuer.Wanted) (string, time.Time, error) {
			r, err := c.AcquireTokenByCredential(ctx, []string{w.Scope}, confidential.WithTenantID(w.Tenant))
			return r.AccessToken, r.ExpiresOn, err
		}, nil
	},
}

// NewMSAL returns a client at the tenant of [Only].
func NewMSAL(i *issuer.Issuer, options ...confidential.Option) (confidential.Client, error) {
	secret, err := confidential.NewCredFromSecret("secret")
	if err != nil {
		return confidential.Client{}, err
	}
	options = append(options, confidential.WithHTTPClient(&http.Client{Transport: i}))
	return confidential.New("https://"+issuer.Host+"/"+Only.Tenant, client, secret, options...)
}

// AzIdentity is a service principal of the Azure SDK.
var AzIdentity = Peer{
	Name: "azidentity ClientSecretCredential", Role: measure.Peer, Modules: []string{"github.com/Azure/azure-sdk-for-go/sdk/azidentity"},
	Note:   "one credential, allowed all tenants; GetToken",
	Scopes: true, Tenants: true,
	New: func(i *issuer.Issuer) (Get, error) {
		c, err := NewAzIdentity(i)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, w issuer.Wanted) (string, time.Time, error) {
			t, err := c.GetToken(ctx, policy.TokenRequestOptions{TenantID: w.Tenant, Scopes: []string{w.Scope}})
			return t.Token, t.ExpiresOn, err
		}, nil
	},
}

// NewAzIdentity returns a credential at the tenant of [Only] that may be asked for any other's tokens.
func NewAzIdentity(i *issuer.Issuer) (*azidentity.ClientSecretCredential, error) {
	return azidentity.NewClientSecretCredential(Only.Tenant, client, "secret", &azidentity.ClientSecretCredentialOptions{
		ClientOptions:              policy.ClientOptions{Transport: &http.Client{Transport: i}},
		AdditionallyAllowedTenants: []string{"*"},
	})
}

// BearerTokenPolicy is the cache that every client of the Azure SDK has in its pipeline.
var BearerTokenPolicy = Peer{
	Name: "azcore BearerTokenPolicy", Role: measure.Peer, Modules: []string{"github.com/Azure/azure-sdk-for-go/sdk/azcore"},
	Note: "a pipeline with the policy in front of a credential that keeps nothing; a request each, to a service that answers at once",
	New: func(i *issuer.Issuer) (Get, error) {
		p := NewPipeline(i)
		return only(Only, func(ctx context.Context) (string, time.Time, error) {
			req, err := runtime.NewRequest(ctx, http.MethodGet, "https://service.example/")
			if err != nil {
				return "", time.Time{}, err
			}
			resp, err := p.Do(req)
			if err != nil {
				return "", time.Time{}, err
			}
			_ = resp.Body.Close()
			return strings.TrimPrefix(resp.Request.Header.Get("Authorization"), "Bearer "), time.Time{}, nil
		}), nil
	},
}

// NewPipeline returns a client's pipeline.
func NewPipeline(i *issuer.Issuer) runtime.Pipeline {
	return runtime.NewPipeline("bench", "v0.0.0", runtime.PipelineOptions{
		PerRetry: []policy.Policy{runtime.NewBearerTokenPolicy(TokenCredential{i}, []string{Only.Scope}, nil)},
	}, &policy.ClientOptions{Transport: Service{}})
}

// TokenCredential asks the issuer each time.
type TokenCredential struct{ Issuer *issuer.Issuer }

// GetToken makes a TokenCredential an azcore.TokenCredential.
func (c TokenCredential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	w := issuer.Wanted{Tenant: o.TenantID}
	if w.Tenant == "" {
		w.Tenant = Only.Tenant
	}
	if len(o.Scopes) > 0 {
		w.Scope = o.Scopes[0]
	}
	t, err := c.Issuer.Token(ctx, w)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{Token: t.Secret, ExpiresOn: t.Expires, RefreshOn: t.RefreshAt}, nil
}

// Service answers at once, with nothing.
type Service struct{}

// Do makes a Service a policy.Transporter.
func (Service) Do(req *http.Request) (*http.Response, error) {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Header: make(http.Header), Body: io.NopCloser(strings.NewReader("")), Request: req,
	}, nil
}
