package trouble

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"freshet.dev/bench/internal/issuer"
	"freshet.dev/bench/internal/peers"
)

// early is how long before a token's end those replace it who are told to do so early. It is what the AWS SDK's config sets for the
// keys of containers, what azcore and msal-go take for themselves, and what most signers and gateways ask for.
const early = 5 * time.Minute

// awsEarly is AWS's cache where it replaces keys before they have ended.
var awsEarly = variant(peers.AWS, "aws CredentialsCache, ExpiryWindow 5 min",
	"the same with the ExpiryWindow that config sets for a container's keys",
	func(i *issuer.Issuer) (peers.Get, error) {
		cache := aws.NewCredentialsCache(peers.AWSProvider(i), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = early })
		return func(ctx context.Context, _ issuer.Wanted) (string, time.Time, error) {
			c, err := cache.Retrieve(ctx)
			return c.SessionToken, c.Expires, err
		}, nil
	})

// oauth2Early is oauth2's cache where it replaces tokens sooner than 10 s before they end.
var oauth2Early = variant(peers.OAuth2, "oauth2 ReuseTokenSourceWithExpiry, 5 min",
	"the same with an earlyExpiry of 5 minutes in place of 10 s",
	func(i *issuer.Issuer) (peers.Get, error) {
		src := oauth2.ReuseTokenSourceWithExpiry(nil, peers.TokenSource{Issuer: i}, early)
		return func(context.Context, issuer.Wanted) (string, time.Time, error) {
			t, err := src.Token()
			if err != nil {
				return "", time.Time{}, err
			}
			return t.AccessToken, t.Expiry, nil
		}, nil
	})

func variant(of peers.Peer, name, note string, make func(*issuer.Issuer) (peers.Get, error)) peers.Peer {
	of.Name, of.Note, of.New = name, note, make
	return of
}
