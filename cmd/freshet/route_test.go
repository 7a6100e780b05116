package main

import (
	"slices"
	"strings"
	"testing"

	"freshet.dev/config"
)

// placed is an identity's settings that say where its profile or role calls AWS from.
type placed struct{ profile, region, fallback string }

func (p *placed) AWSPlace() (profile, region, fallback string) {
	return p.profile, p.region, p.fallback
}

// TestRouteIsReadWhole is the table of what exec's --proxy asks for.
func TestRouteIsReadWhole(t *testing.T) {
	t.Setenv("AWS_CONFIG_FILE", "/nowhere")
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	cfg := &config.File{Identities: []config.Identity{
		{Name: "prod", Source: "aws-profile", Settings: &placed{region: "eu-north-1"}},
		{Name: "role", Source: "aws-role", From: "prod", Settings: &placed{}},
		{Name: "token", Source: "oauth2", From: "prod"},
		{Name: "script", Source: "process"},
	}}
	for _, test := range []struct {
		value, upstream, signer, settings, region string
		paths                                     []string
	}{
		{value: "https://api.openai.com/v1=script", upstream: "https://api.openai.com"},
		{value: "https://api.anthropic.com=script", upstream: "https://api.anthropic.com", signer: "bearer", settings: `{"header":"x-api-key"}`},
		{value: "https://api.anthropic.com=token,header=Authorization", upstream: "https://api.anthropic.com", signer: "bearer", settings: `{"header":"Authorization"}`},
		{value: "https://mine.openai.azure.com=script,header=api-key", upstream: "https://mine.openai.azure.com", signer: "bearer", settings: `{"header":"api-key"}`},
		{value: "https://s3.us-west-2.amazonaws.com=prod", upstream: "https://s3.us-west-2.amazonaws.com", signer: "sigv4", settings: `{"service":"s3"}`, region: "us-west-2"},
		{value: "https://b.s3.us-west-2.amazonaws.com=prod", upstream: "https://s3.us-west-2.amazonaws.com", signer: "sigv4", settings: `{"service":"s3"}`,
			region: "us-west-2", paths: []string{"/b", "/b/*"}},
		{value: "https://s3.amazonaws.com=prod", upstream: "https://s3.amazonaws.com", signer: "sigv4", settings: `{"service":"s3"}`, region: "us-east-1"},
		{value: "s3+http://127.0.0.1:9000=prod", upstream: "http://127.0.0.1:9000", signer: "sigv4", settings: `{"service":"s3","region":"eu-north-1"}`, region: "eu-north-1"},
		{value: "s3+http://127.0.0.1:9000=role", upstream: "http://127.0.0.1:9000", signer: "sigv4", settings: `{"service":"s3","region":"eu-north-1"}`, region: "eu-north-1"},
		{value: "s3+http://127.0.0.1:9000=script", upstream: "http://127.0.0.1:9000", signer: "sigv4", settings: `{"service":"s3","region":"us-east-1"}`, region: "us-east-1"},
		{value: "s3+http://127.0.0.1:9000=prod,region=ap-south-1,payload=unsigned", upstream: "http://127.0.0.1:9000", signer: "sigv4",
			settings: `{"service":"s3","region":"ap-south-1","payload":"unsigned"}`, region: "ap-south-1"},
		{value: "https://abc.execute-api.eu-west-1.amazonaws.com/live=prod", upstream: "https://abc.execute-api.eu-west-1.amazonaws.com"},
		{value: "https://gateway.example=prod,service=execute-api", upstream: "https://gateway.example", signer: "sigv4", settings: `{"service":"execute-api","region":"eu-north-1"}`},
		{value: "https://gateway.example=prod", upstream: "https://gateway.example", signer: "sigv4", settings: `{"region":"eu-north-1"}`},
		{value: "https://gateway.example=token", upstream: "https://gateway.example"},
		{value: "https://gateway.example=prod,signer=bearer", upstream: "https://gateway.example", signer: "bearer"},
	} {
		routes, err := execRoutes([]string{test.value})
		if err != nil {
			t.Errorf("%s: %v", test.value, err)
			continue
		}
		r := routes[0]
		if err := r.complete(cfg, "the-secret"); err != nil {
			t.Errorf("%s: %v", test.value, err)
		}
		if s := r.spec; s.Upstream != test.upstream || s.Signer != test.signer || string(s.Settings) != test.settings || r.region != test.region || !slices.Equal(s.Paths, test.paths) ||
			s.Secret != "the-secret" || s.Listen != "" {
			t.Errorf("%s: got %+v with settings %s and region %q, want %+v", test.value, s, s.Settings, r.region, test)
		}
	}
	routes, err := execRoutes([]string{"https://a.example=x,tenant=t,scope=s1,scope=s2,audience=a", "https://b.example=x"})
	if err != nil {
		t.Fatal(err)
	}
	if s := routes[0].spec; len(routes) != 2 || s.Identity != "x" || s.Tenant != "t" || s.Audience != "a" || !slices.Equal(s.Scopes, []string{"s1", "s2"}) {
		t.Errorf("got %+v", s)
	}
}

// TestMistakenRouteShowsNoPassword: what is wrong with a URL may be that a password is in it.
func TestMistakenRouteShowsNoPassword(t *testing.T) {
	for _, value := range []string{"https://me:planted@a.example=x", "https://a.example/?key=planted", "https://a.example#planted=x", "", "=x", "a.example=x", "https://a.example=,header=x"} {
		_, err := execRoutes([]string{value})
		if err == nil || hintOf(err) == "" || strings.Contains(err.Error()+hintOf(err), "planted") {
			t.Errorf("%q: got %v", value, err)
		}
		if code := exitCode(err); err != nil && code != 2 {
			t.Errorf("%q: exit code %d", value, code)
		}
	}
}

// TestRegionOfAClientIsSaidSomewhere: without one, most clients of AWS do nothing.
func TestRegionOfAClientIsSaidSomewhere(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "eu-west-3")
	if got := clientRegion("", ""); got != "eu-west-3" {
		t.Errorf("got %q", got)
	}
	t.Setenv("AWS_REGION", "eu-west-2")
	for want, candidates := range map[string][]string{"eu-west-2": {"", ""}, "a": {"a", "b"}, "b": {"", "b"}} {
		if got := clientRegion(candidates...); got != want {
			t.Errorf("%q: got %q, want %q", candidates, got, want)
		}
	}
}
