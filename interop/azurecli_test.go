package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"freshet.dev/interop/internal/party"
)

// TestAzureCLIThatIsLoggedOut asks freshet for a token of a real az that nobody has logged in: the answer is what to do.
func TestAzureCLIThatIsLoggedOut(t *testing.T) {
	az, freshet := party.AzureCLI(t), build(t)
	dir := t.TempDir()
	config := configure(t, fmt.Sprintf(`
identities:
  named: {source: azure-cli, program: %q, config_dir: %q}
  found: {source: azure-cli}
  bound: {source: azure-cli, subscription: My subscription}
`, az, dir))
	env := append(callerEnv(t.TempDir()), "AZURE_CONFIG_DIR="+t.TempDir())
	path := "PATH=" + filepath.Dir(az) + ":" + os.Getenv("PATH")
	for _, test := range []struct {
		args []string
		hint string
	}{
		{[]string{"named"}, "run AZURE_CONFIG_DIR=" + dir + " az login"},
		{[]string{"found"}, "run az login"},
		{[]string{"bound"}, "run az login"},
		{[]string{"found", "--tenant", "contoso.example", "--scope", "https://vault.azure.net/.default"}, "run az login --tenant contoso.example --scope https://vault.azure.net/.default"},
		{[]string{"found", "--scope", "https://graph.microsoft.com/User.Read", "--scope", "https://graph.microsoft.com/Mail.Read"},
			"run az login --scope https://graph.microsoft.com/Mail.Read https://graph.microsoft.com/User.Read"},
		{[]string{"found", "--claims", "eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="}, "run az login --claims-challenge CLAIMS"},
	} {
		got := runToEnd(t, append(env, path), append([]string{freshet, "token", "--config", config}, test.args...)...)
		if got.code != 3 || got.stdout != "" || !strings.Contains(got.stderr, "\nhint: "+test.hint) {
			t.Errorf("%q: exit %d, printed %q\n%s\nwant exit 3 and a hint %q", test.args, got.code, got.stdout, got.stderr, test.hint)
		}
	}
	// Without az anywhere it is the machine that wants something else.
	empty := script(t, "nothing", "")
	got := runToEnd(t, append(env, "PATH="+empty), freshet, "token", "--config", config, "found")
	if got.code != 2 || !strings.Contains(got.stderr, "apt-get install azure-cli") {
		t.Errorf("without az: exit %d\n%s\nwant exit 2 and how to install it", got.code, got.stderr)
	}
}
