package bearer

import "strings"

// challenge is one of WWW-Authenticate (RFC 9110 §11.6.1): a scheme, and either parameters or a token68.
type challenge struct {
	scheme string
	params map[string]string // name in lower case → value, without quotes
}

func (c challenge) bearer() bool { return strings.EqualFold(c.scheme, bearer) }

// parse reads the challenges of all the header's values, several of which one value may hold. What is malformed ends its value:
// what stands before it counts. Commas between parameters may be missing, as azcore 1.24 takes it.
func parse(values []string) []challenge {
	var all []challenge
	for _, value := range values {
		p := parser{rest: value}
		for p.next() {
			if p.param() {
				continue
			}
			c, ok := p.scheme()
			if !ok {
				break
			}
			p.params = c.params
			all = append(all, c)
		}
	}
	return all
}

// parser reads one value of the header.
type parser struct {
	rest   string
	params map[string]string // of the challenge that was begun; nil before the first
}

// next skips what separates, and reports whether there is more.
func (p *parser) next() bool {
	p.rest = strings.TrimLeft(p.rest, " \t,")
	return p.rest != ""
}

// token is what p begins with of a token's characters, and what follows.
func (p *parser) token() (token, rest string) {
	end := strings.IndexFunc(p.rest, func(r rune) bool { return r >= 0x80 || !strings.ContainsRune(tchar, r) })
	if end < 0 {
		end = len(p.rest)
	}
	return p.rest[:end], p.rest[end:]
}

// param reads name=value into the challenge that was begun, if that is what comes next.
func (p *parser) param() bool {
	name, rest := p.token()
	rest = strings.TrimLeft(rest, " \t")
	if name == "" || p.params == nil || !strings.HasPrefix(rest, "=") {
		return false
	}
	value := parser{rest: strings.TrimLeft(rest[1:], " \t")}
	var text string
	if strings.HasPrefix(value.rest, `"`) {
		var ok bool
		if text, value.rest, ok = unquote(value.rest[1:]); !ok {
			return false
		}
	} else { // beyond a token's characters: Azure DevOps sends authorization_uri=https://… without quotes
		end := strings.IndexAny(value.rest, " \t,")
		if end < 0 {
			end = len(value.rest)
		}
		text, value.rest = value.rest[:end], value.rest[end:]
	}
	p.params[strings.ToLower(name)] = text
	p.rest = value.rest
	return true
}

// scheme reads the beginning of a challenge, and the token68 that it may consist of.
func (p *parser) scheme() (challenge, bool) {
	name, rest := p.token()
	if name == "" || rest != "" && !strings.ContainsRune(" \t,", rune(rest[0])) {
		return challenge{}, false
	}
	p.rest = strings.TrimLeft(rest, " \t")
	// A token68 stands alone, where a parameter's name is followed by = and a value.
	after := strings.TrimLeft(strings.TrimLeft(p.rest, token68), "=")
	if after = strings.TrimLeft(after, " \t"); after == "" || after[0] == ',' {
		p.rest = after
	}
	return challenge{name, map[string]string{}}, true
}

// token68 are the characters of such a token, less the = at its end.
const token68 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"

// unquote reads a quoted-string (RFC 9110 §5.6.4) after its first quote.
func unquote(s string) (text, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
