package builtin

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"testing"

	"freshet.dev/freshet"
	"freshet.dev/sign/bearer"
)

// TestSignersAreWhole checks that every row can be used, is found by its name, and is in its place.
func TestSignersAreWhole(t *testing.T) {
	all := names(Signers(), func(s Signer) string { return s.Name })
	if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("signers are not sorted and unique: %v", all)
	}
	aws, err := url.Parse("https://bedrock-runtime.us-east-1.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Signers() {
		if SignerNamed(s.Name) == nil || SignerNamed(s.Name).Name != s.Name {
			t.Errorf("signer %s is not found", s.Name)
		}
		c := s.Config()
		if v := reflect.ValueOf(c); v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct || !v.Elem().IsZero() {
			t.Errorf("signer %s: settings are %T, want a pointer to a zero struct", s.Name, c)
		}
		if _, ok := c.(interface{ Check() error }); !ok {
			t.Errorf("signer %s: its settings check nothing", s.Name)
		}
		// Without settings a signer does what its upstream tells. This one tells all that a signer wants to know.
		made, err := s.New(c, aws)
		if err != nil || made == nil {
			t.Fatalf("signer %s: got %v, %v", s.Name, made, err)
		}
		r, err := http.NewRequest("GET", aws.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, typ := range s.Types {
			plan, err := made.Prepare(r)
			if err != nil {
				t.Fatalf("signer %s: %v", s.Name, err)
			}
			hash := ""
			if plan.Hash {
				hash = hex.EncodeToString(sha256.New().Sum(nil))
			}
			if err := made.Sign(r, credential(t, typ), hash); err != nil {
				t.Errorf("signer %s: got %v of a credential of type %s, which it says it signs with", s.Name, err, typ)
			}
			if r.Header.Get("Authorization") == "" {
				t.Errorf("signer %s: a request signed with type %s has no Authorization", s.Name, typ)
			}
		}
	}
	if SignerNamed("") != nil || SignerNamed("no") != nil {
		t.Error("what is not there was found")
	}
}

// TestEveryTypeHasOneSigner checks that whoever has a credential need not say how requests are signed with it.
func TestEveryTypeHasOneSigner(t *testing.T) {
	for typ, want := range map[freshet.Type]string{
		freshet.Bearer: "bearer", freshet.IDToken: "bearer", freshet.Basic: "bearer", freshet.AWS: "sigv4",
	} {
		if got := SignerFor(typ); got == nil || got.Name != want {
			t.Errorf("%s: got %v, want %s", typ, got, want)
		}
		n := 0
		for _, s := range Signers() {
			if slices.Contains(s.Types, typ) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d signers sign with type %s, want one", n, typ)
		}
	}
	if got := SignerFor(""); got != nil {
		t.Errorf("got %v for a type that is not known yet", got)
	}
}

// TestASignerThatCannotBeMadeIsNil guards against an interface that holds a nil pointer, which is not nil.
func TestASignerThatCannotBeMadeIsNil(t *testing.T) {
	row := signer("x", func(struct{}, *url.URL) (*bearer.Signer, error) { return nil, freshet.Invalid })
	if s, err := row.New(row.Config(), nil); s != nil || err == nil {
		t.Errorf("got %v, %v, want nil and an error", s, err)
	}
}

func credential(t *testing.T, typ freshet.Type) *freshet.Credential {
	t.Helper()
	var c *freshet.Credential
	var err error
	life := freshet.Validity{Static: true}
	switch typ {
	case freshet.Bearer:
		c, err = freshet.NewBearer("tok", "", life)
	case freshet.IDToken:
		c, err = freshet.NewIDToken("tok", life)
	case freshet.Basic:
		c, err = freshet.NewBasic("u", "p", life)
	case freshet.AWS:
		c, err = freshet.NewAWS(freshet.AWSKeys{AccessKeyID: "AKID", SecretAccessKey: "s"}, life)
	}
	if err != nil || c == nil {
		t.Fatalf("type %q: %v", typ, err)
	}
	return c
}
