package azurecli

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"freshet.dev/freshet"
	"freshet.dev/internal/child"
	"freshet.dev/internal/corpus"
)

// FuzzParse reads what the az format prints, and what is like it: a token that lives, or an error that shows none of it.
func FuzzParse(f *testing.F) {
	for _, golden := range corpus.Of(f, "../../format/az/testdata/*.json") {
		f.Add([]byte(golden))
	}
	f.Add([]byte(`{"accessToken":"t","expiresOn":"2026-11-01 01:30:00.000000"}`))
	f.Add([]byte(`{"expires_on":1e400}`))
	f.Fuzz(func(t *testing.T, out []byte) {
		sent := freshet.Now()
		c, err := parse(out, sent)
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v, %v", c, err)
		}
		if err != nil {
			if e, ok := err.(*freshet.Error); !ok || e.Kind != freshet.Malformed || len(e.Error()) > 100 || strings.Contains(e.Error(), "\n") {
				t.Errorf("%q: %v", out, err)
			}
			return
		}
		if c.Remaining() <= 0 || c.Static() || c.TokenType() != "Bearer" {
			t.Errorf("%q: %v", out, c)
		}
	})
}

// FuzzFailure holds that whatever az says in whichever way it ends, the error is of a kind that callers can act on, and one short
// printable line without the token in it.
func FuzzFailure(f *testing.F) {
	for _, said := range []string{
		"ERROR: Please run 'az login' to setup account.", "AADSTS70043: The refresh token has expired", "AADSTS50196: loop", "AADSTS53003: blocked", "freshet: not az",
		"ERROR: AADSTS700082: … To re-authenticate, please run:\naz login --tenant SECRET", "password=SECRET \x1b[31m", "Tenant shouldn't be specified", "",
	} {
		f.Add(said, 1, 0, "")
		f.Add(said, 2, 9, "contoso.example")
	}
	const secret = "wJalrXUtnFEMI7K7MDENG+bPxRfiCY01"
	s := new(Source)
	f.Fuzz(func(t *testing.T, said string, code, signal int, tenant string) {
		req := freshet.Request{Tenant: tenant}
		if _, err := s.arguments(req); err != nil {
			return // az is not run for it
		}
		c := &child.Error{Program: "/usr/bin/az", Reason: child.Exited, Code: code}
		if signal > 0 {
			c.Reason, c.Signal = child.Signaled, syscall.Signal(signal)
		}
		e := s.failure(req, child.Output{Stderr: strings.ReplaceAll(said, "SECRET", secret)}, c)
		if !slices.Contains([]freshet.Kind{freshet.Invalid, freshet.LoginNeeded, freshet.Denied, freshet.Unavailable}, e.Kind) || !errors.Is(e, c) && e.Cause != nil {
			t.Errorf("%q: kind %q", said, e.Kind)
		}
		if text := e.Error() + e.Hint; strings.Contains(text, secret) || len(e.Error()) > 1000 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q: the error is %q", said, text)
		}
		if e.Kind == freshet.LoginNeeded && !strings.HasPrefix(e.Hint, "run az login") {
			t.Errorf("%q: the hint is %q", said, e.Hint)
		}
	})
}

// FuzzArguments holds that what is asked for is never an option of az's, a file that it reads, or more than one argument.
func FuzzArguments(f *testing.F) {
	f.Add("contoso.example", "https://vault.azure.net/.default", "")
	f.Add("-h", "@/etc/passwd", "/.default")
	f.Add("a/../b", "a b", "--output=tsv")
	f.Add("", "x$(id)", "\x00")
	s := new(Source)
	f.Fuzz(func(t *testing.T, tenant, one, two string) {
		req := freshet.Request{Tenant: tenant, Scopes: []string{one}}
		if two != "" {
			req.Scopes = append(req.Scopes, two)
		}
		args, err := s.arguments(req)
		if err != nil {
			if e, ok := err.(*freshet.Error); !ok || e.Kind != freshet.Invalid || args != nil {
				t.Errorf("%v: got %q, %v", req, args, err)
			}
			return
		}
		options := []string{"account", "get-access-token", "--output", "json", "--tenant", "--scope", "--resource"}
		for _, arg := range args {
			if slices.Contains(options, arg) {
				continue
			}
			if arg == "" || strings.ContainsAny(arg[:1], "-@") || strings.ContainsAny(arg, " =\t\r\n\x00$`\"'\\;&|<>*?(){}[]!#~") {
				t.Errorf("az is run with %q", args)
			}
			if arg != tenant && arg != one && arg != two && arg+"/.default" != one {
				t.Errorf("%v: az is run with %q", req, args)
			}
		}
	})
}
