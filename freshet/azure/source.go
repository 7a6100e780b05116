package azure

import (
	"context"

	"freshet.dev/freshet"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// source is the wrapped credential as freshet sees it.
type source struct {
	inner  azcore.TokenCredential
	target freshet.Target // but for the tenant that a request names
}

// Varies makes a source a [freshet.Varier].
func (s *source) Varies() freshet.Fields {
	return freshet.FieldTenant | freshet.FieldScopes | freshet.FieldClaims | freshet.FieldCAE
}

// Retrieve asks the credential.
func (s *source) Retrieve(ctx context.Context, req freshet.Request) (*freshet.Credential, error) {
	sent := freshet.Now()
	t, err := s.inner.GetToken(ctx, policy.TokenRequestOptions{
		TenantID: req.Tenant, Scopes: req.Scopes, Claims: req.Claims, EnableCAE: req.CAE,
	})
	if err != nil {
		return nil, failure(err, &req)
	}
	v := freshet.Validity{Sent: sent, Expires: t.ExpiresOn}
	if !t.RefreshOn.IsZero() {
		// Credentials have caches of their own, with nothing newer before. One that has passed, of a token that the credential
		// could not refresh, still says when: soon.
		v.RefreshIn, v.NoneSooner = max(1, t.RefreshOn.Add(margin).Sub(sent.Wall())), true
	}
	return freshet.NewBearer(t.Token, "", v)
}
