package lab_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"freshet.dev/lab"
)

func TestOAuth2ClientGetsATokenThatThePublishedKeysVerify(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.OAuth: {Lifetime: 10 * time.Minute}})
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		cfg := clientcredentials.Config{
			ClientID: c.ClientID, ClientSecret: c.ClientSecret, TokenURL: c.OAuthToken, AuthStyle: style,
			Scopes: []string{"a", "b"}, EndpointParams: url.Values{"audience": {"https://api.example"}},
		}
		before := time.Now()
		token, err := cfg.Token(t.Context())
		if err != nil {
			t.Fatalf("style %d: %v", style, err)
		}
		if life := token.Expiry.Sub(before); life < 10*time.Minute-time.Second || life > 10*time.Minute+patience {
			t.Errorf("lives %v, want 10m", life)
		}
		claims, all := c.verified(token.AccessToken)
		if claims.Issuer != c.base || !claims.Audience.Contains("https://api.example") || claims.Subject != c.ClientID || all["scope"] != "a b" {
			t.Errorf("got claims %v", all)
		}
		// The token lives at least as long as its reply says.
		if exp := claims.Expiry.Time(); exp.Before(token.Expiry.Truncate(time.Second)) && exp.Before(before.Add(10*time.Minute).Truncate(time.Second)) {
			t.Errorf("exp is %v, before %v", exp, token.Expiry)
		}
	}
	if got, want := c.Count(lab.OAuth), (lab.Count{Requests: 2, Granted: 2, Peak: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// azure is a lab behind TLS, which azidentity insists on, and the options that make its credentials ask there.
func azure(t *testing.T, issuers map[string]lab.Settings) (*cloud, policy.ClientOptions) {
	t.Helper()
	c := newCloud(t, lab.Config{Issuers: issuers})
	server := httptest.NewTLSServer(c.Handler())
	t.Cleanup(server.Close)
	return c.at(server.URL), policy.ClientOptions{
		Cloud:     azcloud.Configuration{ActiveDirectoryAuthorityHost: server.URL},
		Transport: server.Client(),
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}
}

// askAzure asks a credential for a token of a resource.
func askAzure(t *testing.T, cred azcore.TokenCredential, resource string) (azcore.AccessToken, error) {
	t.Helper()
	return cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
}

// newResource is one that nobody has asked for: msal keeps what a managed identity was given for the whole process.
func newResource() string { return "https://" + rand.Text() + ".example" }

func TestAzureClientsGetTokensOfEntra(t *testing.T) {
	settings := map[string]lab.Settings{lab.Entra: {Lifetime: 3 * time.Hour, RefreshIn: time.Hour}}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(*cloud, policy.ClientOptions) (azcore.TokenCredential, error){
		"secret": func(c *cloud, o policy.ClientOptions) (azcore.TokenCredential, error) {
			return azidentity.NewClientSecretCredential(lab.Tenant, c.ClientID, c.ClientSecret,
				&azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
		},
		"federated": func(c *cloud, o policy.ClientOptions) (azcore.TokenCredential, error) {
			return azidentity.NewClientAssertionCredential(lab.Tenant, c.ClientID, func(context.Context) (string, error) {
				return c.WorkloadToken(c.base, "pod", lab.AudienceEntra, time.Minute)
			}, &azidentity.ClientAssertionCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
		},
		"certificate": func(c *cloud, o policy.ClientOptions) (azcore.TokenCredential, error) {
			c.Register(&key.PublicKey)
			return azidentity.NewClientCertificateCredential(lab.Tenant, c.ClientID, []*x509.Certificate{certificate(t, key)}, key,
				&azidentity.ClientCertificateCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, o := azure(t, settings)
			cred, err := make(c, o)
			if err != nil {
				t.Fatal(err)
			}
			before := time.Now()
			resource := newResource()
			token, err := askAzure(t, cred, resource)
			if err != nil {
				t.Fatal(err)
			}
			if life := token.ExpiresOn.Sub(before); life < 3*time.Hour-2*time.Second || life > 3*time.Hour+patience {
				t.Errorf("lives %v, want 3h", life)
			}
			if due := token.RefreshOn.Sub(before); due < time.Hour-2*time.Second || due > time.Hour+patience {
				t.Errorf("is due in %v, want 1h", due)
			}
			if got, want := c.Count(lab.Entra), (lab.Count{Requests: 1, Granted: 1, Peak: 1}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			trust(t, o)
			claims, all := c.verified(token.Token)
			if !claims.Audience.Contains(resource) || all["tid"] != lab.Tenant || claims.Issuer != c.base+"/"+lab.Tenant+"/v2.0" {
				t.Errorf("got claims %v", all)
			}
		})
	}
}

// trust lets the default client talk to a test's TLS server.
func trust(t *testing.T, o policy.ClientOptions) {
	t.Helper()
	old := http.DefaultClient.Transport
	http.DefaultClient.Transport = o.Transport.(*http.Client).Transport
	t.Cleanup(func() { http.DefaultClient.Transport = old })
}

func certificate(t *testing.T, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestAzureClientIsRefusedAWrongSecret(t *testing.T) {
	c, o := azure(t, nil)
	cred, err := azidentity.NewClientSecretCredential(lab.Tenant, c.ClientID, c.ClientSecret+"x",
		&azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := askAzure(t, cred, newResource()); err == nil {
		t.Errorf("got a token until %v", token.ExpiresOn)
	}
	if got, want := c.Count(lab.Entra), (lab.Count{Requests: 1, Refused: 1, Peak: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestManagedIdentityClientGetsAToken(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.ManagedIdentity: {Lifetime: 3 * time.Hour, RefreshIn: time.Hour}})
	t.Setenv("IDENTITY_ENDPOINT", c.MSI)
	t.Setenv("IDENTITY_HEADER", c.MSIHeader)
	for _, name := range []string{"IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET"} {
		t.Setenv(name, "")
		os.Unsetenv(name) // t.Setenv puts it back
	}
	cred, err := azidentity.NewManagedIdentityCredential(nil)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	resource := newResource()
	token, err := askAzure(t, cred, resource)
	if err != nil {
		t.Fatal(err)
	}
	if life := token.ExpiresOn.Sub(before); life < 3*time.Hour-2*time.Second || life > 3*time.Hour+patience {
		t.Errorf("lives %v, want 3h", life)
	}
	if claims, all := c.verified(token.Token); !claims.Audience.Contains(resource) || all["tid"] != lab.Tenant {
		t.Errorf("got claims %v", all)
	}
	if got, want := c.Count(lab.ManagedIdentity), (lab.Count{Requests: 1, Granted: 1, Peak: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAzureCLIClientGetsAToken(t *testing.T) {
	c := start(t, nil)
	dir := lightAz(t, c)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	cred, err := azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: lab.Tenant})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	resource := newResource()
	token, err := askAzure(t, cred, resource)
	if err != nil {
		t.Fatal(err)
	}
	if life := token.ExpiresOn.Sub(before); life < time.Hour-2*time.Second || life > time.Hour+patience {
		t.Errorf("lives %v, want 1h", life)
	}
	if claims, _ := c.verified(token.Token); !claims.Audience.Contains(resource) {
		t.Errorf("got claims %v", claims)
	}
	if got, want := c.Count(lab.AzureCLI), (lab.Count{Requests: 1, Granted: 1, Peak: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// lightAz writes an az that weighs little, and the environment it needs.
func lightAz(t *testing.T, c *cloud) (dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if self, err = filepath.Abs(self); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := lab.WriteAzureCLI(dir, self, c.base, ""); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"FRESHET_LAB": "", "FRESHET_LAB_SECRET": c.AzureCLISecret,
		"FRESHET_LAB_AZ_TIME": "1ms", "FRESHET_LAB_AZ_CPU": "1ms", "FRESHET_LAB_AZ_MEMORY": "64KiB",
	} {
		t.Setenv(name, value)
	}
	return dir
}

// stsClient is a client of the lab's STS that does not retry.
func (c *cloud) stsClient(provider aws.CredentialsProvider) *sts.Client {
	return sts.New(sts.Options{Region: "eu-central-1", BaseEndpoint: &c.STS, Credentials: provider, Retryer: aws.NopRetryer{}})
}

func (c *cloud) longTerm() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, "")
}

// whoami asks STS whom some keys belong to.
func (c *cloud) whoami(keys aws.CredentialsProvider) (string, error) {
	out, err := c.stsClient(keys).GetCallerIdentity(c.t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", err
	}
	return *out.Arn + " " + *out.Account, nil
}

func TestAWSClientsGetKeysThatWork(t *testing.T) {
	const arn = "arn:aws:sts::123456789012:assumed-role/lab/me 123456789012"
	for name, test := range map[string]struct {
		issuer   string
		provider func(*cloud) aws.CredentialsProvider
		want     string
	}{
		"assume role": {lab.STS, func(c *cloud) aws.CredentialsProvider {
			return stscreds.NewAssumeRoleProvider(c.stsClient(c.longTerm()), lab.Role, func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "me" })
		}, arn},
		"web identity": {lab.STS, func(c *cloud) aws.CredentialsProvider {
			return stscreds.NewWebIdentityRoleProvider(c.stsClient(aws.AnonymousCredentials{}), lab.Role, workload{c},
				func(o *stscreds.WebIdentityRoleOptions) { o.RoleSessionName = "me" })
		}, arn},
		"container": {lab.Container, func(c *cloud) aws.CredentialsProvider {
			return endpointcreds.New(c.Container, func(o *endpointcreds.Options) { o.AuthorizationToken = c.ContainerToken })
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, map[string]lab.Settings{test.issuer: {Lifetime: 10 * time.Minute}})
			before := time.Now()
			keys, err := test.provider(c).Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if life := keys.Expires.Sub(before); !keys.CanExpire || life < 10*time.Minute-time.Second || life > 10*time.Minute+patience {
				t.Errorf("live %v, want 10m", life)
			}
			who, err := c.whoami(credentials.StaticCredentialsProvider{Value: keys})
			if err != nil || test.want != "" && who != test.want {
				t.Errorf("got %q, %v, want %q", who, err, test.want)
			}
			if got, want := c.Count(test.issuer), (lab.Count{Requests: 1, Granted: 1, Peak: 1}); got != want {
				t.Errorf("got %+v, want %+v: asking who one is counts for nothing", got, want)
			}
		})
	}
}

// workload is where a web identity token is read from.
type workload struct{ c *cloud }

func (w workload) GetIdentityToken() ([]byte, error) {
	token, err := w.c.WorkloadToken(w.c.base, "job", lab.AudienceSTS, time.Minute)
	return []byte(token), err
}

// TestRolesChain assumes a role with the keys of another.
func TestRolesChain(t *testing.T) {
	c := start(t, nil)
	provider := c.longTerm()
	for _, name := range []string{"first", "path/second"} {
		provider = stscreds.NewAssumeRoleProvider(c.stsClient(provider), "arn:aws:iam::210987654321:role/"+name,
			func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "me" })
	}
	if who, err := c.whoami(provider); err != nil || who != "arn:aws:sts::210987654321:assumed-role/second/me 210987654321" {
		t.Errorf("got %q, %v", who, err)
	}
}
