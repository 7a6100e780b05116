package lab

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/freshet/freshettest"
	"freshet.dev/internal/field"
)

func newSource(t *testing.T, cfg Config) *Source {
	t.Helper()
	src, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestConformance(t *testing.T) {
	for _, typ := range []string{typeBearer, typeAWS} {
		t.Run(typ, func(t *testing.T) {
			const key = "planted-key-0123456789abcdefghij"
			none := "nobody is asked, so nobody answers wrongly"
			freshettest.Source(t, freshettest.SourceSuite{
				New: func(t *testing.T, u freshettest.Upstream) (freshet.Source, any) {
					cfg := Config{Type: typ, Lifetime: field.Duration(time.Hour)}
					if u == freshettest.Hang {
						cfg.Latency = field.Duration(time.Hour)
					}
					src := newSource(t, cfg)
					// The suite's good issuer gives everybody the same.
					src.key = []byte(key)
					src.next = func(time.Time) version { return version{"ABCDEFGHIJKLMNOPQRSTUVWXYZ", time.Unix(1e9, 0)} }
					return src, cfg
				},
				Secrets: []string{key},
				Absent: map[freshettest.Upstream]string{
					freshettest.Garbage: none, freshettest.Empty: none, freshettest.Huge: none, freshettest.Expired: none,
					freshettest.Century: none, freshettest.Failing: none, freshettest.Throttled: none,
				},
			})
		})
	}
}

// claims are a token's.
func claims(t *testing.T, c *freshet.Credential) map[string]any {
	t.Helper()
	parts := strings.Split(c.Token(), ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %d parts", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBearerSaysWhatWasAsked(t *testing.T) {
	src := newSource(t, Config{Type: typeBearer, Lifetime: field.Duration(20 * time.Minute)})
	before := time.Now()
	c, err := src.Retrieve(t.Context(), freshet.Request{Tenant: "contoso", Scopes: []string{"b", "a", "b"}, Audience: "https://api.example"})
	if err != nil {
		t.Fatal(err)
	}
	got := claims(t, c)
	if got["tid"] != "contoso" || got["scope"] != "a b" || got["aud"] != "https://api.example" {
		t.Errorf("got %v", got)
	}
	if c.Type() != freshet.Bearer || c.Lifetime() != 20*time.Minute || !slices.Equal(c.Audience(), []string{"https://api.example"}) {
		t.Errorf("got %v, which lives %v, for %v", c, c.Lifetime(), c.Audience())
	}
	if exp := int64(got["exp"].(float64)); exp < before.Add(20*time.Minute).Unix() || exp > time.Now().Add(20*time.Minute).Unix()+1 {
		t.Errorf("exp is %d", exp)
	}
	plain, err := src.Retrieve(t.Context(), freshet.Request{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tid", "scope", "aud"} {
		if v, ok := claims(t, plain)[name]; ok {
			t.Errorf("%s is %v though nothing was asked", name, v)
		}
	}
	if plain.Fingerprint() == c.Fingerprint() {
		t.Error("two credentials are one")
	}
}

func TestKeysLookLikeAWSOwn(t *testing.T) {
	src := newSource(t, Config{Type: typeAWS})
	seen := make(map[string]bool)
	for range 3 {
		c, err := src.Retrieve(t.Context(), freshet.Request{Tenant: "a"})
		if err != nil {
			t.Fatal(err)
		}
		k := c.AWS()
		if c.Type() != freshet.AWS || len(k.AccessKeyID) != 20 || !strings.HasPrefix(k.AccessKeyID, "ASIA") || len(k.SecretAccessKey) != 40 || k.SessionToken == "" {
			t.Errorf("got %v with key %q", c, k.AccessKeyID)
		}
		if c.Lifetime() != time.Hour {
			t.Errorf("lives %v, want 1h by default", c.Lifetime())
		}
		seen[c.Fingerprint()] = true
	}
	if len(seen) != 3 {
		t.Errorf("three retrievals gave %d versions", len(seen))
	}
}

func TestWhatItVariesBy(t *testing.T) {
	for typ, want := range map[string]freshet.Fields{
		typeBearer: freshet.FieldTenant | freshet.FieldScopes | freshet.FieldAudience, typeAWS: freshet.FieldTenant,
	} {
		if got := newSource(t, Config{Type: typ}).Varies(); got != want {
			t.Errorf("%s: got %v, want %v", typ, got, want)
		}
	}
}

// TestTarget: what befalls one lab does not count against another.
func TestTarget(t *testing.T) {
	one, other := newSource(t, Config{Type: typeAWS}), newSource(t, Config{Type: typeAWS})
	req := freshet.Request{Tenant: "contoso"}
	if got := one.Target(req); got.Host != "lab" || got.Tenant != "contoso" || got != one.Target(req) || got == other.Target(req) {
		t.Errorf("got %v, and %v of another", got, other.Target(req))
	}
}

func TestLatencyAndRefreshInHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := freshet.NewCache(freshet.CacheConfig{})
		src := newSource(t, Config{Type: typeBearer, Latency: field.Duration(2 * time.Second), RefreshIn: field.Duration(time.Minute)})
		id, err := cache.Add(freshet.IdentityConfig{Name: "x", Source: src})
		if err != nil {
			t.Fatal(err)
		}
		get := func() freshet.Answer {
			t.Helper()
			a, err := id.Get(t.Context(), freshet.Request{})
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		began := time.Now()
		first := get()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %v, want 2s", took)
		}
		time.Sleep(2 * time.Minute) // past its refresh_in
		get()
		time.Sleep(time.Minute)
		if again := get(); again.Credential.Fingerprint() == first.Credential.Fingerprint() {
			t.Error("it was not replaced at its refresh_in")
		}
		if err := cache.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestBadSettings(t *testing.T) {
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "type: missing"},
		{Config{Type: "basic"}, "type: not a type that it gives"},
		{Config{Type: typeAWS, Lifetime: field.Duration(time.Millisecond)}, "lifetime: want 1s to 10 years"},
		{Config{Type: typeAWS, Lifetime: field.Duration(11 * 365 * 24 * time.Hour)}, "lifetime: want 1s to 10 years"},
		{Config{Type: typeAWS, RefreshIn: field.Duration(time.Hour)}, "refresh_in: want less than the lifetime"},
		{Config{Type: typeAWS, Lifetime: field.Duration(time.Minute), RefreshIn: field.Duration(2 * time.Minute)}, "refresh_in: want less than the lifetime"},
	} {
		src, err := New(test.cfg)
		if src != nil || !errors.Is(err, freshet.Invalid) || err.Error() != test.want {
			t.Errorf("%+v: got %v, want %q", test.cfg, err, test.want)
		}
	}
	if got := fmt.Sprint(newSource(t, Config{Type: typeAWS})); got != "lab(aws)" {
		t.Errorf("prints as %q", got)
	}
}
