package interop

import (
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"freshet.dev/interop/internal/party"
)

// TestMCPInspector has the inspector's CLI list and call tools, over stdio and HTTP. It cannot be told a header, so over HTTP somebody
// else adds the secret of the gateway, as a sidecar would.
func TestMCPInspector(t *testing.T) {
	t.Parallel()
	b := newBridge(t, 30*time.Second, false)
	server, inspector := party.MCPEverything(t), party.MCPInspector(t)
	c := b.bearer(t, server.URL)
	b.serve(t, "", fmt.Sprintf(`
  - {name: tools, listen: "@LISTEN@", secret: {file: "@SECRET@"}, upstreams: [{url: %q, identity: token}]}
`, c.URL))
	gateway, err := url.Parse("http://" + b.gateway)
	if err != nil {
		t.Fatal(err)
	}
	sidecar := httptest.NewServer(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(gateway)
		r.Out.Header.Set("Authorization", "Bearer "+b.secret)
	}})
	t.Cleanup(func() {
		sidecar.CloseClientConnections()
		sidecar.Close()
	})
	// Without capabilities of a client, server-everything has the same tools for all of them.
	a := startAgent(t, "sdk", agentSettings{URL: server.URL, Bare: true})
	want := a.do(t, read("tools/list", nil)).Result
	a.close(t)

	for name, target := range map[string][]string{
		"stdio with a daemon":    b.stdio(overDaemon, c.URL, "--as", "token").Command,
		"stdio without a daemon": b.stdio(overAlone, c.URL, "--as", "token").Command,
		"stdio, by name":         b.stdio(overDaemon, "tools").Command,
		"HTTP":                   {sidecar.URL + "/mcp"},
	} {
		t.Run(name, func(t *testing.T) {
			var listed, called map[string]any
			inspect := func(v any, args ...string) {
				t.Helper()
				runJSON(t, time.Minute, callerEnv(b.daemon.home), slices.Concat(inspector, target[:1], args, []string{"--"}, target[1:]), v)
			}
			inspect(&listed, "--method", "tools/list")
			if got := (outcome{Result: listed}); !reflect.DeepEqual(normal(listed), normal(want)) {
				t.Errorf("tools/list: got %v\n%s", got.names("tools"), difference(normal(listed), normal(want)))
			}
			inspect(&called, "--method", "tools/call", "--tool-name", "get-sum", "--tool-arg", "a=2", "b=3")
			if got := (outcome{Result: called}).text(); got != "The sum of 2 and 3 is 5." {
				t.Errorf("tools/call: got %s", jsonOf(called))
			}
		})
	}
	if strangers := c.strangers(); len(strangers) > 0 {
		t.Errorf("%d requests were not signed as they should be: %q", len(strangers), strangers)
	}
}
