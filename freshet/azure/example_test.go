package azure_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	freshetazure "freshet.dev/freshet/azure"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// cli stands for a credential that takes its time, such as azidentity's AzureCLICredential.
type cli struct{ calls int }

func (c *cli) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.calls++
	return azcore.AccessToken{Token: fmt.Sprint("token-", c.calls), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// Fifty callers at once make one call of the credential. A client takes the wrapped one in its place.
func Example() {
	inner := &cli{}
	cred := freshetazure.Wrap(inner)

	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
			if err != nil {
				fmt.Println(err)
			}
		})
	}
	wg.Wait()
	fmt.Println(inner.calls, "call")
	// Output: 1 call
}

// A claims challenge goes past the token in memory, and its result replaces that for everybody.
func ExampleCredential_GetToken() {
	cred := freshetazure.Wrap(&cli{})
	for _, claims := range []string{"", `{"access_token":{"nbf":{"essential":true,"value":"1726077595"}}}`, ""} {
		t, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{
			Scopes: []string{"https://graph.microsoft.com/.default"}, EnableCAE: true, Claims: claims,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(t.Token)
	}
	// Output:
	// token-1
	// token-2
	// token-2
}
