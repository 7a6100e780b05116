package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"freshet.dev/config"
	"freshet.dev/freshet"
	"freshet.dev/internal/childenv"
	"freshet.dev/internal/field"
	"freshet.dev/internal/wire"
)

// execRoute is what exec's --proxy asks for.
type execRoute struct {
	kind    *childenv.Kind // nil: none is known
	url     *url.URL
	target  childenv.Target
	signing signing
	spec    wire.Proxy
	region  string // of clients of AWS
}

// execRoutes reads --proxy.
func execRoutes(values []string) ([]execRoute, error) {
	var list []execRoute
	for _, value := range values {
		r, err := parseExecRoute(value)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			if r.kind == nil || o.kind == nil || !r.kind.Clashes(o.kind) {
				continue
			}
			e := freshet.Errorf(freshet.Invalid, "--proxy: two of kind %s: a program's variables lead to one", r.kind.Name)
			if o.kind != r.kind {
				e = freshet.Errorf(freshet.Invalid, "--proxy: clients of kind %s and of kind %s read the same variables", o.kind.Name, r.kind.Name)
			}
			return nil, e.WithHint("run the programs apart, or serve the second with freshet proxy")
		}
		list = append(list, r)
	}
	return list, nil
}

// parseExecRoute reads [KIND+]URL=IDENTITY[,KEY=VALUE]...
func parseExecRoute(value string) (r execRoute, err error) {
	refuse := func(format string, a ...any) (execRoute, error) {
		return execRoute{}, freshet.Errorf(freshet.Invalid, "--proxy: %s", fmt.Sprintf(format, a...)).WithHint("write it as https://api.openai.com/v1=IDENTITY")
	}
	address, rest, found := strings.Cut(value, "=")
	options := strings.Split(rest, ",")
	if !found || options[0] == "" {
		return refuse("no identity")
	}
	scheme, _, _ := strings.Cut(address, "://")
	name, _, named := strings.Cut(scheme, "+")
	if named {
		address = address[len(name)+1:]
		if r.kind = childenv.KindNamed(name); r.kind == nil {
			return refuse("unknown kind %q: there are %s", name, strings.Join(childenv.KindNames(), ", "))
		}
	}
	if r.url, err = field.Upstream("--proxy", address); err != nil {
		return execRoute{}, err
	}
	if !named {
		r.kind = childenv.KindOf(r.url.Hostname())
	}
	r.target = childenv.TargetOf(r.kind, r.url)
	r.spec = wire.Proxy{Upstream: r.target.Upstream, Identity: options[0], Paths: r.target.Paths}
	for _, option := range options[1:] {
		key, v, _ := strings.Cut(option, "=")
		to := map[string]*string{
			"signer": &r.signing.Signer, "service": &r.signing.Service, "region": &r.signing.Region, "payload": &r.signing.Payload,
			"header": &r.signing.Header, "tenant": &r.spec.Tenant, "audience": &r.spec.Audience,
		}[key]
		switch {
		case v == "":
			return refuse("%q has no value", option)
		case key == "scope":
			r.spec.Scopes = append(r.spec.Scopes, v)
		case to == nil:
			return refuse("unknown setting %q: there are signer, service, region, payload, header, scope, tenant, audience", key)
		default:
			*to = v
		}
	}
	if k := r.kind; k != nil {
		if r.signing.Header == "" && r.signing.Signer == "" {
			r.signing.Header = k.Header
		}
		if r.signing.Service == "" && (r.signing.Signer == "" || r.signing.Signer == signerAWS) {
			r.signing.Service = k.Service
		}
	}
	if err := r.signing.resolve(); err != nil {
		return refuse("%s", err)
	}
	return r, nil
}

// complete finds the regions, and sets the secret that all of one program's routes share: clients of AWS have one for all services.
func (r *execRoute) complete(cfg *config.File, secret string) error {
	if err := r.signing.place(cfg, r.spec.Identity, r.url); err != nil {
		return err
	}
	if r.kind != nil && r.kind.Service != "" {
		r.region = clientRegion(r.signing.Region, r.target.Region)
		if r.target.Region == "" && r.signing.Region == "" && r.signing.Signer == signerAWS && !ofAWS(r.url.Hostname()) {
			r.signing.Region = r.region
		}
	}
	r.spec.Signer, r.spec.Settings, r.spec.Secret = r.signing.Signer, r.signing.json(), secret
	return nil
}

// routeNames are the routes' identities.
func routeNames(routes []execRoute) []string {
	var names []string
	for _, r := range routes {
		names = append(names, r.spec.Identity)
	}
	return names
}

// childProxies are the routes as their child is to find them.
func childProxies(routes []execRoute, opened []wire.ProxyOpened) []childenv.Proxy {
	var list []childenv.Proxy
	for i, r := range routes {
		list = append(list, childenv.Proxy{
			Identity: r.spec.Identity, Kind: r.kind, URL: opened[i].URL + r.target.Path, Secret: r.spec.Secret, Region: r.region,
		})
	}
	return list
}

// proxyFiles writes the files that routes' clients read, each with what the user's has in front.
func proxyFiles(dir string, proxies []childenv.Proxy) error {
	for i := range proxies {
		p := &proxies[i]
		text, beside := p.Text()
		if text == "" {
			continue
		}
		var users []byte
		if path := os.Getenv(beside); path != "" {
			var err error
			if users, err = os.ReadFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return freshet.Errorf(freshet.Invalid, "$%s: %w", beside, err).WithHint("make the file readable, or unset the variable")
			}
		}
		if len(users) > 0 {
			users = append(users, '\n')
		}
		p.File = filepath.Join(dir, p.Kind.Name)
		if err := os.WriteFile(p.File, append(users, text...), 0o600); err != nil {
			return noRunFolder(err)
		}
	}
	return nil
}

// checkClash refuses a session and a route that would both set the keys of AWS's SDKs.
func checkClash(identities []string, types map[string]freshet.Type, routes []execRoute) error {
	for _, name := range identities {
		for _, r := range routes {
			if types[name] == freshet.AWS && r.kind != nil && r.kind.Service != "" {
				return freshet.Errorf(freshet.Invalid, "exec: the AWS keys of identity %s, and those that stand for a proxy of kind %s, go by the same variables", name, r.kind.Name).
					WithHint("run the programs apart: one exec with the identity, one with --proxy")
			}
		}
	}
	return nil
}

// completeProxy completes exec's --proxy: the kinds, and after the URL the identities.
func (g *global) completeProxy(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	var list []string
	if address, _, found := strings.Cut(typed, "="); found {
		names, directive := g.completeIdentity(c, nil, "")
		for _, name := range names {
			list = append(list, address+"="+name)
		}
		return list, directive
	}
	for _, name := range childenv.KindNames() {
		list = append(list, name+"+https://")
	}
	return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
