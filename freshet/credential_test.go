package freshet

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"freshet.dev/freshet/internal/clock"
)

func jwt(claims string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(`{"alg":"none"}`)) + "." + e([]byte(claims)) + ".c2ln"
}

// monoBack is the present with its monotonic clock set back: the reading of before a suspend.
func monoBack(d time.Duration) clock.Reading {
	r := clock.Now()
	r.Mono -= int64(d)
	return r
}

// varying gives a source fields to vary by.
type varying struct {
	Source
	fields Fields
}

func (v varying) Varies() Fields { return v.fields }

func TestExpiryThatCannotBeTrueIsAnErrorAndNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for name, v := range map[string]Validity{
			"past":                       {Expires: now.Add(-time.Second)},
			"now":                        {Expires: now},
			"epoch":                      {Expires: time.Unix(0, 0)},
			"year 2":                     {Expires: time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC)},
			"1415, wraps to in an hour":  {Expires: time.Unix(now.Unix()+3600-18446744073, -709551616)},
			"2584, wraps to in an hour":  {Expires: time.Unix(now.Unix()+3600+18446744073, 709551616)},
			"over 10 years":              {Expires: now.AddDate(10, 0, 10)},
			"year 9999":                  {Expires: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)},
			"lifetime of over 10 years":  {Lifetime: 10*365*24*time.Hour + 1},
			"negative lifetime":          {Lifetime: -time.Second},
			"missing":                    {},
			"lifetime from long ago":     {Sent: Instant{Now().r.Add(-time.Hour)}, Lifetime: 50 * time.Minute},
			"inside the floor":           {Sent: Instant{Now().r.Add(-time.Hour + time.Second)}, Lifetime: time.Hour},
			"expired by the other clock": {Sent: Instant{r: monoBack(time.Hour)}, Lifetime: time.Hour},
		} {
			src := SourceFunc(func(context.Context, Request) (*Credential, error) { return NewBearer("opaque", "", v) })
			id := alone(t, src)
			_, err := id.Get(t.Context(), Request{})
			if err == nil {
				t.Errorf("%s: want an error", name)
				continue
			}
			if e := wantKind(t, err, Malformed); name == "missing" && !strings.Contains(e.Why, "does not say") {
				t.Errorf("%s: got %v", name, e)
			}
			for _, e := range id.Entries() {
				if e.Credential != nil {
					t.Errorf("%s: %v is kept", name, e.Credential)
				}
			}
		}
		for name, v := range map[string]Validity{
			"static": {Static: true}, "9 years": {Expires: now.AddDate(9, 11, 0)}, "a second": {Lifetime: time.Second},
		} {
			if _, err := NewBearer("opaque", "", v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestRefreshThatBringsAnExpiredCredentialIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{}
		id := alone(t, src)
		first := mustGet(t, id, Request{})
		src.answer(func(int64, Request) (*Credential, error) {
			return NewBearer("dead", "", Validity{Expires: time.Now().Add(-time.Minute)})
		})
		time.Sleep(50 * time.Minute)
		mustGet(t, id, Request{})
		synctest.Wait()
		a := mustGet(t, id, Request{})
		if a.Credential != first.Credential || !a.Stale {
			t.Errorf("got %v (stale %v), want the old one, stale", a.Credential, a.Stale)
		}
		time.Sleep(10 * time.Minute)
		_, err := id.Get(t.Context(), Request{})
		wantKind(t, err, Malformed)
	})
}

func TestJWTFillsInForAMissingValidity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exp := time.Now().Add(17 * time.Minute).Truncate(time.Second)
		token := jwt(`{"exp":` + strconv.FormatInt(exp.Unix(), 10) + `,"aud":["a","b"]}`)
		c, err := NewIDToken(token, Validity{})
		if err != nil {
			t.Fatal(err)
		}
		if !c.Expires().Equal(exp) || strings.Join(c.Audience(), " ") != "a b" {
			t.Errorf("got expiry %v and audience %v", c.Expires(), c.Audience())
		}
		c, err = NewBearer(token, "", Validity{Lifetime: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if c.Lifetime() != time.Minute {
			t.Errorf("got lifetime %v, want the issuer's own word", c.Lifetime())
		}
	})
}

func TestLifetimeCountsFromWhenTheRequestWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{takes: 10 * time.Second, lifetime: time.Minute}
		a := mustGet(t, alone(t, src), Request{})
		if left := a.Credential.Remaining(); left != 50*time.Second {
			t.Errorf("%v are left of a minute that took 10s to come, want 50s", left)
		}
	})
}

func TestFingerprintsTellVersionsApart(t *testing.T) {
	v := Validity{Static: true}
	seen := make(map[string]bool)
	add := func(c *Credential, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if f := c.Fingerprint(); len(f) != 32 || seen[f] {
			t.Errorf("fingerprint %q is not of 32 digits, or seen before", f)
		}
		seen[c.Fingerprint()] = true
	}
	add(NewBearer("a", "", v))
	add(NewBearer("b", "", v))
	add(NewAWS(AWSKeys{AccessKeyID: "a", SecretAccessKey: "bc"}, v))
	add(NewAWS(AWSKeys{AccessKeyID: "ab", SecretAccessKey: "c"}, v))
	add(NewAWS(AWSKeys{AccessKeyID: "a", SecretAccessKey: "b", SessionToken: "c"}, v))
	add(NewBasic("a", "bc", v))
	add(NewBasic("ab", "c", v))
	for _, bad := range []func() (*Credential, error){
		func() (*Credential, error) { return NewBearer("", "", v) },
		func() (*Credential, error) { return NewBearer("a b", "", v) },
		func() (*Credential, error) { return NewBearer("a\r\nX: y", "", v) },
		func() (*Credential, error) { return NewAWS(AWSKeys{AccessKeyID: "a"}, v) },
		func() (*Credential, error) { return NewBasic("", "", v) },
	} {
		c, err := bad()
		if c != nil {
			t.Errorf("got %v, want an error", c)
		}
		wantKind(t, err, Malformed)
	}
}

// TestWhatNoHeaderNorEnvironmentCanCarryIsRefused: a line break in any part would begin another header, or another variable.
func TestWhatNoHeaderNorEnvironmentCanCarryIsRefused(t *testing.T) {
	v := Validity{Static: true}
	refused := func(what string, c *Credential, err error) {
		t.Helper()
		if c != nil || err == nil {
			t.Errorf("%q is taken: %v", what, c)
			return
		}
		if e := wantKind(t, err, Malformed); strings.Contains(e.Error()+e.Hint, "planted") {
			t.Errorf("%q is quoted: %v", what, e)
		}
	}
	for _, odd := range []string{"\r\nX: y", "\n", " ", "\t", "\x00", "\x7f", "é", "\xff", "\u2028"} {
		for _, text := range []string{"planted" + odd, odd + "planted", "planted" + odd + "planted"} {
			c, err := NewBearer("token", text, v)
			refused(text, c, err)
			for _, keys := range []AWSKeys{
				{AccessKeyID: text, SecretAccessKey: "s"},
				{AccessKeyID: "a", SecretAccessKey: Secret(text)},
				{AccessKeyID: "a", SecretAccessKey: "s", SessionToken: Secret(text)},
				{AccessKeyID: "a", SecretAccessKey: "s", AccountID: text},
			} {
				c, err := NewAWS(keys, v)
				refused(text, c, err)
			}
		}
	}
	for _, text := range []string{"planted:", "Bearer planted", "(planted)", "planted,Basic", `"planted"`, "a/planted", "planted=", "pla;nted"} {
		c, err := NewBearer("token", text, v)
		refused(text, c, err)
	}
	for _, good := range []string{"Bearer", "bearer", "DPoP", "N_A", "x-1.0~!#$%&'*+^`|"} {
		if c, err := NewBearer("token", good, v); err != nil || c.TokenType() != good {
			t.Errorf("token type %q: got %v", good, err)
		}
	}
	keys := AWSKeys{AccessKeyID: "AKIA/+=", SecretAccessKey: `!"#$%&'()*+,-./:;<=>?@[\]^_{|}~`, SessionToken: "FwoG//+=", AccountID: "123456789012"}
	if c, err := NewAWS(keys, v); err != nil || c.AWS() != keys {
		t.Errorf("printable keys: got %v", err)
	}
}

func FuzzParseJWT(f *testing.F) {
	f.Add(jwt(`{"exp":1e30,"aud":[1]}`))
	f.Add(jwt(`{"exp":-1,"aud":{"a":1}}`))
	f.Add(jwt(`{"exp":"x"}`))
	f.Add(jwt(`[]`))
	f.Add(jwt(`null`))
	f.Add("..")
	f.Add("a.b")
	f.Add("a.eyJ.c")
	f.Fuzz(func(t *testing.T, token string) {
		c, ok := parseJWT(token)
		if !ok && (c.Expires != 0 || c.Audience != nil) {
			t.Errorf("got %+v of what is no JWT", c)
		}
		if c.Expires < 0 {
			t.Errorf("got expiry %d", c.Expires)
		}
		_, _ = NewBearer(token, "", Validity{})
		if p, ok := parseJWT(jwt(token)); ok && p.Expires < 0 {
			t.Errorf("got expiry %d", p.Expires)
		}
	})
}
