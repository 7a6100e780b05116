package interop

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"freshet.dev/interop/internal/party"
)

const (
	vault = "https://vault.azure.net/.default"
	arm   = "https://management.core.windows.net//.default" // a resource that ends with a slash
)

// scoped is an identity whose tokens say for what scope they are, as no JWT needs to.
const scoped = `identities:
  dev: {source: process, command: [/bin/echo, "for:{scope}"], lifetime: 1h}
`

// TestAzidentityReadsOurAzAndAzd has azidentity run an az and an azd that freshet answers for.
func TestAzidentityReadsOurAzAndAzd(t *testing.T) {
	freshet, config := build(t), configure(t, scoped)
	bin := script(t, "az", `
for word; do
	case $last in --resource) resource=$word ;; --tenant) tenant=$word ;; esac
	last=$word
done
exec `+freshet+` token --config `+config+` dev --scope "$resource/.default" ${tenant:+--tenant "$tenant"} --format az
`)
	if err := os.WriteFile(filepath.Join(bin, "azd"), []byte(`#!/bin/sh
for word; do
	case $last in --scope) scope=$word ;; --tenant-id) tenant=$word ;; esac
	last=$word
done
exec `+freshet+` token --config `+config+` dev --scope "$scope" ${tenant:+--tenant "$tenant"} --format azd
`), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, zone := range []string{"UTC", "Asia/Kolkata", "America/New_York"} {
		t.Setenv("TZ", zone) // of the child alone
		az, err := azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{AdditionallyAllowedTenants: []string{"*"}})
		if err != nil {
			t.Fatal(err)
		}
		azd, err := azidentity.NewAzureDeveloperCLICredential(&azidentity.AzureDeveloperCLICredentialOptions{AdditionallyAllowedTenants: []string{"*"}})
		if err != nil {
			t.Fatal(err)
		}
		for name, credential := range map[string]azcore.TokenCredential{"az": az, "azd": azd} {
			for _, opts := range []policy.TokenRequestOptions{
				{Scopes: []string{vault}}, {Scopes: []string{arm}}, {Scopes: []string{vault}, TenantID: "contoso.example"},
			} {
				token, err := credential.GetToken(t.Context(), opts)
				if err != nil {
					t.Errorf("%s in %s: %v", name, zone, err)
					continue
				}
				wantToken(t, name+" in "+zone, token, opts.Scopes[0])
			}
		}
	}
}

// wantToken checks that a token is for a scope, and that its reader knows when it ends.
func wantToken(t *testing.T, what string, token azcore.AccessToken, scope string) {
	t.Helper()
	if token.Token != "for:"+scope {
		t.Errorf("%s: got %q, want one for %s", what, token.Token, scope)
	}
	if left := time.Until(token.ExpiresOn); left > time.Hour || left < 50*time.Minute {
		t.Errorf("%s: ends in %v, want an hour", what, left)
	}
}

// TestAzidentityAsksTheAppServiceEndpoint has azidentity find the endpoint by its variables, as on App Service.
func TestAzidentityAsksTheAppServiceEndpoint(t *testing.T) {
	secret, listen, fixed := rand.Text()+rand.Text(), party.FreeAddress(t), party.FreeAddress(t)
	file := writeSecret(t, filepath.Join(t.TempDir(), "secret"), secret)
	const mine = "11111111-2222-3333-4444-555555555555"
	d := serve(t, scoped+fmt.Sprintf(`
endpoints:
  - {endpoint: azure-app-service, listen: %q, identity: dev, secret: {file: %q}}
  - {endpoint: azure-app-service, listen: %q, identity: dev, secret: {file: %q}, client_id: %s}
`, listen, file, fixed, file, mine))
	defer d.stop(t)
	// at points the SDK at an endpoint, with an id or without.
	at := func(t *testing.T, address, secret string, id azidentity.ManagedIDKind) azcore.TokenCredential {
		t.Helper()
		t.Setenv("IDENTITY_ENDPOINT", "http://"+address+"/msi/token")
		t.Setenv("IDENTITY_HEADER", secret)
		c, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	// The SDK keeps tokens by resource for the whole process, so each case asks for its own.
	for name, test := range map[string]struct {
		address string
		id      azidentity.ManagedIDKind
	}{
		"no id": {listen, nil}, "any client id": {listen, azidentity.ClientID("whatever")},
		"no id where there is one": {fixed, nil}, "its client id": {fixed, azidentity.ClientID(strings.ToUpper(mine))},
	} {
		c := at(t, test.address, secret, test.id)
		host := "https://" + strings.ReplaceAll(name, " ", "-") + ".example"
		for _, scope := range []string{host + "/.default", host + "//.default"} {
			token, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{scope}})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			wantToken(t, name, token, scope)
			if !token.RefreshOn.IsZero() && !token.RefreshOn.Before(token.ExpiresOn) {
				t.Errorf("%s: to be refreshed at %v, which is after its end %v", name, token.RefreshOn, token.ExpiresOn)
			}
		}
	}
	// What will not change is not retried, and the SDK's error says what freshet said.
	for why, test := range map[string]struct {
		address, secret string
		id              azidentity.ManagedIDKind
	}{
		"is not this endpoint's secret":         {listen, "wrong", nil},
		"client_id is not that of the identity": {fixed, secret, azidentity.ClientID("another")},
	} {
		c := at(t, test.address, test.secret, test.id)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		_, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://refused.example/.default"}})
		cancel()
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("got %v, want an error that says %q", err, why)
		}
	}
}

// TestExecTellsAzureSDKsOfTheSession looks at what a program is given whose identity is Azure's, and one whose is not.
func TestExecTellsAzureSDKsOfTheSession(t *testing.T) {
	freshet := build(t)
	az := script(t, "az", `echo '{"accessToken": "of-az", "expires_on": '$(($(date +%s) + 3600))', "tokenType": "Bearer"}'`)
	config := configure(t, fmt.Sprintf(`
identities:
  azure: {source: azure-cli, program: %q}
  other: {source: process, command: [/bin/echo, of-another], lifetime: 1h}
`, filepath.Join(az, "az")))
	env := append(callerEnv(t.TempDir()), "XDG_RUNTIME_DIR="+socketDir(t), "IDENTITY_SERVER_THUMBPRINT=x", "CURL="+party.Curl(t))
	got := runToEnd(t, env, freshet, "exec", "--config", config, "other,azure", "--", "/bin/sh", "-c", `
		echo "$AZURE_TOKEN_CREDENTIALS $IDENTITY_SERVER_THUMBPRINT"
		exec "$CURL" --silent --noproxy '*' --header "X-IDENTITY-HEADER: $IDENTITY_HEADER" "$IDENTITY_ENDPOINT?api-version=2019-08-01&resource=x"`)
	if got.code != 0 || !strings.HasPrefix(got.stdout, "ManagedIdentityCredential \n{\"access_token\":\"of-az\",") {
		t.Errorf("exit %d, printed %q\n%s", got.code, got.stdout, got.stderr)
	}
	got = runToEnd(t, env, freshet, "exec", "--config", config, "other", "--", "/usr/bin/env")
	if got.code != 0 || strings.Contains(got.stdout, "IDENTITY_ENDPOINT") || strings.Contains(got.stdout, "AZURE_") || !strings.Contains(got.stdout, "FRESHET_TOKEN_URL=") {
		t.Errorf("an identity that is not Azure's: exit %d, printed %s\n%s", got.code, got.stdout, got.stderr)
	}
}
