package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"freshet.dev/freshet/freshettest"
	"freshet.dev/lab"
)

// az runs the lab's az with variables in turn, and light unless they say otherwise.
func (c *cloud) az(ctx context.Context, args string, env ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	all := map[string]string{
		"FRESHET_LAB": c.base, "FRESHET_LAB_SECRET": c.AzureCLISecret,
		"FRESHET_LAB_AZ_TIME": "0s", "FRESHET_LAB_AZ_CPU": "0s", "FRESHET_LAB_AZ_MEMORY": "0B",
	}
	for i := 0; i < len(env); i += 2 {
		all[env[i]] = env[i+1]
	}
	var out, errs bytes.Buffer
	code = lab.RunAzureCLI(ctx, strings.Fields(args), func(name string) string { return all[name] }, &out, &errs)
	return code, out.String(), errs.String()
}

func TestAzPrintsWhatAzPrints(t *testing.T) {
	c := start(t, map[string]lab.Settings{lab.AzureCLI: {Lifetime: 2 * time.Hour}})
	for args, want := range map[string]struct{ resource, tenant string }{
		"-o json --resource https://a.example":                     {"https://a.example", lab.Tenant},
		"--output json --scope https://a.example/.default":         {"https://a.example", lab.Tenant},
		"--output=json --resource=r --tenant contoso.example":      {"r", "contoso.example"},
		"-o json --resource r -t contoso.example --subscription s": {"r", "contoso.example"},
		"": {"https://management.core.windows.net/", lab.Tenant},
	} {
		before := time.Now()
		code, stdout, stderr := c.az(t.Context(), "account get-access-token "+args)
		var got struct {
			AccessToken, ExpiresOn, Subscription, Tenant, TokenType string
			Expires                                                 int64 `json:"expires_on"`
		}
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 || stderr != "" {
			t.Errorf("%s: got %d, %v: %s", args, code, err, stderr)
			continue
		}
		local, err := time.ParseInLocation("2006-01-02 15:04:05.999999", got.ExpiresOn, time.Local)
		if expires := time.Unix(got.Expires, 0); err != nil || !local.Equal(expires) || expires.Before(before.Add(2*time.Hour)) {
			t.Errorf("%s: expires %q and %v, %v", args, got.ExpiresOn, expires, err)
		}
		claims, all := c.verified(got.AccessToken)
		if got.TokenType != "Bearer" || got.Subscription == "" || got.Tenant != want.tenant || !claims.Audience.Contains(want.resource) || all["tid"] != want.tenant {
			t.Errorf("%s: got %+v, claims %v", args, got, all)
		}
	}
}

func TestAzFailsAsAzDoes(t *testing.T) {
	c := start(t, nil)
	for _, test := range []struct {
		args string
		env  []string
		code int
		says string
	}{
		{"login", nil, 2, "one command"},
		{"", nil, 2, "one command"},
		{"account get-access-token --resource", nil, 2, "expected one argument"},
		{"account get-access-token --query accessToken", nil, 2, "unrecognized"},
		{"account get-access-token -o tsv", nil, 2, "json alone"},
		{"account get-access-token --scope User.Read", nil, 2, "/.default"},
		{"account get-access-token", []string{"FRESHET_LAB_SECRET", ""}, 1, "az login"},
		{"account get-access-token", []string{"FRESHET_LAB_SECRET", c.ClientSecret}, 1, "az login"},
		{"account get-access-token --tenant a/b", nil, 1, "does not give a token"},
		{"account get-access-token", []string{"FRESHET_LAB", ""}, 1, "FRESHET_LAB is not"},
		{"account get-access-token", []string{"FRESHET_LAB", "http://host.example"}, 1, "FRESHET_LAB is not"},
		{"account get-access-token", []string{"FRESHET_LAB_AZ_TIME", "1"}, 1, "FRESHET_LAB_AZ_TIME"},
		{"account get-access-token", []string{"FRESHET_LAB_AZ_MEMORY", "2GiB"}, 1, "FRESHET_LAB_AZ_MEMORY"},
		{"account get-access-token", []string{"FRESHET_LAB_SECRET", "", "FRESHET_LAB_SECRET_FILE", "/nowhere"}, 1, "/nowhere"},
	} {
		code, stdout, stderr := c.az(t.Context(), test.args, test.env...)
		if code != test.code || stdout != "" || !strings.HasPrefix(stderr, "ERROR: ") || !strings.Contains(stderr, test.says) {
			t.Errorf("%s %v: got %d %q %q, want %d %q", test.args, test.env, code, stdout, stderr, test.code, test.says)
		}
		freshettest.LeakedSecrets(t, stderr, c.AzureCLISecret, c.ClientSecret)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(c.AzureCLISecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := c.az(t.Context(), "account get-access-token", "FRESHET_LAB_SECRET", "", "FRESHET_LAB_SECRET_FILE", secret); code != 0 {
		t.Errorf("with the secret in a file: got %d %s", code, stderr)
	}
}

func TestAzIsInterrupted(t *testing.T) {
	c := start(t, nil)
	for _, name := range []string{"FRESHET_LAB_AZ_TIME", "FRESHET_LAB_AZ_CPU"} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		code, _, stderr := c.az(ctx, "account get-access-token", name, "10m")
		cancel()
		if code != 1 || !strings.Contains(stderr, "interrupted") {
			t.Errorf("%s: got %d %s", name, code, stderr)
		}
	}
}

// TestAzHasTheWeightItIsTold runs the program, since only then its processor time is its own.
func TestAzHasTheWeightItIsTold(t *testing.T) {
	c := start(t, nil)
	cmd := exec.CommandContext(t.Context(), filepath.Join(lightAz(t, c), "az"), "account", "get-access-token", "-o", "json", "--resource", "r")
	cmd.Env = append(os.Environ(), "FRESHET_LAB_AZ_TIME=300ms", "FRESHET_LAB_AZ_CPU=200ms")
	began := time.Now()
	if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), "accessToken") {
		t.Fatalf("%v: %s", err, out)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("took %v, want at least 300ms", took)
	}
	if burnt := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(); burnt < 200*time.Millisecond {
		t.Errorf("burnt %v, want at least 200ms", burnt)
	}
}

func TestAzScriptHoldsNoSecret(t *testing.T) {
	c := newCloud(t, lab.Config{}).at("http://127.0.0.1:1")
	dir := filepath.Join(t.TempDir(), "it's $(a) folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// A program that shows how it was called stands in for freshet.
	program := filepath.Join(dir, "show")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$FRESHET_LAB\" \"$FRESHET_LAB_SECRET_FILE\" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second replaces the first
		if err := lab.WriteAzureCLI(dir, program, c.base, "/s"); err != nil {
			t.Fatal(err)
		}
	}
	script, err := os.ReadFile(filepath.Join(dir, "az"))
	if err != nil {
		t.Fatal(err)
	}
	freshettest.LeakedSecrets(t, string(script), c.AzureCLISecret)
	for lab, want := range map[string]string{"": "http://127.0.0.1:1 /s lab az a b  c\n", "http://127.0.0.1:2": "http://127.0.0.1:2 /s lab az a b  c\n"} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "az"), "a", "b  c")
		cmd.Env = []string{"FRESHET_LAB=" + lab}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("got %q, %v, want %q", out, err, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "az-*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	for _, bad := range [][3]string{{dir, "freshet", c.base}, {dir, program, "x"}, {filepath.Join(dir, "none"), program, c.base}} {
		if err := lab.WriteAzureCLI(bad[0], bad[1], bad[2], ""); err == nil {
			t.Errorf("%v: got no error", bad)
		}
	}
}
