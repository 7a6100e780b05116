package freshet_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
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

// keyTables renders every key of the configuration, a table for what all files have and one for each source and endpoint.
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

// TestREADMECommandsWork runs the blocks that README.md marks as shell, from the root of the repository, in one shell.
func TestREADMECommandsWork(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 2 {
		t.Fatalf("README.md has %d shell blocks", len(blocks))
	}
	var script strings.Builder
	for _, b := range blocks {
		script.WriteString(b[1])
	}
	cmd := exec.Command("sh", "-euc", script.String())
	runtime := t.TempDir()
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "FRESHET_") && !strings.HasPrefix(kv, "XDG_RUNTIME_DIR=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+runtime)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	lines := strings.Fields(string(out))
	if len(lines) != 21 {
		t.Fatalf("got %d tokens, want 1 and then 20:\n%s%s", len(lines), out, stderr.String())
	}
	// README.md promises that the helper runs once for the twenty.
	for _, token := range lines[1:] {
		if token != lines[1] {
			t.Fatalf("the twenty were given different tokens:\n%s", out)
		}
	}
}
