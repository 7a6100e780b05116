package child

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestRedact(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"words stay", "ERROR: Please run 'az login' to set up account.", "ERROR: Please run 'az login' to set up account."},
		{"lines join", "  one\n\n two\r\n", "one two"},
		{"vendor codes stay", "AADSTS700082: ExpiredTokenException from https://login.microsoftonline.com/common/oauth2/v2.0/token",
			"AADSTS700082: ExpiredTokenException from https://login.microsoftonline.com/common/oauth2/v2.0/token"},
		{"paths stay", "File /usr/lib/python3/dist-packages/azure/cli.py", "File /usr/lib/python3/dist-packages/azure/cli.py"},
		{"regions stay", "https://sts.us-east-1.amazonaws.com/ refused", "https://sts.us-east-1.amazonaws.com/ refused"},
		{"jwt", "got eyJhbGciOi.eyJz.c2ln now", "got [redacted] now"},
		{"short jwt", "got eyJh", "got [redacted]"},
		{"aws id", "key AKIAIOSFODNN7EXAMPLE bad", "key [redacted] bad"},
		{"aws secret", "k wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "k [redacted]"},
		{"hex", "id deadbeefdeadbeef01234567", "id [redacted]"},
		{"entra secret", "is abc8Q~defGHI_jkl.mno-pqrSTU", "is [redacted]"},
		{"guid", "trace 01234567-89ab-cdef-0123-456789abcdef", "trace [redacted]"},
		{"password", "password=hunter2 refused", "password=[redacted] refused"},
		{"json", `{"access_token": "x y", "n": 1}`, `{"access_token": [redacted], "n": 1}`},
		{"aws ini", "aws_secret_access_key = abc", "aws_secret_access_key = [redacted]"},
		{"option", "usage: --client-secret hunter2", "usage: --client-secret [redacted]"},
		{"header", "Authorization: Basic dXNlcjpw", "Authorization: Basic [redacted]"},
		{"prose", "basic authentication failed", "basic authentication failed"},
		{"userinfo", "at https://me:hunter2@host/x", "at https://[redacted]host/x"},
		{"colours", "\x1b[31mERROR\x1b[0m\x07 no", "ERROR no"},
		{"token behind colours", "eyJ\x1b[1mhbGci\x00Oi", "[redacted]"},
		{"not UTF-8", "a\xffb", "ab"},
		{"right to left override", "a\u202eb", "ab"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Redact(test.in); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestRedactNamedSecrets(t *testing.T) {
	got := Redact("no hunter2 for hun\x1b[0mter2", "hunter2", "")
	if want := "no [redacted] for [redacted]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRedactIsShort(t *testing.T) {
	got := Redact(strings.Repeat("word ", 1000))
	if n := utf8.RuneCountInString(got); n != maxMessage+1 || !strings.HasSuffix(got, "…") {
		t.Errorf("got %d characters ending in %q, want %d and an ellipsis", n, got[len(got)-3:], maxMessage)
	}
}

func TestStderrOfAChildIsScrubbed(t *testing.T) {
	out, err := new(Runner).Run(bounded(t), sh(`printf 'a\033[1m eyJhbGciOi.x\npassword=hunter2\n' >&2`))
	if err != nil {
		t.Fatal(err)
	}
	if want := "a [redacted]\npassword=[redacted]\n"; out.Stderr != want {
		t.Errorf("got %q, want %q", out.Stderr, want)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("before ", " after")
	f.Add("x", "y=")
	f.Add("\x1b[", "\x1b]")
	f.Add("secret='", "'")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "wJalrXUtnFEMI7K7MDENG+bPxRfiCY01"
		got := Redact(before + secret + after)
		if strings.Contains(got, secret) {
			t.Errorf("%q shows the secret", got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Errorf("%q has the unprintable %U", got, r)
			}
		}
	})
}
