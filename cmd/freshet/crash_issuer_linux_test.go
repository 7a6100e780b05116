package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger knows whose every secret is.
type ledger struct {
	mark string   // every secret has it at its begin and its end
	seen []string // how the mark looks in a file: as it is, and encoded

	mu     sync.Mutex
	owners map[string]string // secret → whose
	wrong  []string          // what the issuer was asked that it should not have been
}

func newLedger() *ledger {
	l := &ledger{mark: "mk" + rand.Text()[:18], owners: make(map[string]string)}
	l.seen = []string{l.mark, hex.EncodeToString([]byte(l.mark))}
	for shift := range 3 { // the three ways in which base64 may cut it
		from := (3 - shift) % 3
		l.seen = append(l.seen, base64.RawStdEncoding.EncodeToString([]byte(l.mark[from:from+(len(l.mark)-from)/3*3])))
	}
	return l
}

// mint makes a secret.
func (l *ledger) mint(owner string) string {
	s := l.mark + rand.Text() + l.mark
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owners[s] = owner
	return s
}

var errForeign = errors.New("not whole, or nobody's")

// want checks that secrets are whole, and their owner's. Errors name no secret.
func (l *ledger) want(owner string, secrets ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range secrets {
		switch got, ok := l.owners[s]; {
		case !ok:
			return fmt.Errorf("%w: %d bytes", errForeign, len(s))
		case got != owner:
			return fmt.Errorf("%w: it is that of %q, not of %q", errForeign, got, owner)
		}
	}
	return nil
}

// shows reports whether a text has a secret, or a part of one with its begin or end.
func (l *ledger) shows(text string) bool {
	for _, mark := range l.seen {
		if strings.Contains(text, mark) {
			return true
		}
	}
	return false
}

func (l *ledger) wantNone(t *testing.T, where, text string) {
	t.Helper()
	if l.shows(text) {
		t.Errorf("%s shows a secret", where)
	}
}

// issuer is an OAuth issuer and an STS in one. It gives each client, and each scope, tokens of their own, and keys for a token of
// web's alone. It takes as long as one nearby does.
func (l *ledger) issuer(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ParseForm() != nil {
			return // the daemon was killed while it sent this
		}
		if r.URL.Path == "/ping" {
			return
		}
		select {
		case <-time.After(time.Duration(mathrand.IntN(20)) * time.Millisecond):
		case <-r.Context().Done():
		}
		if strings.HasPrefix(r.URL.Path, "/sts") {
			if err := l.want("web", r.FormValue("WebIdentityToken")); err != nil {
				l.blame("STS was sent a token that is " + err.Error())
			}
			w.Header().Set("Content-Type", "text/xml")
			fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, l.mint("role"), l.mint("role"), time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
			return
		}
		client, secret, _ := r.BasicAuth()
		if err := l.want("client secret", secret); err != nil {
			l.blame(client + " came with a client secret that is " + err.Error())
		}
		life := 600
		if r.URL.Path == "/brief" {
			life = 30
		}
		owner := client
		if scope := r.FormValue("scope"); scope != "" {
			owner += " " + scope
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": l.mint(owner), "token_type": "Bearer", "expires_in": life})
	}))
	t.Cleanup(func() {
		s.Close()
		for _, what := range l.wrong {
			t.Error(what)
		}
	})
	return s.URL
}

func (l *ledger) blame(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, what)
}

// freePort is a port that nothing listens at, and that the kernel gives to nobody as the near end of a connection: one that it
// might could be taken, while no daemon holds it, even by a caller that tries to connect to it.
func freePort(t *testing.T, rng *mathrand.Rand) int {
	t.Helper()
	for range 100 {
		port := 20000 + rng.IntN(10000)
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Skip("no free port below 30000")
	return 0
}
