package aws_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	freshetaws "freshet.dev/freshet/aws"
	"github.com/aws/aws-sdk-go-v2/aws"
)

// Fifty callers at once make one call of the provider. In a program cfg comes from config.LoadDefaultConfig.
func Example() {
	calls := 0
	cfg := aws.Config{Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		calls++
		return aws.Credentials{
			AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "secret", SessionToken: "token",
			CanExpire: true, Expires: time.Now().Add(time.Hour),
		}, nil
	})}
	cfg.Credentials = freshetaws.Wrap(cfg.Credentials)

	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := cfg.Credentials.Retrieve(context.Background()); err != nil {
				fmt.Println(err)
			}
		})
	}
	wg.Wait()
	fmt.Println(calls, "call")
	// Output: 1 call
}

// A caller whose keys a service refused with ExpiredToken waits for others; those who ask meanwhile do not.
func ExampleProvider_Replace() {
	n := 0
	provider := freshetaws.Wrap(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		n++
		return aws.Credentials{
			AccessKeyID: fmt.Sprint("key-", n), SecretAccessKey: "secret", SessionToken: "token",
			CanExpire: true, Expires: time.Now().Add(time.Hour),
		}, nil
	}))
	ctx := context.Background()
	keys, err := provider.Retrieve(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("a service refuses", keys.AccessKeyID)
	keys, err = provider.Replace(ctx, keys)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("and is sent", keys.AccessKeyID)
	// Output:
	// a service refuses key-1
	// and is sent key-2
}
