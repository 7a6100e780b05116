package interop

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"

	"freshet.dev/interop/internal/party"
)

// The names that a request is signed for.
const (
	mcpService = "execute-api"
	mcpRegion  = "eu-central-1"
)

// mcpResource is what the tokens of the Bearer checks are for.
const mcpResource = "urn:freshet:interop:mcp"

// bridge is a daemon with bridges, what they are to reach, and the issuers of what they sign with.
type bridge struct {
	life    time.Duration
	idp     *party.IdP
	keys    jose.JSONWebKeySet
	sts     *issued // nil without SigV4
	daemon  *daemon
	alone   string // a configuration like the daemon's, whose daemon does not run
	secret  string // of the gateways
	gateway string // their address
}

// newBridge starts issuers whose credentials live for so long. signed is whether AWS keys are needed, too.
func newBridge(t *testing.T, life time.Duration, signed bool) *bridge {
	t.Helper()
	b := &bridge{life: life, secret: rand.Text() + rand.Text(), gateway: party.FreeAddress(t)}
	b.idp = party.OIDC(t, party.OIDCConfig{
		TTL:       life,
		Clients:   []party.OIDCClient{party.PostClient("agent", "secret"), party.PostClient("minio", "secret")},
		Audiences: map[string]string{resource: audience, mcpResource: "mcp"},
		Claims:    map[string]any{"policy": "readwrite"},
	})
	b.keys = keysOf(t, b.idp)
	if signed {
		b.sts = watchSTS(t, party.MinIO(t, party.MinIOConfig{OIDCConfigURL: b.idp.ConfigURL(), ClientID: audience}).URL)
	}
	return b
}

// keysOf are those that an issuer publishes.
func keysOf(t *testing.T, idp *party.IdP) (keys jose.JSONWebKeySet) {
	t.Helper()
	resp, err := http.Get(idp.JWKSURL())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&keys); err != nil {
		t.Fatal(err)
	}
	return keys
}

// bearer is a check of tokens before a server.
func (b *bridge) bearer(t *testing.T, server string) *check {
	t.Helper()
	return newCheck(t, server, bearerJudge(b.keys, b.idp.Issuer))
}

// sigv4 is a check of signatures before a server.
func (b *bridge) sigv4(t *testing.T, server string) *check {
	t.Helper()
	return newCheck(t, server, b.sts.judge(mcpService, mcpRegion))
}

// serve starts the daemon. identities and gateways are further ones, indented as a list of each; @SECRET@ in them is the file of the
// gateways' secret, and @LISTEN@ their address.
func (b *bridge) serve(t *testing.T, identities, gateways string) {
	t.Helper()
	dir := t.TempDir()
	configuration := fmt.Sprintf(`
identities:
  token: {source: oauth2, token_url: %[1]s, client_id: agent, auth: post, client_secret: {file: %[2]q}, resource: %[3]s}
`, b.idp.TokenURL(), writeSecret(t, filepath.Join(dir, "client-secret"), "secret"), mcpResource)
	if b.sts != nil {
		configuration += fmt.Sprintf(`
  idp:  {source: oauth2, token_url: %[1]s, client_id: minio, auth: post, client_secret: {file: %[2]q}, resource: %[3]s}
  keys: {source: aws-web-identity, role_arn: "arn:minio:iam:::role/dummy", from: idp, endpoint: %[4]s, region: us-east-1}
`, b.idp.TokenURL(), filepath.Join(dir, "client-secret"), resource, b.sts.URL)
	}
	configuration += identities
	if gateways != "" {
		configuration += "\nmcp:\n" + strings.NewReplacer("@SECRET@", writeSecret(t, filepath.Join(dir, "secret"), b.secret), "@LISTEN@", b.gateway).Replace(gateways)
	}
	b.daemon = serve(t, configuration)
	b.alone = writeSecret(t, filepath.Join(dir, "alone.yaml"), fmt.Sprintf("version: 1\nsocket: {path: %s}\naudit: {file: %s}\n%s",
		filepath.Join(socketDir(t), "none.sock"), filepath.Join(dir, "alone.jsonl"), configuration))
}

// The ways to reach a bridge.
const (
	overDaemon = "stdio with a daemon"
	overAlone  = "stdio without a daemon"
	overHTTP   = "HTTP gateway"
)

// stdio are the settings of an agent that starts freshet itself.
func (b *bridge) stdio(way string, args ...string) agentSettings {
	config := b.daemon.config
	if way == overAlone {
		config = b.alone
	}
	return agentSettings{Command: append([]string{b.daemon.binary, "mcp", "--config", config}, args...), Env: environment(b.daemon.home)}
}

// http are the settings of an agent of a gateway.
func (b *bridge) http(path string) agentSettings {
	return agentSettings{URL: "http://" + b.gateway + path, Headers: map[string]string{"Authorization": "Bearer " + b.secret}}
}

// environment is callerEnv for a client's settings.
func environment(home string) map[string]string {
	env := map[string]string{}
	for _, each := range callerEnv(home) {
		name, value, _ := strings.Cut(each, "=")
		env[name] = value
	}
	return env
}

// relay passes bytes to an address, and keeps those that come back.
type relay struct {
	url string

	mu   sync.Mutex
	kept []byte
}

// newRelay starts one.
func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{}
	r.url = "http://" + accept(t, func(conn net.Conn) {
		up, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(up, conn)
			up.Close()
		}()
		defer up.Close()
		_, _ = io.Copy(io.MultiWriter(conn, r), up)
	})
	return r
}

func (r *relay) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = append(r.kept, p...)
	return len(p), nil
}

func (r *relay) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.kept)
}

var (
	uuids  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	clocks = regexp.MustCompile(`\d{1,2}:\d\d:\d\d( [AP]M)?`)
	// prefixes are what the first SDK puts before the messages of errors, once for each client that an error passes.
	prefixes = regexp.MustCompile(`^(MCP error -?\d+: )+`)
)

// passing are members of a result that say how it was come by, and that only one of the eras has. execution is of the tasks that the
// revision of 2025-11-25 tried, which the Go SDK has not got; elicitationId is gone since.
var passing = []string{"elicitationId", "io.modelcontextprotocol/serverInfo", "io.modelcontextprotocol/subscriptionId", "ttlMs", "cacheScope", "resultType", "execution"}

// defaults are members that mean the same when they are not there.
var defaults = map[string]any{"hasMore": false, "required": false, "mode": "form", "idempotentHint": false, "readOnlyHint": false, "openWorldHint": true, "destructiveHint": true}

// normal is a value without what is another's each time, ids and times, and without what means the same when it is not there.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, each := range v {
			if standard, ok := defaults[key]; !ok || each != standard {
				out[key] = normal(each)
			}
			if schema, ok := out[key].(map[string]any); ok && key == "requestedSchema" {
				delete(schema, "$schema") // the first SDK's clients do not show it
			}
		}
		for _, key := range passing {
			delete(out, key)
		}
		for _, key := range []string{"_meta", "params"} {
			if inner, ok := out[key].(map[string]any); ok && len(inner) == 0 {
				delete(out, key)
			}
		}
		if blob, ok := v["blob"].(string); ok {
			if b, err := base64.StdEncoding.DecodeString(blob); err == nil && utf8.Valid(b) {
				out["blob"] = normal(string(b))
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = normal(v[i])
		}
		return out
	case string:
		// Some tools answer with what they were told, as text: the order of its keys is nobody's.
		if at := strings.IndexByte(v, '{'); at >= 0 {
			var told map[string]any
			if json.Unmarshal([]byte(v[at:]), &told) == nil {
				return normal(v[:at]).(string) + jsonOf(normal(told))
			}
		}
		return clocks.ReplaceAllString(uuids.ReplaceAllString(v, "UUID"), "TIME")
	}
	return v
}

// plain is an outcome made normal. The name of an error's class is the SDK's own, and what it puts before a message.
func (o outcome) plain() any {
	all := map[string]any{"progress": normal(o.Progress)}
	if o.Error != nil {
		all["error"] = map[string]any{"code": o.Error.Code, "message": normal(prefixes.ReplaceAllString(o.Error.Message, "")), "data": normal(o.Error.Data)}
	} else {
		all["result"] = normal(o.Result)
	}
	return all
}

// readFile is what a file holds, or nothing.
func readFile(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}
