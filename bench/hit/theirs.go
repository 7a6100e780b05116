package hit

import (
	"context"
	"net/http"
	"strings"

	"cloud.google.com/go/auth"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
	"freshet.dev/bench/internal/peers"
)

// onePeers are the peers, each called directly.
func onePeers() []measure.Subject {
	return []measure.Subject{
		of(peers.AWS, hitAWS), of(peers.OAuth2, hitOAuth2), of(peers.GCP, hitGCP), of(peers.MSAL, hitMSAL),
		of(peers.AzIdentity, hitAzIdentity), of(peers.BearerTokenPolicy, hitPolicy),
		{
			Name: "azcore pipeline alone", Role: measure.Floor, Modules: peers.BearerTokenPolicy.Modules,
			Note: "the same requests without BearerTokenPolicy: what of its time is not the token's", Start: pipelineAlone,
		},
	}
}

// of is a peer as a subject that makes its calls itself.
func of(p peers.Peer, start func(*measure.Setup, *issuer.Issuer) (measure.Round, error)) measure.Subject {
	return measure.Subject{
		Name: p.Name, Role: p.Role, Modules: p.Modules, Note: p.Note,
		Start: func(s *measure.Setup) (measure.Round, error) { return start(s, opened(s)) },
	}
}

func hitAWS(s *measure.Setup, i *issuer.Issuer) (measure.Round, error) {
	cache := aws.NewCredentialsCache(peers.AWSProvider(i))
	ctx := context.Background()
	return once(s, i, func(n int) (last string, err error) {
		for range n {
			keys, err := cache.Retrieve(ctx)
			if err != nil {
				return "", err
			}
			last = keys.SessionToken
		}
		return last, nil
	})
}

func hitOAuth2(s *measure.Setup, i *issuer.Issuer) (measure.Round, error) {
	src := oauth2.ReuseTokenSource(nil, peers.TokenSource{Issuer: i})
	return once(s, i, func(n int) (last string, err error) {
		for range n {
			t, err := src.Token()
			if err != nil {
				return "", err
			}
			last = t.AccessToken
		}
		return last, nil
	})
}

func hitGCP(s *measure.Setup, i *issuer.Issuer) (measure.Round, error) {
	p := auth.NewCachedTokenProvider(peers.TokenProvider{Issuer: i}, nil)
	ctx := context.Background()
	return once(s, i, func(n int) (last string, err error) {
		for range n {
			t, err := p.Token(ctx)
			if err != nil {
				return "", err
			}
			last = t.Value
		}
		return last, nil
	})
}

func hitMSAL(s *measure.Setup, i *issuer.Issuer) (measure.Round, error) {
	c, err := peers.NewMSAL(i)
	if err != nil {
		return nil, err
	}
	ctx, scopes, tenant := context.Background(), []string{peers.Only.Scope}, confidential.WithTenantID(peers.Only.Tenant)
	return once(s, i, func(n int) (last string, err error) {
		for range n {
			r, err := c.AcquireTokenByCredential(ctx, scopes, tenant)
			if err != nil {
				return "", err
			}
			last = r.AccessToken
		}
		return last, nil
	})
}

func hitAzIdentity(s *measure.Setup, i *issuer.Issuer) (measure.Round, error) {
	c, err := peers.NewAzIdentity(i)
	if err != nil {
		return nil, err
	}
	ctx, o := context.Background(), policy.TokenRequestOptions{TenantID: peers.Only.Tenant, Scopes: []string{peers.Only.Scope}}
	return once(s, i, func(n int) (last string, err error) {
		for range n {
			t, err := c.GetToken(ctx, o)
			if err != nil {
				return "", err
			}
			last = t.Token
		}
		return last, nil
	})
}

func hitPolicy(s *measure.Setup, i *issuer.Issuer) (measure.Round, error) {
	p := peers.NewPipeline(i)
	return once(s, i, func(n int) (string, error) {
		last, err := requests(p, n)
		return strings.TrimPrefix(last, "Bearer "), err
	})
}

func pipelineAlone(s *measure.Setup) (measure.Round, error) {
	p := runtime.NewPipeline("bench", "v0.0.0", runtime.PipelineOptions{}, &policy.ClientOptions{Transport: peers.Service{}})
	return loop(s, func(n int) error {
		_, err := requests(p, n)
		return err
	}, nil), nil
}

// requests makes n requests, and returns the last one's Authorization.
func requests(p runtime.Pipeline, n int) (last string, err error) {
	ctx := context.Background()
	for range n {
		req, err := runtime.NewRequest(ctx, http.MethodGet, "https://service.example/")
		if err != nil {
			return "", err
		}
		resp, err := p.Do(req)
		if err != nil {
			return "", err
		}
		_ = resp.Body.Close()
		last = resp.Request.Header.Get("Authorization")
	}
	return last, nil
}
