package lab

import (
	"crypto/sha256"
	"encoding/json"
	"regexp"
	"strings"
	"sync"
	"time"
)

// page is what a proxy, or the login page of a network, answers for anybody, with status 200.
var page = reply{status: 200, contentType: "text/html; charset=utf-8",
	body: []byte("<!DOCTYPE html>\n<html><head><title>Sign in to the network</title></head><body><form method=\"post\"></form></body></html>\n")}

// malformed spoils the answer that an issuer would give. It reports false where there is nothing to spoil: a refusal has no
// expiry, and what is answered first is no repetition.
func (i *issuer) malformed(t *touch, name string, r *request, s Settings, answer func(*request, Settings) reply) (a reply, spoiled bool) {
	switch t.How {
	case wayHTML:
		return page, true
	case wayError:
		return failing(name, r, 200), true
	case wayExpired:
		if name == OpenAI { // nothing of what it gives has an end
			return answer(r, s), false
		}
		s.Lifetime, s.RefreshIn = -time.Minute, 0
		a = answer(r, s)
		return a, a.status == 200
	}
	a = answer(r, s)
	switch t.How {
	case wayTruncated:
		a.events = nil
		a.body = a.body[:len(a.body)/2]
	case wayShort:
		a.ending = short
	case wayTypes:
		a.events = nil
		a.body = mistyped(a)
	case wayAgain:
		if a.status != 200 {
			return a, false
		}
		return i.faults.repeat(t.active, asked(name, r), a)
	}
	return a, true
}

// asked is who asks an issuer for what. An AWS SDK names each session anew, so that says nothing of either.
func asked(issuer string, r *request) [sha256.Size]byte {
	user, _, _ := r.BasicAuth()
	parts := []string{issuer, tenantOf(issuer, r), user}
	query := r.URL.Query()
	for _, name := range []string{"client_id", "scope", "audience", "resource", "Action", "RoleArn", "Policy", "DurationSeconds"} {
		parts = append(parts, strings.Join(r.form[name], "\x01"), strings.Join(query[name], "\x01"))
	}
	return sha256.Sum256([]byte(strings.Join(parts, "\x00")))
}

var xmlText = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`>[^<>]+<`) })

// mistyped is an answer's body with values of other types: in JSON text where there were numbers, and numbers where there was
// text; in XML, which has no types, words where there were times and keys.
func mistyped(a reply) []byte {
	var doc map[string]any
	if json.Unmarshal(a.body, &doc) != nil {
		return xmlText().ReplaceAll(a.body, []byte(">soon<"))
	}
	for name, value := range doc {
		switch value.(type) {
		case string:
			doc[name] = 7
		default:
			doc[name] = "soon"
		}
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return broken.body
	}
	return body
}
