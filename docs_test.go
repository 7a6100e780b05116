package freshet_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"freshet.dev/config"
	"freshet.dev/daemon"
)

var update = flag.Bool("update", false, "rewrite docs/config.md's tables")

// marker separates docs/config.md's prose from its tables, which are made of the structs that read the file.
const marker = "<!-- what follows is made of the structs: go test -run TestConfigDocument . -update -->\n"

func TestConfigDocumentListsEveryKey(t *testing.T) {
	const path = "docs/config.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	prose, tables, ok := strings.Cut(string(text), marker)
	if !ok {
		t.Fatalf("%s has no line %q", path, marker)
	}
	want := keyTables()
	if *update {
		if err := os.WriteFile(path, []byte(prose+marker+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if tables != want {
		t.Errorf("%s differs from the structs: run go test -run TestConfigDocument . -update", path)
	}
}

// keyTables renders every key of the configuration, a table for what all files have and one for each source, endpoint and
// signer.
func keyTables() string {
	var b bytes.Buffer
	kind := "\x00"
	for _, k := range config.Keys(daemon.Kinds()) {
		if k.Kind != kind {
			kind = k.Kind
			switch {
			case kind == "":
				b.WriteString("\n## Every file\n")
			case strings.HasPrefix(k.Path, "endpoints"):
				fmt.Fprintf(&b, "\n## Endpoint `%s`\n", kind)
			case strings.HasPrefix(k.Path, "proxies"):
				fmt.Fprintf(&b, "\n## Signer `%s`\n", kind)
			default:
				fmt.Fprintf(&b, "\n## Source `%s`\n", kind)
			}
			b.WriteString("\n| key | is | meaning |\n|---|---|---|\n")
		}
		what := k.Type
		if len(k.Values) > 0 {
			what = "`" + strings.Join(k.Values, "`, `") + "`"
		}
		doc := k.Doc
		if k.Required {
			doc += " (required)"
		}
		if k.Default != "" {
			doc += " (default `" + k.Default + "`)"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.Path, what, strings.ReplaceAll(doc, "|", "\\|"))
	}
	return b.String()
}

// blocks are a document's blocks of a language.
func blocks(t *testing.T, path, language string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	return all
}

// TestREADMECommandsWork runs the blocks that README.md marks as shell, in their order, from the root of the repository.
func TestREADMECommandsWork(t *testing.T) {
	runtime := t.TempDir()
	env := []string{"XDG_RUNTIME_DIR=" + runtime}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "FRESHET_") && !strings.HasPrefix(kv, "XDG_RUNTIME_DIR=") {
			env = append(env, kv)
		}
	}
	demo, tokens := false, false
	for _, block := range blocks(t, "README.md", "sh") {
		cmd := exec.Command("sh", "-euc", block)
		cmd.Env = env
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s%v\n%s", block, err, stderr.String())
		}
		switch {
		case strings.Contains(block, "freshet demo"):
			demo = true
			for _, want := range []string{"without freshet", "with freshet", "azidentity", "x/oauth2", "issuer calls"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("the demo does not show %q:\n%s", want, out)
				}
			}
		case strings.Contains(block, "seq 20"):
			tokens = true
			// README.md promises that the helper runs once for the twenty.
			lines := strings.Fields(string(out))
			if len(slices.Compact(slices.Clone(lines))) != 1 || len(lines) != 20 {
				t.Errorf("got tokens %v, want one token 20 times", lines)
			}
		}
	}
	if !demo || !tokens {
		t.Errorf("README.md runs the demo: %v; the twenty tokens: %v", demo, tokens)
	}
}

// TestREADMEConfigurationsAreRight reads the configurations that README.md shows.
func TestREADMEConfigurationsAreRight(t *testing.T) {
	all := blocks(t, "README.md", "yaml")
	if len(all) < 2 {
		t.Fatalf("README.md has %d configurations", len(all))
	}
	for _, text := range all {
		cfg, err := config.Parse("README.md", []byte(text), daemon.Kinds())
		if err != nil {
			t.Errorf("%v in\n%s", err, text)
			continue
		}
		if _, err := daemon.Broker(cfg, daemon.Options{}); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}

// TestConfigDocumentsExamplesAreRight reads the configurations that docs/config.md shows: one of all parts, one of proxies, and one of bridges.
func TestConfigDocumentsExamplesAreRight(t *testing.T) {
	all, proxies, bridges := blocks(t, "docs/config.md", "yaml"), 0, 0
	for _, text := range all {
		cfg, err := config.Parse("docs/config.md", []byte(text), daemon.Kinds())
		if err != nil {
			t.Errorf("%v in\n%s", err, text)
			continue
		}
		proxies += len(cfg.Proxies)
		bridges += len(cfg.MCP)
	}
	if len(all) < 3 || proxies < 2 || bridges < 2 {
		t.Errorf("docs/config.md has %d configurations with %d proxies and %d bridges", len(all), proxies, bridges)
	}
}
