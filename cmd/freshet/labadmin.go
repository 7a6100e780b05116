package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"freshet.dev/freshet"
	"freshet.dev/internal/fetch"
	"freshet.dev/internal/field"
	"freshet.dev/internal/secret"
	"freshet.dev/lab"
)

// What lab serve exports, and where the lab is found by it.
const (
	envLab      = "FRESHET_LAB"                  // its address
	envLabAdmin = "FRESHET_LAB_ADMIN_TOKEN_FILE" // the path of a file with its admin token, which is in no environment itself
)

// labAdmin is the admin API of a running lab.
type labAdmin struct {
	base, tokenFile string // as flags say; empty: the environment's
	token           string
	client          *fetch.Client
}

func (l *labAdmin) flags(f *pflag.FlagSet) {
	f.StringVar(&l.base, "lab", "", "the lab at `URL`, on this machine (default $"+envLab+")")
	f.StringVar(&l.tokenFile, "admin-token-file", "", "its admin API's token is in `FILE` (default $"+envLabAdmin+")")
}

// find learns where the lab is, and reads its token. The token goes to this machine alone.
func (l *labAdmin) find(ctx context.Context) (err error) {
	name := "--lab"
	if l.base == "" {
		name, l.base = "$"+envLab, os.Getenv(envLab)
	}
	if l.base == "" {
		return noLab("lab fault: no lab is named: neither --lab nor $" + envLab + " is set")
	}
	u, err := url.Parse(l.base)
	if err != nil || field.URL("lab", l.base) != nil || u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return freshet.Errorf(freshet.Invalid, "lab fault: %s: not the address of a lab on this machine", name).
			WithHint("write it as http://127.0.0.1:9920")
	}
	l.base = strings.TrimSuffix(l.base, "/")
	name = "--admin-token-file"
	if l.tokenFile == "" {
		name, l.tokenFile = "$"+envLabAdmin, os.Getenv(envLabAdmin)
	}
	if l.tokenFile == "" {
		return freshet.Errorf(freshet.Invalid, "lab fault: neither --admin-token-file nor $%s is set", envLabAdmin).
			WithHint("it is the file admin-token in the folder of the lab's configuration")
	}
	if l.tokenFile, err = filepath.Abs(l.tokenFile); err == nil {
		l.token, err = secret.Ref{File: l.tokenFile}.Read(ctx, nil)
	}
	if err != nil {
		return freshet.Errorf(freshet.Invalid, "lab fault: %s: %s", name, err).WithHint("is the lab still running? %s", startLab)
	}
	l.client, err = fetch.New(fetch.Config{})
	return err
}

const startLab = "start one with: freshet lab serve > lab.env & and then, once it is ready: . ./lab.env"

func noLab(why string) error {
	return freshet.Errorf(freshet.Unavailable, "%s", why).WithHint(startLab)
}

// ask sends one request, and reads what it answers into v unless that is nil.
func (l *labAdmin) ask(ctx context.Context, method, path string, body []byte, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, (*lab.Cloud)(nil).Paths(l.base).Admin+path, bytes.NewReader(body))
	if err != nil {
		return freshet.Errorf(freshet.Bug, "lab fault: request could not be made")
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	req.Header.Set("Content-Type", "application/json")
	answer, err := l.client.Exchange(req)
	if err != nil {
		return noLab("lab fault: " + freshet.AsError(err).Why)
	}
	switch {
	case answer.Status == http.StatusUnauthorized, answer.Status == http.StatusForbidden:
		return freshet.Errorf(freshet.Denied, "lab fault: the lab does not take this admin token").
			WithHint("each lab has its own: the file admin-token in the folder of its configuration")
	case answer.Status == http.StatusBadRequest:
		// The fault was checked before it was sent, so this is about how many there are, or an older lab.
		return freshet.Errorf(freshet.Invalid, "lab fault: the lab refuses this").
			WithHint("it may be of another version, or have too many faults: freshet lab fault ISSUER off")
	case answer.Status/100 != 2, v != nil && json.Unmarshal(answer.Body, v) != nil:
		return freshet.Errorf(freshet.Malformed, "lab fault: what answers at %s is no lab, or one of another version", l.base)
	}
	return nil
}

func (l *labAdmin) status(ctx context.Context) (all map[string]lab.IssuerStatus, err error) {
	return all, l.ask(ctx, http.MethodGet, "/issuers", nil, &all)
}

func (l *labAdmin) inject(ctx context.Context, issuer string, f lab.Fault) error {
	body, err := json.Marshal(f)
	if err != nil {
		return freshet.Errorf(freshet.Bug, "lab fault: request could not be made")
	}
	return l.ask(ctx, http.MethodPut, "/issuers/"+issuer+"/faults", body, nil)
}

func (l *labAdmin) clear(ctx context.Context, issuer, tenant string) error {
	return l.ask(ctx, http.MethodDelete, "/issuers/"+issuer+"/faults?"+url.Values{"tenant": {tenant}}.Encode(), nil, nil)
}
