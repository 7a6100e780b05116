package lab

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch"
	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
	"freshet.dev/internal/shell"
)

// The environment of the lab's az.
const (
	envCloud      = "FRESHET_LAB"             // where the cloud is, as http://127.0.0.1:9920
	envSecret     = "FRESHET_LAB_SECRET"      // Credentials.AzureCLISecret
	envSecretFile = "FRESHET_LAB_SECRET_FILE" // or a file that holds it
	envTime       = "FRESHET_LAB_AZ_TIME"     // how long it takes at least, such as 600ms
	envCPU        = "FRESHET_LAB_AZ_CPU"      // how much processor time it burns
	envMemory     = "FRESHET_LAB_AZ_MEMORY"   // how much memory it touches, such as 56MiB
)

// What one run of a real az costs (azure-cli 2.45 with Debian's Python 3.11, warm: 0.69 s, 0.60 s of it in user mode, 56 MiB).
const (
	azTime   = 600 * time.Millisecond
	azCPU    = 600 * time.Millisecond
	azMemory = 56 << 20
)

// RunAzureCLI is the az of the lab: "account get-access-token", with the weight of the real one, which is a Python program.
//
//	az account get-access-token [--output json] --resource R | --scope S [--tenant T] [--subscription S]
//
// It asks the cloud at $FRESHET_LAB with the secret in $FRESHET_LAB_SECRET, or in the file $FRESHET_LAB_SECRET_FILE, and prints
// what az prints. It takes $FRESHET_LAB_AZ_TIME (600ms), burns $FRESHET_LAB_AZ_CPU (600ms) of processor time and touches
// $FRESHET_LAB_AZ_MEMORY (56MiB); the issuer's latency comes on top. The exit codes are az's: 2 for a mistake on the command
// line, 1 for everything else.
func RunAzureCLI(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) (exitCode int) {
	fail := func(code int, text string) int {
		fmt.Fprintf(stderr, "ERROR: %s\n", text)
		return code
	}
	w, err := weightOf(env)
	if err != nil {
		return fail(1, err.Error())
	}
	keep, ok := w.carry(ctx) // az loads itself before it looks at its arguments
	defer runtime.KeepAlive(keep)
	if !ok {
		return fail(1, "interrupted")
	}
	ask, err := parseAz(args)
	if err != nil {
		return fail(2, err.Error())
	}
	got, err := ask.token(ctx, env)
	if err != nil {
		return fail(1, err.Error())
	}
	expires := time.Unix(got.ExpiresOn, 0)
	text, err := json.MarshalIndent(struct {
		AccessToken  string `json:"accessToken"`
		ExpiresOn    string `json:"expiresOn"` // in local time
		Expires      int64  `json:"expires_on"`
		Subscription string `json:"subscription"`
		Tenant       string `json:"tenant"`
		TokenType    string `json:"tokenType"`
	}{got.AccessToken, expires.Local().Format("2006-01-02 15:04:05.000000"), got.ExpiresOn, ask.subscription, got.Tenant, "Bearer"}, "", "  ")
	if err != nil {
		return fail(1, "no JSON")
	}
	if _, err := stdout.Write(append(text, '\n')); err != nil {
		return fail(1, "standard output cannot be written")
	}
	return 0
}

// azError is an error in az's words, which begin with a capital.
type azError string

func (e azError) Error() string { return string(e) }

const errLoggedOut azError = "Please run 'az login' to setup account."

// azRequest is what az is asked for.
type azRequest struct{ resource, tenant, subscription string }

// parseAz reads az's arguments.
func parseAz(args []string) (azRequest, error) {
	r := azRequest{subscription: "1ab00000-0000-4000-8000-000000000002"}
	if len(args) < 2 || args[0] != "account" || args[1] != "get-access-token" {
		return r, errors.New("the lab's az has one command: az account get-access-token")
	}
	for rest := args[2:]; len(rest) > 0; {
		name, value, joined := strings.Cut(rest[0], "=")
		if rest = rest[1:]; !joined {
			if len(rest) == 0 {
				return r, errors.New("argument " + name + ": expected one argument")
			}
			value, rest = rest[0], rest[1:]
		}
		switch name {
		case "--resource":
			r.resource = value
		case "--scope":
			resource, ok := resourceOf(value)
			if !ok {
				return r, errors.New("argument --scope: the lab's az takes a resource with /.default")
			}
			r.resource = resource
		case "--tenant", "-t":
			r.tenant = value
		case "--subscription", "-s":
			r.subscription = value
		case "--output", "-o":
			if value != "json" {
				return r, errors.New("argument --output: the lab's az prints json alone")
			}
		default:
			return r, errors.New("unrecognized arguments")
		}
	}
	if r.resource == "" {
		r.resource = "https://management.core.windows.net/" // az's own default
	}
	return r, nil
}

// token asks the cloud.
func (a azRequest) token(ctx context.Context, env func(string) string) (got azAnswer, err error) {
	base := env(envCloud)
	if field.URL(envCloud, base) != nil {
		return got, errors.New(envCloud + " is not the address of a lab")
	}
	mine := env(envSecret)
	if path := env(envSecretFile); mine == "" && path != "" {
		if mine, err = (secret.Ref{File: path}).Read(ctx, nil); err != nil {
			return got, err
		}
	}
	form := url.Values{"resource": {a.resource}}
	if a.tenant != "" {
		form.Set("tenant", a.tenant)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, (*Cloud)(nil).Paths(base).AzureCLI, strings.NewReader(form.Encode()))
	if err != nil {
		return got, errors.New(envCloud + " is not the address of a lab")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+mine)
	client, err := fetch.New(fetch.Config{})
	if err != nil {
		return got, err
	}
	answer, err := client.Exchange(req)
	switch {
	case err != nil:
		return got, err
	case answer.Status == http.StatusUnauthorized:
		return got, errLoggedOut
	case answer.Status == http.StatusBadRequest:
		return got, errors.New("the lab does not give a token for this resource or tenant")
	case answer.Status != http.StatusOK, json.Unmarshal(answer.Body, &got) != nil, got.AccessToken == "":
		return got, fmt.Errorf("the lab answered %d", answer.Status)
	}
	return got, nil
}

// weight is what a run costs besides what it does.
type weight struct {
	time, cpu time.Duration
	memory    int64
}

func weightOf(env func(string) string) (weight, error) {
	w := weight{azTime, azCPU, azMemory}
	for name, d := range map[string]*time.Duration{envTime: &w.time, envCPU: &w.cpu} {
		var given field.Duration
		if text := env(name); text != "" {
			if given.UnmarshalText([]byte(text)) != nil {
				return w, errors.New(name + " is not a duration such as 600ms")
			}
			*d = time.Duration(given)
		}
	}
	if text := env(envMemory); text != "" {
		var given field.Size
		if given.UnmarshalText([]byte(text)) != nil || given > 1<<30 {
			return w, errors.New(envMemory + " is not a size such as 56MiB, at most 1GiB")
		}
		w.memory = int64(given)
	}
	return w, nil
}

// carry takes the time, burns the processor time and touches the memory, which it returns. It reports false if ctx ended first.
func (w weight) carry(ctx context.Context) ([]byte, bool) {
	began := freshet.Now()
	memory := make([]byte, w.memory)
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	var sum [sha256.Size]byte
	for spent := processorTime(); processorTime()-spent < w.cpu; {
		if ctx.Err() != nil {
			return memory, false
		}
		for range 1000 {
			sum = sha256.Sum256(sum[:])
		}
	}
	return memory, wait(ctx, w.time-began.Elapsed())
}

// processorTime is what this process has used. Where 200 of them share two processors, each still burns its own.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it fails for bad arguments alone
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// WriteAzureCLI writes an executable named az into dir, for a PATH: it runs the freshet at an absolute path as the lab's az,
// against the cloud at base unless $FRESHET_LAB names another. It holds no secret; that comes from the environment, else from
// secretFile, unless that is "".
func WriteAzureCLI(dir, freshetBinary, base, secretFile string) error {
	if !filepath.IsAbs(freshetBinary) {
		return freshet.Errorf(freshet.Invalid, "lab: az: the path of freshet is not absolute")
	}
	if err := field.URL("base", base); err != nil {
		return freshet.Errorf(freshet.Invalid, "lab: az: %s", err)
	}
	script := "#!/bin/sh\n# The az of a freshet lab.\n[ -n \"$" + envCloud + "\" ] || export " + envCloud + "=" + shell.Quote(base) + "\n"
	if secretFile != "" {
		script += "[ -n \"$" + envSecret + "$" + envSecretFile + "\" ] || export " + envSecretFile + "=" + shell.Quote(secretFile) + "\n"
	}
	script += "exec " + shell.Quote(freshetBinary) + " lab az \"$@\"\n"
	// Whole or not at all: somebody may run the old one at this moment.
	f, err := os.CreateTemp(dir, "az-*")
	if err != nil {
		return &freshet.Error{Kind: freshet.Invalid, Why: "lab: az cannot be written in " + dir, Cause: err}
	}
	_, err = f.WriteString(script)
	err = errors.Join(err, f.Chmod(0o755), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, "az"))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return &freshet.Error{Kind: freshet.Invalid, Why: "lab: az cannot be written in " + dir, Cause: err}
	}
	return nil
}
