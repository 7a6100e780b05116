package demo

import (
	"context"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/aws-sdk-go-v2/config"
	"golang.org/x/oauth2/clientcredentials"

	"freshet.dev/freshet/azure"
)

// The clients there are. Each finds its issuer as its SDK does, in its environment, and cannot tell who answers.
const (
	azureCLI        = "azidentity AzureCLICredential"
	managedIdentity = "azidentity ManagedIdentityCredential"
	awsContainer    = "aws-sdk-go-v2 container credentials"
	oauthClient     = "x/oauth2 clientcredentials"
)

// clients make callers, each with a client of its own: name → how.
var clients = map[string]func(ctx context.Context, wrapped bool) (next func() (caller, error)){
	azureCLI: func(_ context.Context, wrapped bool) func() (caller, error) {
		if wrapped { // what is wrapped is there to be shared
			cred, err := azidentity.NewAzureCLICredential(nil)
			if err != nil {
				return func() (caller, error) { return nil, err }
			}
			shared := azure.Wrap(cred)
			return func() (caller, error) { return azureCaller(shared), nil }
		}
		return func() (caller, error) {
			cred, err := azidentity.NewAzureCLICredential(nil)
			return azureCaller(cred), err
		}
	},
	managedIdentity: func(context.Context, bool) func() (caller, error) {
		return func() (caller, error) {
			cred, err := azidentity.NewManagedIdentityCredential(nil)
			return azureCaller(cred), err
		}
	},
	awsContainer: func(ctx context.Context, _ bool) func() (caller, error) {
		return func() (caller, error) {
			cfg, err := config.LoadDefaultConfig(ctx)
			return func(ctx context.Context) error {
				_, err := cfg.Credentials.Retrieve(ctx)
				return err
			}, err
		}
	},
	oauthClient: func(context.Context, bool) func() (caller, error) {
		return func() (caller, error) {
			cfg := &clientcredentials.Config{
				TokenURL: os.Getenv("DEMO_TOKEN_URL"), ClientID: os.Getenv("DEMO_CLIENT_ID"), ClientSecret: os.Getenv("DEMO_CLIENT_SECRET"),
			}
			return func(ctx context.Context) error {
				_, err := cfg.Token(ctx)
				return err
			}, nil
		}
	},
}

// azureCaller asks for what Azure's management SDKs ask for.
func azureCaller(cred azcore.TokenCredential) caller {
	return func(ctx context.Context) error {
		_, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
		return err
	}
}
