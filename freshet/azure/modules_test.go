package azure

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestConsumerGainsNoModuleButTheSDK builds a program that uses this package, in a module of its own, and one that uses the SDK
// alone: their modules differ by freshet's two.
func TestConsumerGainsNoModuleButTheSDK(t *testing.T) {
	const sdk, adapter = "github.com/Azure/azure-sdk-for-go/sdk/azcore", "freshet.dev/freshet/azure"
	want := append(modules(t, sdk, "import \""+sdk+"\"\n\nfunc main() { _ = azcore.AccessToken{} }\n"), "freshet.dev/freshet", adapter)
	got := modules(t, sdk, "import (\n\t\""+adapter+"\"\n\t\""+sdk+"\"\n)\n\nfunc main() { azure.Wrap(azcore.TokenCredential(nil)) }\n")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("modules: got %v, want %v", got, want)
	}
}

// modules builds a program offline and lists the modules that it is made of, its own aside.
func modules(t *testing.T, sdk, program string) []string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(arg ...string) string {
		t.Helper()
		cmd := exec.Command("go", arg...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off", "PWD="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(arg, " "), err, out)
		}
		return string(out)
	}
	version, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", sdk).Output()
	if err != nil {
		t.Fatal(err)
	}
	mod := "module consumer\n\ngo 1.26\n\nrequire " + sdk + " " + string(version)
	if strings.Contains(program, "freshet.dev/") {
		name := "freshet.dev/freshet/" + filepath.Base(here)
		mod += "\nrequire " + name + " v0.0.0\n\nreplace " + name + " => " + here +
			"\n\nreplace freshet.dev/freshet => " + filepath.Dir(here) + "\n"
	}
	write("go.mod", mod)
	write("main.go", "package main\n\n"+program)
	run("build", "-o", os.DevNull, ".")
	list := strings.Fields(run("list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "."))
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(path string) bool { return path == "consumer" })
}
