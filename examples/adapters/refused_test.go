package adapters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	freshetaws "freshet.dev/freshet/aws"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// stsServer answers for AWS STS in memory: it lets in those whose access key id it likes.
type stsServer struct {
	mu     sync.Mutex
	likes  string
	status int // of a refusal
	code   string
	wait   string   // x-amz-retry-after
	bodies []string // of the requests
}

func (s *stsServer) RoundTrip(req *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(req.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies = append(s.bodies, string(body))
	status, text := http.StatusOK, `<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`
	header := http.Header{"Content-Type": {"text/xml"}}
	if s.likes == "" || !strings.Contains(req.Header.Get("Authorization"), "Credential="+s.likes+"/") {
		status, text = s.status, `<ErrorResponse><Error><Type>Sender</Type><Code>`+s.code+`</Code><Message>hunter2-hunter2</Message></Error></ErrorResponse>`
		if s.wait != "" {
			header.Set("X-Amz-Retry-After", s.wait)
		}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(text)), Request: req}, nil
}

// client is a configuration for that service, with keys whose every retrieval brings others.
func (s *stsServer) client() (aws.Config, *int) {
	n := 0
	return aws.Config{
		Region: "eu-central-1", HTTPClient: &http.Client{Transport: s},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			n++
			return aws.Credentials{
				AccessKeyID: fmt.Sprint("AKIA", n), SecretAccessKey: "secret", SessionToken: fmt.Sprint("session-", n),
				CanExpire: true, Expires: time.Now().Add(time.Hour),
			}, nil
		}),
	}, &n
}

// Two lines more, and a session that a service ends early is replaced under all who use it.
func Example_awsRefused() {
	service := &stsServer{likes: "AKIA2", status: http.StatusForbidden, code: "ExpiredToken"}
	cfg, _ := service.client()
	provider := freshetaws.Wrap(cfg.Credentials)
	cfg.Credentials = provider
	cfg.APIOptions = append(cfg.APIOptions, provider.ReplaceRefused)

	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(context.Background(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(*who.Account)
	// Output: 123456789012
}

func TestClientsReplaceWhatAServiceRefuses(t *testing.T) {
	for name, retryer := range map[string]func() aws.Retryer{"the SDK's retries": nil, "no retries": func() aws.Retryer { return aws.NopRetryer{} }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := &stsServer{likes: "AKIA1", status: http.StatusForbidden, code: "ExpiredToken"}
				cfg, retrieved := service.client()
				cfg.Retryer = retryer
				provider := freshetaws.Wrap(cfg.Credentials)
				cfg.Credentials = provider
				plain := sts.NewFromConfig(cfg)
				cfg.APIOptions = append(cfg.APIOptions, provider.ReplaceRefused)
				client := sts.NewFromConfig(cfg)
				crowd := func(client *sts.Client) (failed int) {
					errs := make(chan error, 20)
					for range cap(errs) {
						go func() {
							_, err := client.GetCallerIdentity(t.Context(), nil)
							errs <- err
						}()
					}
					for range cap(errs) {
						if <-errs != nil {
							failed++
						}
					}
					return failed
				}
				if failed := crowd(client); failed != 0 || *retrieved != 1 {
					t.Fatalf("%d of 20 failed with good credentials, which were retrieved %d times", failed, *retrieved)
				}
				service.likes = "AKIA2"
				if failed := crowd(plain); failed != 20 {
					t.Errorf("%d of 20 failed without ReplaceRefused: the SDK does more by itself than is said", failed)
				}
				time.Sleep(10 * time.Minute)
				if failed := crowd(client); failed != 0 || *retrieved != 2 {
					t.Errorf("%d of 20 failed, and credentials were retrieved %d times; want none, and twice", failed, *retrieved)
				}
				for _, body := range service.bodies {
					if body != service.bodies[0] || body == "" {
						t.Errorf("a request's body is %q, another's %q", body, service.bodies[0])
					}
				}
			})
		})
	}
}

func TestServicesAnswerStandsWhereItIsAboutSomethingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := &stsServer{likes: "AKIA2", status: http.StatusForbidden, code: "AccessDenied"}
		cfg, retrieved := service.client()
		provider := freshetaws.Wrap(cfg.Credentials)
		cfg.Credentials = provider
		cfg.APIOptions = append(cfg.APIOptions, provider.ReplaceRefused)
		_, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
		synctest.Wait()
		if err == nil || *retrieved != 1 || len(service.bodies) != 1 {
			t.Errorf("got %v after %d requests with %d credentials, want the refusal after one with one", err, len(service.bodies), *retrieved)
		}
	})
}

// role is a provider of a role's credentials, whose client makes no retries of its own: freshet does, and keeps to what the issuer
// says of them for all callers.
func role(service *stsServer) aws.CredentialsProvider {
	cfg, _ := service.client()
	client := sts.NewFromConfig(cfg, func(o *sts.Options) { o.Retryer = aws.NopRetryer{} })
	return stscreds.NewAssumeRoleProvider(client, "arn:aws:iam::123456789012:role/r")
}

func TestThrottledSTSIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := &stsServer{status: http.StatusBadRequest, code: "Throttling", wait: "2500"}
		_, err := freshetaws.Wrap(role(service)).Retrieve(t.Context())
		got := freshet.AsError(err)
		if got == nil || got.Kind != freshet.Unavailable || got.Status != http.StatusTooManyRequests ||
			got.RetryAfter <= 2*time.Second || got.RetryAfter > 2500*time.Millisecond {
			t.Errorf("got %v, status %d, retry after %v; want what the issuer said", err, got.Status, got.RetryAfter)
		}
		if len(service.bodies) != 1 || strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("got %v after %d requests, want one", err, len(service.bodies))
		}
	})
}

func TestSSOSessionThatIsOverNamesTheLogin(t *testing.T) {
	provider := ssocreds.New(nil, "123456789012", "role", "https://example.awsapps.com/start", func(o *ssocreds.Options) {
		o.CachedTokenFilepath = t.TempDir() + "/none.json"
	})
	_, err := freshetaws.Wrap(provider).Retrieve(t.Context())
	if !errors.Is(err, freshet.LoginNeeded) || !strings.Contains(fmt.Sprint(err), "run aws sso login") {
		t.Errorf("got %v, want an error of kind login needed that names aws sso login", err)
	}
}

// What LoadDefaultConfig makes of a profile hands its Retryer to the clients that it asks STS with.
func TestRetriesOfAConfigurationAreThoseOfItsProviders(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	text := "[default]\nregion = eu-central-1\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\n" +
		"[profile base]\naws_access_key_id = AKIA0\naws_secret_access_key = secret\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "none"))
	service := &stsServer{status: http.StatusServiceUnavailable, code: "ServiceUnavailable"}
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithHTTPClient(&http.Client{Transport: service}),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.Credentials.Retrieve(t.Context()); err == nil || len(service.bodies) != 1 {
		t.Errorf("got %v after %d requests, want an error after one", err, len(service.bodies))
	}
}
