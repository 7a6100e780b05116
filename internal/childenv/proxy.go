package childenv

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Kind is a kind of service behind a signing proxy: which variables point its clients at the proxy, and which of the user's would
// win over those or hold a key of its own.
type Kind struct {
	Name string
	// Header is the one that carries the service's API keys, where that is not Authorization.
	Header string
	// Service is what AWS calls the service in signatures; "" where it takes none.
	Service string

	hosts     string // regular expression of the hosts that are known to be of this kind; "" for none
	path      string // of the clients' base URL at such a host, where the URL has none
	needless  string // end of a base URL's path that the clients add themselves
	variables func(p Proxy) map[string]string
	text      func(p Proxy) string // of a file that the clients read too; nil for none
	beside    string               // variable by which the user may have named such a file
	drop      []string             // of the user's; with a * at the end, all that begin so
	fold      bool                 // the clients take the names in any case
}

// Proxy is a route of a signing proxy that a child is to use.
type Proxy struct {
	Identity string
	Kind     *Kind  // nil for a service that no variables are known for
	URL      string // the clients' base URL at the proxy, without a slash at its end
	Secret   string // what the proxy knows its callers by
	Region   string // that clients of AWS sign for
	File     string // path of the file that its kind has, once it is written
}

// Text is what a file of the child's own has to hold, beside what is in the user's, which a variable may name; "" for no file. No
// secret is in it.
func (p Proxy) Text() (text, beside string) {
	if p.Kind == nil || p.Kind.text == nil {
		return "", ""
	}
	return p.Kind.text(p), p.Kind.beside
}

// awsRegion is a region in a host's name.
const awsRegion = `[a-z]{2}(?:-[a-z]+)+-[0-9]+`

// awsHost ends the hosts of AWS's services.
const awsHost = `\.(?:amazonaws\.com(?:\.cn)?|api\.aws)`

// Kinds are those that are known, in the order of their names. Where not said otherwise, a client's variables are those of its own
// source, in the version named.
func Kinds() []*Kind { return kinds() }

var kinds = sync.OnceValue(func() []*Kind {
	// From these an AWS SDK would take other keys than the placeholders; with the last three it pays an endpoint's variable no heed,
	// or refuses it.
	notPlaceholders := slices.Concat(awsVariables, []string{awsBearer + "*", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"})
	return []*Kind{
		{
			// @anthropic-ai/sdk 0.80 sends both headers where both variables are set. It, and Claude Code, which would take its own token,
			// add /v1 themselves.
			Name: "anthropic", Header: "x-api-key", hosts: `api\.anthropic\.com`, needless: "/v1",
			variables: func(p Proxy) map[string]string {
				return map[string]string{"ANTHROPIC_BASE_URL": p.URL, "ANTHROPIC_API_KEY": p.Secret}
			},
			drop: []string{"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"},
		},
		{
			// openai-node 6.49's AzureOpenAI takes OPENAI_BASE_URL before the endpoint, openai-python 2's the token before the key. Both
			// add /openai.
			Name: "azure-openai", hosts: `[^.]+\.(?:openai\.azure|cognitiveservices\.azure|services\.ai\.azure)\.com`, needless: "/openai",
			variables: func(p Proxy) map[string]string {
				return map[string]string{"AZURE_OPENAI_ENDPOINT": p.URL, "AZURE_OPENAI_API_KEY": p.Secret}
			},
			drop: []string{"AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_BASE_URL", "OPENAI_BASE_URL", "OPENAI_API_BASE"},
		},
		{
			// The SDKs of AWS have an endpoint's variable since the summer of 2023 (botocore 1.31, aws-sdk-go-v2 of November). The second
			// is that of @anthropic-ai/bedrock-sdk 0.22, of anthropic for Python, and of Claude Code.
			Name: "bedrock", Service: "bedrock", hosts: `bedrock-runtime(?:-fips)?\.(?P<region>` + awsRegion + `)` + awsHost,
			variables: func(p Proxy) map[string]string {
				return withKeys(p, map[string]string{"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": p.URL, "ANTHROPIC_BEDROCK_BASE_URL": p.URL})
			},
			drop: notPlaceholders,
		},
		{
			// npm 11 finds a registry's token by the registry's URL. A variable of such a name does not survive dash, which runs the
			// scripts of packages on Debian: a file of the least precedence says it, by the name of a variable that does. Without
			// npm_config_replace_registry_host npm would fetch packages from where the upstream says that they are, and not by way of
			// the proxy (pacote 21, RemoteFetcher).
			Name: "npm", fold: true, beside: "npm_config_globalconfig",
			variables: func(p Proxy) map[string]string {
				return map[string]string{
					"npm_config_registry": p.URL + "/", "npm_config_globalconfig": p.File, "npm_config_replace_registry_host": "always",
				}
			},
			text: func(p Proxy) string {
				return strings.TrimPrefix(p.URL, "http:") + "/:_authToken=${FRESHET_PROXY_SECRET}\n"
			},
			drop: []string{"npm_config_registry", "npm_config_globalconfig", "npm_config_replace_registry_host", "npm_config_//*"},
		},
		{
			// openai-python 2 and openai-node 6.49. OPENAI_API_BASE is the same to LangChain and LiteLLM; with OPENAI_API_TYPE the Python
			// module is Azure's client; the admin key is a key.
			Name: "openai", hosts: `api\.openai\.com`, path: "/v1",
			variables: func(p Proxy) map[string]string {
				return map[string]string{"OPENAI_BASE_URL": p.URL, "OPENAI_API_KEY": p.Secret}
			},
			drop: []string{"OPENAI_API_BASE", "OPENAI_API_TYPE", "OPENAI_ADMIN_KEY"},
		},
		{
			// pip takes a loopback address for secure without PIP_TRUSTED_HOST. uv has its variable from 0.4.23 on, and reads the old one too.
			Name: "pip",
			variables: func(p Proxy) map[string]string {
				index := strings.Replace(p.URL, "://", "://freshet:"+p.Secret+"@", 1)
				return map[string]string{"PIP_INDEX_URL": index, "UV_DEFAULT_INDEX": index}
			},
			drop: []string{"UV_INDEX_URL"},
		},
		{
			// Virtual hosts (BUCKET.s3.…), FIPS and dual-stack endpoints, and the old s3-REGION.
			Name: "s3", Service: "s3", hosts: `(?:(?P<bucket>.+)\.)?s3(?:-fips)?(?:\.dualstack)?(?:[.-](?P<region>` + awsRegion + `))?\.amazonaws\.com(?:\.cn)?`,
			variables: func(p Proxy) map[string]string {
				return withKeys(p, map[string]string{"AWS_ENDPOINT_URL_S3": p.URL})
			},
			drop: notPlaceholders,
		},
	}
})

// withKeys adds what a client of AWS signs with: the proxy verifies that signature, and puts its own in its place. botocore reads
// the region's second variable alone, all others the first.
func withKeys(p Proxy, variables map[string]string) map[string]string {
	maps.Copy(variables, map[string]string{"AWS_ACCESS_KEY_ID": "freshet", "AWS_SECRET_ACCESS_KEY": p.Secret})
	if p.Region != "" {
		variables["AWS_REGION"], variables["AWS_DEFAULT_REGION"] = p.Region, p.Region
	}
	return variables
}

// KindNames are the kinds' names.
func KindNames() []string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Name)
	}
	return names
}

// KindNamed returns the kind of a name, or nil.
func KindNamed(name string) *Kind {
	for _, k := range Kinds() {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// KindOf returns the kind that a host is known to be of, or nil.
func KindOf(host string) *Kind {
	for _, k := range Kinds() {
		if k.match(host) != nil {
			return k
		}
	}
	return nil
}

// Target is where a route to a URL leads, and where its clients begin.
type Target struct {
	Upstream string   // scheme and host alone, so that links from one path of the host to another lead through the route too
	Path     string   // of the clients' base URL, without a slash at its end
	Paths    []string // those allowed; none: all
	Region   string   // that the host's name has
}

// TargetOf returns a route's target. kind may be nil.
func TargetOf(kind *Kind, u *url.URL) Target {
	t := Target{Upstream: u.Scheme + "://" + u.Host, Path: strings.TrimRight(u.EscapedPath(), "/")}
	if kind == nil {
		return t
	}
	found := kind.match(u.Hostname())
	t.Region = found["region"]
	if t.Path == "" && found != nil {
		t.Path = kind.path
	}
	if kind.needless != "" {
		t.Path = strings.TrimSuffix(t.Path, kind.needless)
	}
	if bucket := found["bucket"]; bucket != "" {
		// A client that is given an address for an endpoint has the bucket in its path: so has the upstream, and no other bucket is
		// reached through this route.
		t.Upstream = strings.Replace(t.Upstream, u.Host, u.Host[len(bucket)+1:], 1)
		t.Paths = []string{"/" + bucket, "/" + bucket + "/*"}
	}
	return t
}

// match returns the named parts of a host of this kind; nil where it is not known to be.
func (k *Kind) match(host string) map[string]string {
	if k.hosts == "" {
		return nil
	}
	re := regexp.MustCompile(`^(?:` + k.hosts + `)$`)
	found := re.FindStringSubmatch(strings.ToLower(strings.TrimSuffix(host, ".")))
	if found == nil {
		return nil
	}
	parts := make(map[string]string)
	for i, name := range re.SubexpNames() {
		parts[name] = found[i]
	}
	return parts
}

// Clashes reports whether the clients of one kind would take what is set for the other.
func (k *Kind) Clashes(other *Kind) bool {
	return k.Name == other.Name || k.Name == "azure-openai" && other.Name == "openai" || k.Name == "openai" && other.Name == "azure-openai"
}

// drops reports whether a variable of the user's is not for a child of this kind.
func (k *Kind) drops(name string) bool {
	return slices.ContainsFunc(k.drop, func(d string) bool {
		beginning, all := strings.CutSuffix(d, "*")
		part := name
		if all && len(part) > len(beginning) {
			part = part[:len(beginning)]
		}
		return part == beginning || k.fold && strings.EqualFold(part, beginning)
	})
}

// own are the variables by which any program finds the proxy: its first route, and each by its identity.
func own(proxies []Proxy) map[string]string {
	add := make(map[string]string)
	for _, p := range proxies {
		name := "FRESHET_PROXY_URL_" + strings.Map(func(r rune) rune {
			if r = unicode.ToUpper(r); r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
				return r
			}
			return '_'
		}, p.Identity)
		if _, taken := add[name]; !taken {
			add[name] = p.URL
		}
	}
	if len(proxies) > 0 {
		add["FRESHET_PROXY_URL"], add["FRESHET_PROXY_SECRET"] = proxies[0].URL, proxies[0].Secret
	}
	return add
}

// direct has a child that uses a proxy of the network's ask ours directly: it is on this machine.
func direct(environ []string) []string {
	const loopback = "127.0.0.1"
	set := make(map[string]int) // name in capitals → how many, where it is not empty
	for _, kv := range environ {
		if name, value, _ := strings.Cut(kv, "="); value != "" {
			set[strings.ToUpper(name)]++
		}
	}
	if set["HTTP_PROXY"]+set["HTTPS_PROXY"]+set["ALL_PROXY"] == 0 {
		return environ
	}
	out, found := make([]string, 0, len(environ)+1), false
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if strings.EqualFold(name, "NO_PROXY") {
			found = true
			list := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
			switch {
			case len(list) == 0:
				kv = name + "=" + loopback
			case !slices.Contains(list, loopback) && !slices.Contains(list, "*"):
				kv = name + "=" + value + "," + loopback
			}
		}
		out = append(out, kv)
	}
	if !found {
		out = append(out, "NO_PROXY="+loopback, "no_proxy="+loopback)
	}
	return out
}
