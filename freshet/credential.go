package freshet

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"freshet.dev/freshet/internal/clock"
)

// Type says what a credential consists of.
type Type string

// The types of credential.
const (
	Bearer  Type = "bearer"   // an access token (RFC 6750)
	AWS     Type = "aws"      // access key id, secret access key, session token
	Basic   Type = "basic"    // user name and password
	IDToken Type = "id_token" // a signed statement about a subject (OpenID Connect Core §2)
)

// AWSKeys are the parts of an AWS credential. They are always of one version.
type AWSKeys struct {
	AccessKeyID     string
	SecretAccessKey Secret
	SessionToken    Secret // empty for long-term keys
	AccountID       string // empty where the issuer did not say
}

// Credential is one version of a credential: immutable, and safe for any number of goroutines. It prints redacted.
type Credential struct {
	// Behind a pointer, because fmt calls no method of an unexported field, nor of a pointer that a verb does not suit: what
	// it shows of a struct that holds a *Credential is then this address.
	*credential
}

// credential is 64 bytes for the many, which are bearer tokens. What only some have is behind rest.
type credential struct {
	self        Credential // what is handed out is in the same piece of memory
	token       Secret     // bearer, id_token
	rest        *rest      // nil: a token of type Bearer, whose issuer has no wish
	fingerprint atomic.Pointer[string]
	sent        clock.Reading
	lifetime    time.Duration
}

// rest is what a plain bearer token does not have.
type rest struct {
	typ       Type
	tokenType string
	keys      *AWSKeys
	basic     *basic
	refreshIn time.Duration
	// noneSooner is Validity's.
	noneSooner bool
}

type basic struct {
	username string
	password Secret
}

// The rest of those that have nothing of their own in it; nobody changes them.
var (
	restBearer = rest{typ: Bearer, tokenType: bearerType}
	restID     = rest{typ: IDToken}
)

const bearerType = "Bearer"

func (c *credential) more() *rest {
	if c.rest == nil {
		return &restBearer
	}
	return c.rest
}

// life is a credential's validity.
type life struct {
	sent       clock.Reading // when the request for it was sent
	lifetime   time.Duration // 0 for static ones
	refreshIn  time.Duration // the issuer's wish, counted from sent; 0 without one
	noneSooner bool          // see [Validity]
}

func (c *credential) life() life {
	r := c.more()
	return life{sent: c.sent, lifetime: c.lifetime, refreshIn: r.refreshIn, noneSooner: r.noneSooner}
}

// newCredential makes one that has no life yet.
func newCredential(token Secret, r rest) *Credential {
	c := &credential{token: token}
	switch r {
	case restBearer:
	case restID:
		c.rest = &restID
	default:
		c.rest = &r
	}
	c.self.credential = c
	return &c.self
}

// expires is the wall clock's time as the issuer gave it, corrected by how much its clock is off, and the monotonic one's by the
// lifetime it granted; Never for static credentials.
func (c *credential) expires() clock.Reading {
	if c.lifetime == 0 {
		return clock.Never
	}
	return c.sent.Add(c.lifetime)
}

// until is when it is served no more: its end less the floor.
func (c *credential) until() clock.Reading {
	if c.lifetime == 0 {
		return clock.Never
	}
	return c.sent.Add(c.lifetime - floor(c.lifetime))
}

// Validity is what an issuer said of a credential's life. One of Expires, Lifetime and Static is set, or Expires and Lifetime,
// of which the sooner counts; a token that is a JWT may leave all three to its exp claim.
type Validity struct {
	// Sent is when the request for the credential was sent: a lifetime counts from there, since the issuer may have begun to
	// count at once. Zero means now.
	Sent Instant
	// Date is the issuer's clock when it answered, in whole seconds, as of HTTP's Date (RFC 9110 §6.6.1); zero where it is not
	// known. By it Expires, or the exp that stands in for it, is corrected where the two clocks differ. The answer is taken to
	// have come just now: the credential is made as soon as it is there.
	Date time.Time
	// Expires is absolute: on the issuer's clock if there is a Date, else on this machine's.
	Expires time.Time
	// Lifetime is relative to Sent, and so the same by any clock.
	Lifetime time.Duration
	// Static says that the credential does not expire.
	Static bool
	// RefreshIn is when the issuer wishes it replaced, relative to Sent; 0 where it said nothing.
	RefreshIn time.Duration
	// NoneSooner says that there is no newer one before RefreshIn, as of an issuer that answers from a cache of its own: to ask
	// sooner brings the same again. It is due at that time, whatever else is configured, and not a moment earlier.
	NoneSooner bool
}

// maxLifetime bounds what is believed of an expiry: past it, a unit was confused or a field misread.
const maxLifetime = 10 * 365 * 24 * time.Hour

// NewBearer makes a bearer token; tokenType is as the issuer names it, and "" means "Bearer". It becomes the scheme of a header,
// and so has to be a token of RFC 9110 §5.6.2. A JWT's exp fills in for a missing validity. Errors are of kind [Malformed].
func NewBearer(token, tokenType string, v Validity) (*Credential, error) {
	switch {
	case tokenType == "":
		tokenType = bearerType
	case strings.Trim(tokenType, tchar) != "":
		return nil, Errorf(Malformed, "token type has characters that no token type has")
	}
	return newToken(Bearer, token, tokenType, v)
}

// NewIDToken makes an ID token, or any JWT that serves as an assertion. Its exp fills in for a missing validity. Errors are of
// kind [Malformed].
func NewIDToken(token string, v Validity) (*Credential, error) {
	return newToken(IDToken, token, "", v)
}

// tchar are the characters of a token of RFC 9110 §5.6.2.
const tchar = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// invisible reports a character that is in no secret which an issuer makes up: a line break would begin another header, or another
// variable of an environment file.
func invisible(r rune) bool { return r <= ' ' || r >= 0x7f }

func newToken(typ Type, token, tokenType string, v Validity) (*Credential, error) {
	switch {
	case token == "":
		return nil, Errorf(Malformed, "answer has no token")
	case strings.ContainsFunc(token, invisible):
		return nil, Errorf(Malformed, "token has characters that no token has")
	}
	if v.Expires.IsZero() && v.Lifetime == 0 && !v.Static {
		if claims, ok := parseJWT(token); ok && claims.Expires != 0 {
			v.Expires = time.Unix(claims.Expires, 0)
		}
	}
	return newCredential(Secret(token), rest{typ: typ, tokenType: tokenType}).live(v)
}

// NewAWS makes AWS keys, of printable ASCII without spaces. Errors are of kind [Malformed].
func NewAWS(keys AWSKeys, v Validity) (*Credential, error) {
	if keys.AccessKeyID == "" || keys.SecretAccessKey == "" {
		return nil, Errorf(Malformed, "answer lacks an access key id or a secret access key")
	}
	for _, part := range []string{keys.AccessKeyID, string(keys.SecretAccessKey), string(keys.SessionToken), keys.AccountID} {
		if strings.ContainsFunc(part, invisible) {
			return nil, Errorf(Malformed, "keys have characters that no AWS keys have")
		}
	}
	return newCredential("", rest{typ: AWS, keys: &keys}).live(v)
}

// fingerprintKey keys the fingerprints of what a person may have chosen: an unkeyed hash of a password can be guessed at.
var fingerprintKey = rand.Text()

// NewBasic makes a user name and password. Its fingerprint is keyed, and so differs from process to process. Errors are of
// kind [Malformed].
func NewBasic(username, password string, v Validity) (*Credential, error) {
	if username == "" && password == "" {
		return nil, Errorf(Malformed, "answer has neither user name nor password")
	}
	return newCredential("", rest{typ: Basic, basic: &basic{username, Secret(password)}}).live(v)
}

// live works out the life that v describes, and refuses what cannot be true.
func (c *Credential) live(v Validity) (*Credential, error) {
	sent := v.Sent.r
	if v.Sent.IsZero() {
		sent = clock.Now()
	}
	c.sent = sent
	if v.Static {
		c.wish(max(0, v.RefreshIn), false)
		return c, nil
	}
	lifetime := v.Lifetime
	if !v.Expires.IsZero() {
		expires := v.Expires.Add(-skew(v.Date, sent, clock.Now()))
		// Seconds before nanoseconds: neither the year 9999 nor the year 1600 fits an int64 of nanoseconds.
		switch ahead := expires.Unix() - sent.Time().Unix(); {
		case ahead > int64(maxLifetime/time.Second):
			if lifetime == 0 {
				return nil, Errorf(Malformed, "answer expires more than 10 years ahead")
			}
		case ahead < 0:
			lifetime = -1
		case lifetime == 0:
			lifetime = time.Duration(expires.UnixNano() - sent.Wall)
		default:
			lifetime = min(lifetime, time.Duration(expires.UnixNano()-sent.Wall))
		}
	}
	switch {
	case lifetime == 0 && v.Expires.IsZero():
		return nil, Errorf(Malformed, "answer does not say when it expires").
			WithHint("add lifetime: to the identity, as its issuer documents it")
	case lifetime > maxLifetime:
		return nil, Errorf(Malformed, "answer expires more than 10 years ahead")
	case lifetime <= 0, !clock.Now().Time().Before(sent.Add(lifetime).Time()):
		return nil, Errorf(Malformed, "answer had expired already").
			WithHint("if the issuer is right, this machine's clock is ahead")
	}
	c.lifetime = lifetime
	if v.RefreshIn > 0 && v.RefreshIn < lifetime {
		c.wish(v.RefreshIn, v.NoneSooner)
	}
	return c, nil
}

// wish notes when the issuer wishes a credential replaced that nobody else has yet.
func (c *credential) wish(refreshIn time.Duration, noneSooner bool) {
	if refreshIn == 0 {
		return
	}
	r := *c.more()
	r.refreshIn, r.noneSooner = refreshIn, noneSooner
	c.rest = &r
}

const (
	// minSkew is under what a Date in whole seconds, and an answer on its way, can tell.
	minSkew = 2 * time.Second
	// maxSkew is as far off as a clock gets that nobody notices: further off, signatures made by it are refused at first, and a
	// Date is likelier a mistake.
	maxSkew = 15 * time.Minute
)

// skew is by how much an issuer's clock is ahead of this machine's, as far as its Date tells; 0 where it does not.
//
// The issuer wrote the Date at some moment between sent and now, so the middle is off by half of that time at most. What is no
// more than that, and minSkew, may be none at all: to believe it could lengthen a life.
func skew(date time.Time, sent, now clock.Reading) time.Duration {
	if date.IsZero() {
		return 0
	}
	// The longer by the two clocks: a step or a suspend on the way makes the middle as uncertain as it is long.
	took := time.Duration(max(now.Wall-sent.Wall, now.Mono-sent.Mono, 0))
	middle := sent.Time().Add(took / 2)
	ahead := date.Add(time.Second / 2).Sub(middle) // a Date is cut to whole seconds
	if by := ahead.Abs(); by < minSkew+took/2 || by > maxSkew {
		return 0
	}
	return ahead
}

// Type says what the credential consists of.
func (c *Credential) Type() Type { return c.more().typ }

// Token is the bearer or ID token; "" for other types.
func (c *Credential) Token() string { return string(c.token) }

// TokenType is how a bearer token is presented, as the issuer named it; "" for other types.
func (c *Credential) TokenType() string { return c.more().tokenType }

// AWS is the AWS keys, all of one version; zero for other types.
func (c *Credential) AWS() AWSKeys {
	if keys := c.more().keys; keys != nil {
		return *keys
	}
	return AWSKeys{}
}

// Basic is the user name and password; empty for other types.
func (c *Credential) Basic() (username, password string) {
	if b := c.more().basic; b != nil {
		return b.username, string(b.password)
	}
	return "", ""
}

// Fingerprint names this version without revealing it: 32 hex digits. It is worked out when it is first asked for.
func (c *Credential) Fingerprint() string {
	if p := c.fingerprint.Load(); p != nil {
		return *p
	}
	print := c.reckon()
	c.fingerprint.Store(&print)
	return print
}

// reckon works the fingerprint out, and does not keep it.
func (c *credential) reckon() string {
	sum := c.sum()
	return hex.EncodeToString(sum[:])
}

// sum is the fingerprint's bytes.
func (c *credential) sum() (print [16]byte) {
	var sum []byte
	switch r := c.more(); {
	case r.keys != nil:
		h := sha256.New()
		for _, part := range []string{r.keys.AccessKeyID, string(r.keys.SecretAccessKey), string(r.keys.SessionToken)} {
			var n [8]byte
			binary.BigEndian.PutUint64(n[:], uint64(len(part)))
			h.Write(n[:])
			io.WriteString(h, part)
		}
		sum = h.Sum(nil)
	case r.basic != nil:
		h := hmac.New(sha256.New, []byte(fingerprintKey))
		fmt.Fprintf(h, "%d:%s%s", len(r.basic.username), r.basic.username, r.basic.password)
		sum = h.Sum(nil)
	default:
		of := sha256.Sum256([]byte(c.token))
		sum = of[:]
	}
	return [16]byte(sum)
}

// same reports whether two credentials hold the same secret.
func (c *credential) same(other *credential) bool {
	r, o := c.more(), other.more()
	switch {
	case r.typ != o.typ || c.token != other.token:
		return false
	case r.keys != nil:
		return r.keys.AccessKeyID == o.keys.AccessKeyID && r.keys.SecretAccessKey == o.keys.SecretAccessKey && r.keys.SessionToken == o.keys.SessionToken
	case r.basic != nil:
		return *r.basic == *o.basic
	}
	return true
}

// Expires is when the credential ends, in UTC, by the clock of this machine (see [Validity]); the zero time if it does not.
func (c *Credential) Expires() time.Time {
	if c.Static() {
		return time.Time{}
	}
	return c.expires().Time()
}

// Issued is when the request for the credential was sent.
func (c *Credential) Issued() Instant { return Instant{c.sent} }

// Lifetime is how long it lives in all, from Issued; 0 if it does not expire.
func (c *Credential) Lifetime() time.Duration { return c.lifetime }

// Static reports that the credential does not expire.
func (c *Credential) Static() bool { return c.lifetime == 0 }

// Remaining is the life left by whichever clock says less; never negative. It is at least 10 years for static credentials.
func (c *Credential) Remaining() time.Duration { return max(0, clock.Now().Until(c.expires())) }

// Audience is the aud of a token that is a JWT, read anew each time; nil for everything else.
func (c *Credential) Audience() []string {
	claims, _ := parseJWT(string(c.token))
	return claims.Audience
}

// size is what an entry costs in memory beyond a fixed part, in bytes.
func (c *Credential) size() int64 {
	n := len(c.token)
	if r := c.rest; r != nil {
		n += restBytes + len(r.tokenType)
		if k := r.keys; k != nil {
			n += keysBytes + len(k.AccessKeyID) + len(k.SecretAccessKey) + len(k.SessionToken) + len(k.AccountID)
		}
		if b := r.basic; b != nil {
			n += len(b.username) + len(b.password)
		}
	}
	return int64(n)
}

// What the rest of a credential takes, and AWS keys beside their text.
const (
	restBytes = 96
	keysBytes = 64
)

// String shows the type, fingerprint and expiry.
func (c Credential) String() string {
	if c.credential == nil {
		return "credential(none)"
	}
	if c.Static() {
		return fmt.Sprintf("credential(%s %s static)", c.Type(), c.Fingerprint())
	}
	return fmt.Sprintf("credential(%s %s expires %s)", c.Type(), c.Fingerprint(), c.Expires().Format(time.RFC3339))
}

// Format implements [fmt.Formatter], for every verb alike.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue implements [slog.LogValuer].
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements [encoding.TextMarshaler], so that JSON shows no more than String.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
