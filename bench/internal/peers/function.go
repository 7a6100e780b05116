package peers

import (
	"context"
	"time"

	"cloud.google.com/go/auth"
	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/measure"
)

// AWS is the cache that the AWS SDK's config puts over every provider.
var AWS = Peer{
	Name: "aws CredentialsCache", Role: measure.Peer, Modules: []string{"github.com/aws/aws-sdk-go-v2"},
	Note: "aws.NewCredentialsCache over a provider of one's own, as config makes it",
	New: func(i *issuer.Issuer) (Get, error) {
		cache := aws.NewCredentialsCache(AWSProvider(i))
		return only(Only, func(ctx context.Context) (string, time.Time, error) {
			c, err := cache.Retrieve(ctx)
			return c.SessionToken, c.Expires, err
		}), nil
	},
}

// AWSProvider asks the issuer. The session token is the issuer's.
func AWSProvider(i *issuer.Issuer) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		t, err := i.Token(ctx, Only)
		if err != nil {
			return aws.Credentials{}, err
		}
		return aws.Credentials{
			AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret", SessionToken: t.Secret, CanExpire: true, Expires: t.Expires,
		}, nil
	})
}

// OAuth2 is what golang.org/x/oauth2 gives all its users.
var OAuth2 = Peer{
	Name: "oauth2 ReuseTokenSource", Role: measure.Peer, Modules: []string{"golang.org/x/oauth2"},
	Note: "oauth2.ReuseTokenSource over a TokenSource of one's own; it takes no context",
	New: func(i *issuer.Issuer) (Get, error) {
		src := oauth2.ReuseTokenSource(nil, TokenSource{i})
		return only(Only, func(context.Context) (string, time.Time, error) {
			t, err := src.Token()
			if err != nil {
				return "", time.Time{}, err
			}
			return t.AccessToken, t.Expiry, nil
		}), nil
	},
}

// TokenSource asks the issuer, as an oauth2.TokenSource.
type TokenSource struct{ Issuer *issuer.Issuer }

// Token makes a TokenSource an oauth2.TokenSource, whose contract has no context.
func (s TokenSource) Token() (*oauth2.Token, error) {
	t, err := s.Issuer.Token(context.Background(), Only)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: t.Secret, TokenType: "Bearer", Expiry: t.Expires}, nil
}

// GCP is what Google's clients put over every token provider.
var GCP = Peer{
	Name: "gcp auth cached provider", Role: measure.Peer, Modules: []string{"cloud.google.com/go/auth"},
	Note: "auth.NewCachedTokenProvider over a TokenProvider of one's own",
	New: func(i *issuer.Issuer) (Get, error) {
		p := auth.NewCachedTokenProvider(TokenProvider{i}, nil)
		return only(Only, func(ctx context.Context) (string, time.Time, error) {
			t, err := p.Token(ctx)
			if err != nil {
				return "", time.Time{}, err
			}
			return t.Value, t.Expiry, nil
		}), nil
	},
}

// TokenProvider asks the issuer, as an auth.TokenProvider.
type TokenProvider struct{ Issuer *issuer.Issuer }

// Token makes a TokenProvider an auth.TokenProvider.
func (p TokenProvider) Token(ctx context.Context) (*auth.Token, error) {
	t, err := p.Issuer.Token(ctx, Only)
	if err != nil {
		return nil, err
	}
	return &auth.Token{Value: t.Secret, Type: "Bearer", Expiry: t.Expires}, nil
}
