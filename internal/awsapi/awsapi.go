// Package awsapi is what the sources that call an API of AWS have in common: the SDK's clients made without any of the SDK's
// ways to find settings, checks of what roles and sessions may be named, keys out of an STS answer, and failures of which only
// the code gets out.
//
// The clients see no environment, profile or metadata service but what they are given. Their retries are off, since the engine's
// are the only ones; their HTTP client is ours, which hides no Retry-After. They hold no lock while they wait for an answer.
package awsapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch"
)

// Place is where a service is.
type Place struct {
	Region    string // us-east-1 if empty: with an endpoint of one's own it is only a name
	Endpoint  string // address of one's own; empty: the region's
	FIPS      bool
	DualStack bool
}

// DefaultRegion is whose STS knows every role of AWS's public partition.
const DefaultRegion = "us-east-1"

// STS is a client of the STS at a place. It signs nothing unless a call says with which keys.
func (p Place) STS(client *fetch.Client) *sts.Client {
	o := sts.Options{
		Region:       p.Region,
		HTTPClient:   HTTP(client),
		HTTPSignerV4: signer{},
		Credentials:  aws.AnonymousCredentials{},
		Retryer:      aws.NopRetryer{},
	}
	if o.Region == "" {
		o.Region = DefaultRegion
	}
	if p.Endpoint != "" {
		o.BaseEndpoint = aws.String(p.Endpoint)
	}
	if p.FIPS {
		o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
	}
	if p.DualStack {
		o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
	}
	return sts.New(o)
}

// STSHost names the STS at a place, as freshet.Target does: the host that its client dials. It does no I/O.
func (p Place) STSHost() string {
	if p.Endpoint != "" {
		return fetch.Host(p.Endpoint)
	}
	if p.Region == "" {
		p.Region = DefaultRegion
	}
	at, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(context.Background(), sts.EndpointParameters{
		Region: &p.Region, UseFIPS: &p.FIPS, UseDualStack: &p.DualStack,
	})
	if err != nil { // a region that has no such endpoint: its client fails likewise
		return "sts"
	}
	return fetch.Host(at.URI.String())
}

// STSTarget is whom a role's keys are asked of at a place. STS counts its requests by account, and that of the role is the one
// that is known beforehand; roles of MinIO have none.
func (p Place) STSTarget(role string) freshet.Target {
	return freshet.Target{Host: p.STSHost(), Client: Account(role)}
}

// signed makes one call signed with the keys.
func signed(keys freshet.AWSKeys) func(*sts.Options) {
	provider := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{
			AccessKeyID: keys.AccessKeyID, SecretAccessKey: string(keys.SecretAccessKey), SessionToken: string(keys.SessionToken),
		}, nil
	})
	return func(o *sts.Options) { o.Credentials = provider }
}

// signer signs without a memory. The SDK's keeps what it derives from a secret key by the access key's id and the day, so once
// it was given a wrong secret it goes on signing with that for the rest of the day, whatever it is given then (derivedKeyCache
// of aws-sdk-go-v2's aws/signer/internal/v4).
type signer struct{}

func (signer) SignHTTP(ctx context.Context, keys aws.Credentials, r *http.Request, hash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) error {
	return v4.NewSigner().SignHTTP(ctx, keys, r, hash, service, region, at, opts...)
}

// Keys is what STS answered. Its Expiration counts, by STS's own clock: STS ends the keys at that instant, whatever duration was
// asked for. sent is when the request was, and metadata the answer's.
func Keys(c *types.Credentials, user *types.AssumedRoleUser, sent freshet.Instant, metadata middleware.Metadata) (*freshet.Credential, error) {
	switch {
	case c == nil:
		return nil, freshet.Errorf(freshet.Malformed, "sts: answer has no credentials")
	case aws.ToString(c.AccessKeyId) == "", aws.ToString(c.SecretAccessKey) == "", aws.ToString(c.SessionToken) == "":
		return nil, freshet.Errorf(freshet.Malformed, "sts: answer has only a part of the credentials")
	case c.Expiration == nil:
		return nil, freshet.Errorf(freshet.Malformed, "sts: answer does not say when the credentials expire")
	}
	keys := freshet.AWSKeys{
		AccessKeyID:     *c.AccessKeyId,
		SecretAccessKey: freshet.Secret(*c.SecretAccessKey),
		SessionToken:    freshet.Secret(*c.SessionToken),
	}
	if user != nil {
		keys.AccountID = Account(aws.ToString(user.Arn))
	}
	cred, err := freshet.NewAWS(keys, freshet.Validity{Sent: sent, Date: Date(metadata), Expires: *c.Expiration})
	if err != nil {
		return nil, Within("sts", err)
	}
	return cred, nil
}

// Date is the clock of the service that gave an answer; zero where it is not known.
func Date(metadata middleware.Metadata) time.Time {
	if r, ok := awsmiddleware.GetRawResponse(metadata).(*smithyhttp.Response); ok && r != nil {
		return fetch.Date(r.Header)
	}
	return time.Time{}
}

// Within puts a place before an error's text.
func Within(where string, err error) *freshet.Error {
	e := *freshet.AsError(err)
	e.Why = where + ": " + e.Why
	return &e
}

// HTTP makes a client fit for the SDK: every answer is read to its end before the SDK sees it. The SDK closes a request's body
// as soon as the answer's header is there; where net/http has not finished with that body yet, as with a server on this
// machine, it then closes the connection, and what had not been read of the answer is lost.
func HTTP(client *fetch.Client) interface {
	Do(*http.Request) (*http.Response, error)
} {
	return whole{client}
}

type whole struct{ client *fetch.Client }

func (w whole) Do(req *http.Request) (*http.Response, error) {
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
