package child

import (
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	redacted   = "[redacted]"
	maxMessage = 200 // runes of a child's stderr that an error may carry
)

// The words of text that is no secret: a host's name, a folder's path, an option, ExpiredTokenException. Those are what
// one needs to understand a failure, and no random token is made of them.
const (
	word  = `[a-z]{1,19}[0-9]{0,2}`
	camel = `[A-Z]?[a-z]{1,19}(?:[A-Z][a-z]{1,19})*`
	digit = `[0-9]{1,3}`
	plain = `(?:` + word + `|` + camel + `|` + digit + `)`
)

// patterns find what looks like a secret.
type patterns struct {
	escapes  *regexp.Regexp   // a terminal's colours and cursor moves, which would hide a token they are in
	marked   []*regexp.Regexp // secrets that something before them, or their own start, gives away
	scheme   *regexp.Regexp   // an Authorization header's credential
	prose    *regexp.Regexp   // what follows a scheme's name in a sentence
	long     *regexp.Regexp   // anything of length in an alphabet of tokens
	ordinary *regexp.Regexp   // such a thing that is words
}

// compiled makes them on first use: short commands that never see a failure should not pay for it.
var compiled = sync.OnceValue(func() *patterns {
	return &patterns{
		escapes: regexp.MustCompile("\x1b(?:\\[[0-9;?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?)"),
		marked: []*regexp.Regexp{
			// a value after its name: password=x, "access_token": "x"
			regexp.MustCompile(`(?i)((?:pass(?:word|wd|phrase)?|pwd|secret|token|assertion|credential|signature|cookie|` +
				`(?:api|account|access|secret|private|session)[_-]?key)["']?\s*[=:]\s*)("[^"\n]*"?|'[^'\n]*'?|[^\s,;&]+)`),
			// the same as an option: --client-secret x
			regexp.MustCompile(`(?i)(--[a-z-]*(?:password|secret|token|key)\s+)([^\s,;]+)`),
			// what stands before a URL's host
			regexp.MustCompile(`(://)([^/\s@]+@)`),
			// a JWT, however short it was cut
			regexp.MustCompile(`()(eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*)`),
			// an AWS access key id
			regexp.MustCompile(`()(A(?:KIA|SIA)[A-Z0-9]{4,})`),
		},
		scheme: regexp.MustCompile(`(?i)\b((?:bearer|basic|negotiate)\s+)([^\s,;"']+)`),
		prose:  regexp.MustCompile(`^[a-z]+[.:]?$`),
		// base64, base64url, hex, and the marks that vendors put in client secrets
		long:     regexp.MustCompile(`[A-Za-z0-9+/_=~.-]{20,}`),
		ordinary: regexp.MustCompile(`^[-_./]*` + plain + `(?:[-_./]+` + plain + `)*[-_./=]*$`),
	}
})

// Redact makes a child's stderr fit for an error: one line of at most 200 characters, without control characters and
// without anything that looks like a secret or is one of secrets. It errs on the side of removing, and cannot know a
// short password for what it is: pass those.
func Redact(stderr string, secrets ...string) string {
	text := printable(stderr)
	for _, s := range secrets {
		if s = printable(s); s != "" {
			text = strings.ReplaceAll(text, s, redacted)
		}
	}
	text = strings.Join(strings.Fields(scrub(text)), " ")
	if utf8.RuneCountInString(text) > maxMessage {
		text = string([]rune(text)[:maxMessage]) + "…"
	}
	return text
}

// scrub removes what no child's text may carry further, and keeps its lines.
func scrub(text string) string {
	p := compiled()
	text = printable(text)
	for _, m := range p.marked {
		text = m.ReplaceAllString(text, "${1}"+redacted)
	}
	text = p.scheme.ReplaceAllStringFunc(text, func(s string) string {
		part := p.scheme.FindStringSubmatch(s)
		if p.prose.MatchString(part[2]) {
			return s // basic authentication
		}
		return part[1] + redacted
	})
	return p.long.ReplaceAllStringFunc(text, func(s string) string {
		if p.ordinary.MatchString(s) {
			return s
		}
		return redacted
	})
}

// printable drops escapes, control characters and what is not UTF-8.
func printable(text string) string {
	text = compiled().escapes.ReplaceAllString(strings.ToValidUTF8(text, ""), "")
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}
