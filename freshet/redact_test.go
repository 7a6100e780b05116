package freshet

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"
)

// leaky is a source whose own fields hold secrets, as a client secret would be.
type leaky struct {
	ClientSecret string
	inner        string
}

func (leaky) Retrieve(context.Context, Request) (*Credential, error) { return nil, errDown }

// nested is a value as it may stand inside another.
type nested[T any] struct {
	Value   T
	Pointer *T
	Slice   []T
	Map     map[string]T
	Any     any
}

func nest[T any](v T) nested[T] {
	return nested[T]{Value: v, Pointer: &v, Slice: []T{v}, Map: map[string]T{"k": v}, Any: v}
}

// nestValue leaves the pointer out: fmt prints what a pointer points to, and calls no method of it, where a verb suits no
// pointer (%s, %q). Types that callers fill in cannot be kept from that; those that callers only hold can, and are.
func nestValue[T any](v T) any {
	return struct {
		Value T
		Slice []T
		Map   map[string]T
		Any   any
	}{v, []T{v}, map[string]T{"k": v}, v}
}

func TestNothingPrintsASecret(t *testing.T) {
	const secret = "PLANTED-s3cr3t"
	v := Validity{Lifetime: time.Hour}
	bearer, err := NewBearer(secret, "", v)
	if err != nil {
		t.Fatal(err)
	}
	keys := AWSKeys{AccessKeyID: "AKIA", SecretAccessKey: secret, SessionToken: secret}
	aws, err := NewAWS(keys, v)
	if err != nil {
		t.Fatal(err)
	}
	basic, err := NewBasic("u", secret, v)
	if err != nil {
		t.Fatal(err)
	}
	idToken, err := NewIDToken(jwt(`{"sub":"`+secret+`"}`), v)
	if err != nil {
		t.Fatal(err)
	}
	req := Request{Tenant: "t", Scopes: []string{"s"}, Claims: `{"c":"` + secret + `"}`, Subject: secret, Input: bearer}
	failure := &Error{Kind: Denied, Identity: "id", Why: "no", Cause: &url.Error{Op: "Post", URL: "https://h/?q=" + secret, Err: errors.New(secret)}}
	valueCause := &Error{Kind: Denied, Why: "no", Cause: plantedError{secret}}
	c := newCache(t, CacheConfig{})
	cfg := IdentityConfig{Name: "id", Kind: "k", Source: leaky{secret, secret}, Defaults: req}
	id := add(t, c, cfg)
	full := add(t, c, IdentityConfig{Name: "full", Source: varying{SourceFunc(func(context.Context, Request) (*Credential, error) { return bearer, nil }), FieldsAll}})
	h := mustHandle(t, full, Request{Claims: secret, Subject: secret})
	answer, err := h.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var event Event
	c2 := newCache(t, CacheConfig{Observe: func(e Event) { event = e }})
	seen := add(t, c2, IdentityConfig{Source: varying{leaky{secret, secret}, FieldsAll}})
	_, _ = seen.Get(t.Context(), Request{Claims: secret, Subject: secret})
	// fmt reads what a value points to without its locks: nothing may be at work any more.
	_ = c.Close(t.Context())
	_ = c2.Close(t.Context())
	if event.Identity == "" {
		t.Fatal("no event")
	}

	values := map[string][]any{
		"Secret":         {Secret(secret), nestValue(Secret(secret))},
		"Credential":     {bearer, aws, basic, idToken, *bearer, *aws, *basic, *idToken, nest(bearer), nest(*aws), nest(*basic), struct{ c *Credential }{bearer}, struct{ c Credential }{*aws}},
		"AWSKeys":        {keys, &keys, nestValue(keys)},
		"Request":        {req, &req, nestValue(req)},
		"Need":           {Need{Request: req}, nestValue(Need{Request: req})},
		"Answer":         {answer, &answer, nest(answer)},
		"Error":          {failure, *failure, nest(failure), nest(*failure), valueCause, *valueCause, nest(*valueCause), fmt.Errorf("x: %w", failure)},
		"Event":          {event, &event, nestValue(event), Event{Key: Secret(secret), Err: failure}},
		"IdentityConfig": {cfg, &cfg, nestValue(cfg)},
		"Identity":       {id, seen, nest(id), struct{ id *Identity }{id}},
		"Handle":         {h, nest(h), struct{ h *Handle }{h}},
		"Cache":          {c, c2, nest(c), struct{ c *Cache }{c}},
		"Entry":          {full.Entries(), seen.Entries()},
		"Stats":          {c.Stats()},
	}
	for name, list := range values {
		for _, v := range list {
			for how, text := range shown(v) {
				if leak := leaked(text, secret); leak != "" {
					t.Errorf("%s: a %T printed with %s shows the secret (%s): %.200s", name, v, how, leak, text)
				}
			}
		}
	}
	if got := fmt.Sprint(bearer); !strings.Contains(got, bearer.Fingerprint()) {
		t.Errorf("a credential prints as %s, want its fingerprint in it", got)
	}
}

// plantedError is an error that is no pointer, which %#v would print whole.
type plantedError struct{ Text string }

func (e plantedError) Error() string { return e.Text }

// shown is a value as every way to print shows it.
func shown(v any) map[string]string {
	all := make(map[string]string)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3v", "% x"} {
		all[verb] = fmt.Sprintf(verb, v)
	}
	all["Sprint"] = fmt.Sprint(v)
	if b, err := json.Marshal(v); err == nil {
		all["json"] = string(b)
	}
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("m", "v", v, slog.Group("g", "v", v))
		all[name] = b.String()
	}
	return all
}

// leaked says in which spelling text holds a secret.
func leaked(text, secret string) string {
	for how, s := range map[string]string{
		"plain": secret, "hex": hex.EncodeToString([]byte(secret)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"spaced hex": fmt.Sprintf("% x", secret), "base64": base64.RawStdEncoding.EncodeToString([]byte(secret))[:16],
	} {
		if strings.Contains(text, s) {
			return how
		}
	}
	return ""
}
