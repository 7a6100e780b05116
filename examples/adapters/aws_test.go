package adapters

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	freshetaws "freshet.dev/freshet/aws"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// One line after loading; every client made of cfg then shares what is retrieved. The providers that are loaded make no retries of
// their own: freshet does.
func Example_aws() {
	calls := 0
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithRegion("eu-central-1"),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithCredentialsProvider(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			calls++
			return aws.Credentials{
				AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "secret", SessionToken: "token",
				CanExpire: true, Expires: time.Now().Add(time.Hour),
			}, nil
		})))
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg.Credentials = freshetaws.Wrap(cfg.Credentials)
	cfg.Retryer = nil // clients made from here on retry as usual

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

// What config loads is a cache that holds keys until they end. A refused one still has to go.
func TestReplaceGoesThroughTheConfigurationsCache(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "keys")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	count := filepath.Join(dir, "count")
	write(script, fmt.Sprintf(`#!/bin/sh
echo x >>%[1]s
printf '{"Version":1,"AccessKeyId":"AKIA%%s","SecretAccessKey":"s","SessionToken":"t","Expiration":"%[2]s"}' $(wc -l <%[1]s)
`, count, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
	write(filepath.Join(dir, "config"), "[default]\nregion = eu-central-1\ncredential_process = "+script+"\n")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "none"))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_PROFILE", "")

	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	provider := freshetaws.Wrap(cfg.Credentials)
	first, err := provider.Retrieve(t.Context())
	if err != nil || first.AccessKeyID != "AKIA1" || first.Source != "ProcessProvider" {
		t.Fatalf("got %s of %s, %v", first.AccessKeyID, first.Source, err)
	}
	if second, err := provider.Replace(t.Context(), first); err != nil || second.AccessKeyID != "AKIA2" {
		t.Errorf("after a refusal: got %s, %v; want others", second.AccessKeyID, err)
	}
}
