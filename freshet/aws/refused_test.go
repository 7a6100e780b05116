package aws

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// service is a client of the SDK's and what it asks: the step that signs stands for those from ResolveAuthScheme on. Real clients
// are in examples/adapters.
type service struct {
	keys   aws.CredentialsProvider
	accept string    // the id that it lets in
	code   string    // what it says to others
	body   io.Reader // of requests; nil: none
	clones bool      // requests are replaced before they are signed, as by steps that change the body
	ids    []string  // that signed requests
	bodies []string
}

func (s *service) ask(t *testing.T, options ...func(*middleware.Stack) error) error {
	t.Helper()
	stack := middleware.NewStack("Ask", smithyhttp.NewStackRequest)
	sign := middleware.FinalizeMiddlewareFunc("ResolveAuthScheme", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
		out middleware.FinalizeOutput, meta middleware.Metadata, err error,
	) {
		keys, err := s.keys.Retrieve(ctx)
		if err != nil {
			return out, meta, err
		}
		req := in.Request.(*smithyhttp.Request)
		if s.clones {
			req = req.Clone()
		}
		if req.Header.Get("Authorization") != "" {
			t.Error("a request is signed a second time")
		}
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+keys.AccessKeyID+"/20260101/r/s/aws4_request, SignedHeaders=host")
		req.Header.Set("X-Amz-Security-Token", keys.SessionToken)
		in.Request = req
		return next.HandleFinalize(ctx, in)
	})
	if err := stack.Finalize.Add(sign, middleware.After); err != nil {
		t.Fatal(err)
	}
	for _, option := range options {
		if err := option(stack); err != nil {
			t.Fatal(err)
		}
	}
	if s.body != nil {
		_ = stack.Serialize.Add(middleware.SerializeMiddlewareFunc("body", func(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (
			out middleware.SerializeOutput, meta middleware.Metadata, err error,
		) {
			in.Request, err = in.Request.(*smithyhttp.Request).SetStream(s.body)
			if err != nil {
				return out, meta, err
			}
			return next.HandleSerialize(ctx, in)
		}), middleware.After)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, _, err := middleware.DecorateHandler(middleware.HandlerFunc(s.answer), stack).Handle(ctx, nil)
	return err
}

func (s *service) answer(_ context.Context, in any) (any, middleware.Metadata, error) {
	req := in.(*smithyhttp.Request)
	_, rest, _ := strings.Cut(req.Header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(rest, "/")
	s.ids = append(s.ids, id)
	if body := req.GetStream(); body != nil {
		text, _ := io.ReadAll(body)
		s.bodies = append(s.bodies, string(text))
	}
	if id != s.accept {
		return nil, middleware.Metadata{}, &refusal{s.code}
	}
	return nil, middleware.Metadata{}, nil
}

func TestRefusedCredentialsAreReplaced(t *testing.T) {
	for name, test := range map[string]struct {
		code string
		body io.Reader
		ids  []string // that signed requests
		next string   // who is served afterwards
	}{
		"ExpiredToken":              {"ExpiredToken", nil, []string{"AKIA1", "AKIA2"}, "AKIA2"},
		"InvalidClientTokenId":      {"InvalidClientTokenId", nil, []string{"AKIA1", "AKIA2"}, "AKIA2"},
		"a body":                    {"ExpiredTokenException", strings.NewReader("body"), []string{"AKIA1", "AKIA2"}, "AKIA2"},
		"a body that is gone":       {"ExpiredToken", io.MultiReader(strings.NewReader("body")), []string{"AKIA1"}, "AKIA2"},
		"AccessDenied":              {"AccessDenied", nil, []string{"AKIA1"}, "AKIA1"},
		"SignatureDoesNotMatch":     {"SignatureDoesNotMatch", nil, []string{"AKIA1"}, "AKIA1"},
		"a throttle, for all of it": {"Throttling", nil, []string{"AKIA1"}, "AKIA1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := wrap(t, &fake{})
				s := &service{keys: p, accept: "AKIA2", code: test.code, body: test.body, clones: test.body != nil}
				err := s.ask(t, p.ReplaceRefused)
				if !slices.Equal(s.ids, test.ids) || (err == nil) != (len(test.ids) == 2) {
					t.Errorf("got %v after requests by %q, want them by %q", err, s.ids, test.ids)
				}
				for _, body := range s.bodies {
					if body != "body" {
						t.Errorf("the service got the bodies %q", s.bodies)
					}
				}
				synctest.Wait()
				if got := mustRetrieve(t, p).AccessKeyID; got != test.next {
					t.Errorf("then %s is served, want %s", got, test.next)
				}
			})
		})
	}
}

func TestServiceThatRefusesEverythingIsAskedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := wrap(t, f)
		s := &service{keys: p, code: "ExpiredToken"}
		if err := s.ask(t, p.ReplaceRefused); err == nil || len(s.ids) != 2 {
			t.Errorf("got %v after requests by %q, want the refusal after two", err, s.ids)
		}
		for range 300 {
			_ = s.ask(t, p.ReplaceRefused)
			time.Sleep(100 * time.Millisecond)
		}
		if n := f.calls.Load(); n > 4 {
			t.Errorf("the provider was called %d times in 30 s", n)
		}
	})
}

func TestCredentialsOfOthersAreNotRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := wrap(t, f)
		mustRetrieve(t, p)
		for name, keys := range map[string]aws.Credentials{
			"another id": {AccessKeyID: "AKIA0", SessionToken: sessionToken}, "the same id of another session": {AccessKeyID: "AKIA1", SessionToken: "other"}, "none": {},
		} {
			s := &service{accept: "nobody", code: "ExpiredToken", keys: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil })}
			if err := s.ask(t, p.ReplaceRefused); err == nil || len(s.ids) != 1 {
				t.Errorf("%s: got %v after %d requests", name, err, len(s.ids))
			}
		}
		synctest.Wait()
		wantCalls(t, f, 1)
	})
}

func TestAnswerStandsWhileThereAreNoOtherCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := wrap(t, f)
		mustRetrieve(t, p)
		f.fail(errDown)
		time.Sleep(10 * time.Minute)
		s := &service{keys: p, code: "ExpiredToken"}
		for range 3 {
			began := time.Now()
			err := s.ask(t, p.ReplaceRefused)
			if freshet.AsError(err).Kind != freshet.Unavailable || !strings.Contains(err.Error(), "ExpiredToken") || time.Since(began) > 2*time.Second {
				t.Errorf("got %v after %v, want the service's answer at once", err, time.Since(began))
			}
		}
		if len(s.ids) != 3 {
			t.Errorf("the service was asked %d times, want 3", len(s.ids))
		}
	})
}

func TestStacksThatReplaceRefusedIsPutOn(t *testing.T) {
	stack := middleware.NewStack("Metadata", smithyhttp.NewStackRequest)
	if err := wrap(t, &fake{}).ReplaceRefused(stack); err != nil || len(stack.Finalize.List()) != 0 {
		t.Errorf("a client that does not sign: got %v, %q", err, stack.Finalize.List())
	}
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(t)
		one, err := New(&fake{}, Config{Name: "one", Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		two, err := New(&fake{reply: (&fake{}).other}, Config{Name: "two", Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []*Provider{one, two} {
			s := &service{keys: p, code: "ExpiredToken"}
			if err := s.ask(t, one.ReplaceRefused, two.ReplaceRefused, one.ReplaceRefused); err == nil || len(s.ids) != 2 || s.ids[0] == s.ids[1] {
				t.Errorf("one of two providers: got %v after requests by %q, want two", err, s.ids)
			}
		}
	})
}

// other is a reply with keys of an id that no other fake has.
func (f *fake) other(n int64) (aws.Credentials, error) {
	keys := f.keys(n)
	keys.AccessKeyID = strings.Replace(keys.AccessKeyID, "AKIA", "ASIA", 1)
	return keys, nil
}

func TestInvalidateIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		p := wrap(t, f)
		p.Invalidate() // nothing yet
		wantCalls(t, f, 0)
		mustRetrieve(t, p)
		time.Sleep(10 * time.Minute)
		for range 5 {
			p.Invalidate()
		}
		for _, got := range crowd(20, p) {
			if got.err != nil || got.keys.AccessKeyID != "AKIA2" {
				t.Fatalf("after Invalidate: got %s, %v; want others", got.keys.AccessKeyID, got.err)
			}
		}
		wantCalls(t, f, 2)

		f.fail(errDown)
		time.Sleep(10 * time.Minute)
		p.Invalidate()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		for range 3 {
			began := time.Now()
			if got, err := p.Retrieve(ctx); err != nil || got.AccessKeyID != "AKIA2" || time.Since(began) > 3*time.Second {
				t.Errorf("while there are no others: got %s, %v after %v; want those there are", got.AccessKeyID, err, time.Since(began))
			}
		}
	})
}

func TestRejectedByOthersMakesNobodyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := wrap(t, &fake{takes: time.Second})
		refused := mustRetrieve(t, p)
		time.Sleep(10 * time.Minute)
		p.Reject(refused)
		began := time.Now()
		if got := mustRetrieve(t, p); got.AccessKeyID != refused.AccessKeyID || time.Since(began) != 0 {
			t.Errorf("got %s after %v, want those there are, at once", got.AccessKeyID, time.Since(began))
		}
	})
}

func TestNestedProviderIsNotInvalidatedByARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		inner := wrap(t, f)
		outer := wrap(t, inner)
		mustRetrieve(t, outer)
		time.Sleep(10 * time.Minute)
		outer.Reject(mustRetrieve(t, outer))
		synctest.Wait()
		if a, err := inner.s.handle.Get(t.Context()); err != nil || a.Rejected {
			t.Errorf("the inner one's keys are rejected: %v, %v", a.Rejected, err)
		}
		wantCalls(t, f, 1)
	})
}
