package party

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Asker is a program that asks its SDK for one credential, with the SDK's default settings.
type Asker struct {
	// Name and Version of the SDK.
	Name, Version string
	// Pinned says that this module decides the version, and not the machine.
	Pinned bool
	// Argv is its command line.
	Argv []string
}

// AzureGo asks azidentity for a token; the name of a credential is its argument, as it is for the other two.
func AzureGo(t testing.TB) Asker {
	t.Helper()
	const module = "github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	return Asker{"azidentity (Go)", goVersion(t, module), true, []string{buildAsker(t, "azure/golang")}}
}

// AzureNode asks @azure/identity: 4.13 is the last that runs on Node 20.
func AzureNode(t testing.TB) Asker {
	t.Helper()
	folder := filepath.Join("clients", "azure", "node")
	return Asker{"@azure/identity (Node)", npmVersion(t, folder, "@azure/identity"), true, nodeProgram(t, folder, "ask.mjs")}
}

// AzurePython asks Debian's azure-identity.
func AzurePython(t testing.TB) Asker {
	t.Helper()
	debian(t, "python3-azure")
	script := filepath.Join(moduleDir(t), "clients", "azure", "python", "ask.py")
	return Asker{"azure-identity (Python)", said(t, python, "-c", "import azure.identity as a; print(a.__version__)"), false, []string{python, script}}
}

// KeysGo asks aws-sdk-go-v2 for AWS keys.
func KeysGo(t testing.TB) Asker {
	t.Helper()
	return Asker{"aws-sdk-go-v2 config (Go)", goVersion(t, "github.com/aws/aws-sdk-go-v2/config"), true, []string{buildAsker(t, "keys")}}
}

// KeysNode asks the AWS SDK for JavaScript.
func KeysNode(t testing.TB) Asker {
	t.Helper()
	folder := filepath.Join("clients", "node")
	return Asker{"@aws-sdk/client-s3 (Node)", npmVersion(t, folder, "@aws-sdk/client-s3"), true, nodeProgram(t, folder, "keys.mjs")}
}

// KeysBoto3 asks Debian's boto3.
func KeysBoto3(t testing.TB) Asker {
	t.Helper()
	debian(t, "python3-boto3")
	script := filepath.Join(moduleDir(t), "clients", "boto3", "keys.py")
	return Asker{"boto3 (Python)", said(t, python, "-c", "import boto3; print(boto3.__version__)"), false, []string{python, script}}
}

// KeysAWSCLI is Debian's aws, which prints keys in the form of a credential_process.
func KeysAWSCLI(t testing.TB) Asker {
	t.Helper()
	path := AWSCLI(t)
	version, _, _ := strings.Cut(strings.TrimPrefix(said(t, path, "--version"), "aws-cli/"), " ")
	return Asker{"awscli", version, false, []string{path, "configure", "export-credentials"}}
}

// GoModule is the version of a module that the tests call themselves.
func GoModule(t testing.TB, name, module string) Asker {
	t.Helper()
	return Asker{Name: name, Version: goVersion(t, module), Pinned: true}
}

// CurlAsker is curl; its arguments are the caller's.
func CurlAsker(t testing.TB) Asker {
	t.Helper()
	path := Curl(t)
	return Asker{"curl", strings.Fields(said(t, path, "--version"))[1], false, []string{path}}
}

// KubectlAsker is Debian's kubectl; its arguments are the caller's.
func KubectlAsker(t testing.TB) Asker {
	t.Helper()
	path := Kubectl(t)
	version := strings.TrimPrefix(said(t, path, "version", "--client", "--short"), "Client Version: v")
	return Asker{"kubectl", version, false, []string{path}}
}

// buildAsker builds one of the programs under clients.
func buildAsker(t testing.TB, folder string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "ask")
	cmd := exec.Command("go", "build", "-o", binary, "./clients/"+folder)
	cmd.Dir = moduleDir(t)
	if err := run(cmd); err != nil {
		t.Fatal(err)
	}
	return binary
}

func goVersion(t testing.TB, module string) string {
	t.Helper()
	return strings.TrimPrefix(said(t, "go", "list", "-m", "-f", "{{.Version}}", module), "v")
}

// npmVersion is what a folder's lock file holds a package at.
func npmVersion(t testing.TB, folder, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleDir(t), folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", folder, err))
	}
	return lock.Packages["node_modules/"+name].Version
}

// said is what a program prints, but for white space at its ends.
func said(t testing.TB, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = moduleDir(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return strings.TrimSpace(string(out))
}
